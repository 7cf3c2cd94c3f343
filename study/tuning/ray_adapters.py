"""Ray Tune's three sockets: a searcher and a scheduler that share one ledger, and the trainable that runs a trial.

What Ray saves of them is nothing: Optuna's storage and MLflow hold the study, and a resumed study starts a new Ray experiment
for the trials that are left.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import ConcurrencyLimiter, Searcher
from ray.util.placement_group import NODE_ID_LABEL_KEY, PlacementGroup, placement_group

from study.data.study_data import StudyData, open_data
from study.errors import StudyError
from study.trial import Failure
from study.tuning.admission import wait_until_admitted
from study.tuning.ledger import Ledger, TrialProgress
from study.tuning.trial_log import TrialLog, with_log
from study.tuning.trial_task import StepReport, TrialTask
from study.tuning.worker import TrialSession, WarmProcess

logger = logging.getLogger(__name__)

REPORT = "report"  # key of the one entry that our results carry beside Ray's own
MAX_RETRIES = 2  # a trial whose process dies is started again this often, under the same number and run


class LedgerSearcher(Searcher):
    """Hands Ray the ledger's next trial."""

    def __init__(self, ledger: Ledger, task_of: Callable[[TrialProgress], TrialTask]) -> None:
        super().__init__(metric=None, mode=None)
        self._ledger = ledger
        self._task_of = task_of
        self._running_in_vain: tuple[int, ...] = ()  # the trials that ran when the ledger last had none to begin

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next trial as a Ray config; None where Ray is to ask again, or Ray's word that there is none.

        That word is for ever (SearchGenerator._finished, Ray 2.60), and a trial that still runs may take back why there is
        none: it ends better than the best, or is the first that does not fail. Ray asks at each of its steps, and once more
        when nothing runs.
        """
        if self._must_wait():
            return None
        trial = self._ledger.begin({"study.ray_trial_id": trial_id})
        if trial is None:
            self._running_in_vain = self._ledger.open_trials
            if self._must_wait():
                return None
            return Searcher.FINISHED  # type: ignore[return-value]  # a string, against Ray's own annotation
        return {"number": trial.number, "task": self._task_of(trial).model_dump_json()}

    def _must_wait(self) -> bool:
        """Whether the ledger had no trial while the present ones ran: only the end of one of them can change that."""
        running = self._ledger.open_trials
        return bool(running) and running == self._running_in_vain and not self._ledger.is_interrupted

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: the scheduler, which sees the trial itself, tells the ledger."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: see the module."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see the module."""


class RoomLimiter(ConcurrencyLimiter):
    """As many trials at once as there is room for by now: nodes come and go."""

    def __init__(self, searcher: Searcher, num_concurrent: Callable[[], int]) -> None:
        super().__init__(searcher, num_concurrent())
        self._num_concurrent = num_concurrent

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next trial, where there is room."""
        self.max_concurrent = self._num_concurrent()
        return super().suggest(trial_id)

    def get_state(self) -> dict[str, Any]:
        """Nothing: see the module."""
        return {}


class TrialBundle(tune.PlacementGroupFactory):
    """What a trial takes of one node, whichever but those that are refused when its place is asked for.

    All of a study are equal, whatever was refused meanwhile: Tune reuses a process only for trials of an equal bundle.
    """

    def __init__(self, cpus: float, gpus: float, refused: Callable[[], Collection[str]]) -> None:
        super().__init__([{"CPU": cpus, "GPU": gpus}])
        self._refused_nodes = refused

    def to_placement_group(self) -> PlacementGroup:
        """A place that Ray is asked for."""
        refused = self._refused_nodes()
        others = {NODE_ID_LABEL_KEY: f"!in({', '.join(sorted(refused))})"}
        place: PlacementGroup = placement_group(
            self.bundles, self.strategy, bundle_label_selector=[others] if refused else None
        )
        return place

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """In what Tune saves of a trial: what knows the cluster stays here."""
        return tune.PlacementGroupFactory, (self.bundles,)


class LedgerScheduler(FIFOScheduler):
    """Tells the ledger what each trial reports, and stops the trials that the pruner gives up."""

    _supports_buffered_results = False  # each epoch may be the one to stop at

    def __init__(self, ledger: Ledger, stop: Callable[[], None], num_retries: Callable[[], int] = lambda: MAX_RETRIES) -> None:
        """Args:
        stop: ends the Ray run; called when a store can no longer be written, with the reason in `error`.
        num_retries: of a trial whose process has just died.
        """
        super().__init__()
        self._ledger = ledger
        self._num_retries = num_retries
        self._stop = stop
        self._ended: Trial | None = None
        self.error: StudyError | None = None

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """STOP where the pruner says so."""
        is_pruned = False
        with self._stopping_on_error():
            is_pruned = self._record(trial, result)
        return TrialScheduler.STOP if is_pruned else TrialScheduler.CONTINUE

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """The last epoch was reported, the pruner stopped the trial, or the study is being interrupted."""
        with self._stopping_on_error():
            report = self._record_last(trial, result)
            self._finish(trial, *((report.failure, report.facts) if report else (None, {})))
        if self._ended is not None:  # Ray still writes to the present one
            let_go(self._ended)
        self._ended = trial

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """The trial's process died once too often. Ray says so at each death, also where it starts the trial again."""
        cause = str(trial.get_pickled_error() or trial.get_error() or "no cause known").strip()
        task = TrialTask.model_validate_json(trial.config["task"])
        folder = Path(task.output_folder)
        if task.shared_address:  # the trial's own log is on its node's disk; this goes into the driver's
            logger.warning("trial %d: its process died: %s", task.number, cause)
        else:
            TrialLog(folder, task.number).died(cause, is_retried=trial.should_recover())
        if trial.should_recover():
            trial.max_failures = self._num_retries()
            return
        reason = f"the trial's process died {trial.num_failures} times; last: {cause.splitlines()[0]}"
        reason = with_log(reason, folder, task.number)
        with self._stopping_on_error():
            self._finish(trial, Failure(reason=reason, traceback=cause), {})

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """A trial that never started: the study is being interrupted."""
        with self._stopping_on_error():
            self._finish(trial, None, {})

    @contextmanager
    def _stopping_on_error(self) -> Iterator[None]:
        """Ray logs what a scheduler raises and goes on; a run that cannot be recorded must stop instead."""
        try:
            yield
        except StudyError as error:
            self.error = self.error or error
            self._ledger.is_interrupted = True
            self._stop()

    def _record(self, trial: Trial, result: dict[str, Any]) -> bool:
        report = StepReport.model_validate_json(result[REPORT])
        return self._ledger.record(trial.config["number"], report.measurements, report.is_in_mlflow, report.facts)

    def _record_last(self, trial: Trial, result: dict[str, Any]) -> StepReport | None:
        """Ray gives a trial's last result here only; a pruned trial's was recorded already and is skipped by its epoch."""
        if REPORT not in (result or {}):
            return None
        self._record(trial, result)
        return StepReport.model_validate_json(result[REPORT])

    def _finish(self, trial: Trial, failure: Failure | None, facts: Mapping[str, str | float]) -> None:
        if trial.config["number"] in self._ledger.open_trials:
            self._ledger.finish(trial.config["number"], failure, facts)


def let_go(trial: Trial) -> None:
    """Frees most of what Ray keeps of a trial that ended: 14 of 17 kB, for as long as the study lasts (measured)."""
    trial.metric_analysis.clear()  # running means of how long its steps took
    trial.metric_n_steps.clear()
    trial.last_result.pop(REPORT, None)


class StudyTrainable(tune.Trainable):
    """Runs trials one after the other in one process: imports, open data and the device stay warm between them.

    Attributes:
        session_type: what runs a trial.
    """

    session_type: type[TrialSession] = TrialSession

    def setup(self, config: dict[str, Any]) -> None:
        """Starts the first trial, once this node has what trials need."""
        wait_until_admitted()
        self._data: dict[str, StudyData] = {}
        self._session: TrialSession | None = None
        self._warm: WarmProcess | None = None
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Starts another trial in this process."""
        self.cleanup()
        task = TrialTask.model_validate_json(new_config["task"])
        if task.data_folder not in self._data:
            self._data = {task.data_folder: open_data(Path(task.data_folder))}
        self._warm = self._warm or WarmProcess.of(task)
        self._session = self.session_type(task, self._data[task.data_folder], self._warm)
        return True

    def step(self) -> dict[str, Any]:
        """One epoch."""
        assert self._session is not None, "setup comes first"
        report = self._session.step()
        return {REPORT: report.model_dump_json(), "done": report.is_last}

    def cleanup(self) -> None:
        """Ends the trial that is running, if any."""
        if self._session is not None:
            self._session.close()
            self._session = None
