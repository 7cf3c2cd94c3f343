"""The one place where a trial begins, is measured and ends, so that Optuna and MLflow are told the same.

Whoever runs the trials (Ray or the present process) calls `begin`, `record` and `finish`; nobody else writes a trial's state.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from study.definition import Objective
from study.errors import StudyError
from study.search.advisor import Advisor, Outcome, Proposal
from study.search.failures import AnotherDriverError
from study.search_definition import QUANTITIES
from study.tracking.failures import RecordRefusedError
from study.tracking.tracker import Tracker
from study.trial import Failure, Measurement, TrialState
from study.tuning.first_failures import FirstFailures
from study.tuning.stopwatch import Stopwatch
from study.tuning.trial_progress import TrialProgress as TrialProgress

# Shown at their best epoch as `best_val_…`; which of them a study has depends on its task and number of classes.
SUMMARY_METRICS = (
    *("loss", "accuracy", "balanced_accuracy", "macro_f1", "top5_accuracy", "calibration_error"),
    *("mae", "r2"),
)
LOG_TAG = "study.log"  # of `log_file.log_tags`


class Listener(Protocol):
    """Who watches a study: the live table, plain lines, a test."""

    def trial_began(self, trial: TrialProgress) -> None:
        """A trial was handed to a worker."""

    def trial_measured(self, trial: TrialProgress) -> None:
        """An epoch was recorded."""

    def trial_ended(self, trial: TrialProgress) -> None:
        """A trial reached its final state."""


class Ledger:
    """Keeps Optuna (through the advisor) and MLflow (through the tracker) telling one truth.

    Attributes:
        stopwatch: of the steps in which the driver waits for a store or a sampler.
    """

    def __init__(
        self,
        advisor: Advisor,
        tracker: Tracker,
        parent_run_id: str,
        objective: Objective,
        listeners: Sequence[Listener] = (),
        *,
        is_resumed: bool = False,
        gpus: float = 0.0,
        tags_of: Callable[[Proposal], Mapping[str, str]] = lambda proposal: {},
    ) -> None:
        """Args:
        is_resumed: another driver ran the study before: it may have made a run and told nobody.
        gpus: of each trial; what it took is counted in their hours, without a GPU in its own.
        tags_of: what a new trial's run is tagged with, beside the ledger's own.
        """
        self._is_resumed = is_resumed
        self._tags_of = tags_of
        self._devices = gpus or 1.0
        self._advisor = advisor
        self._tracker = tracker
        self._parent_run_id = parent_run_id
        self._objective = objective
        self._listeners = tuple(listeners)
        self._open: dict[int, TrialProgress] = {}
        self._failures = FirstFailures(has_hope=any(one.state is not TrialState.FAIL for one in advisor.outcomes()))
        self.stopwatch = Stopwatch()
        self.is_interrupted = False
        self.hopeless: str | None = None  # why all of the first trials failed, where they failed alike

    @property
    def open_trials(self) -> tuple[int, ...]:
        """Numbers of the trials that began and have not ended."""
        return tuple(self._open)

    def outcomes(self) -> list[Outcome]:
        """Every trial that ended, in this launch or an earlier one."""
        return self._advisor.outcomes()

    def num_unsent(self) -> int:
        """Records that MLflow does not have yet. Any thread may ask."""
        return self._tracker.num_unsent()

    def listen(self, listener: Listener) -> None:
        """Tells one more listener from now on."""
        self._listeners = (*self._listeners, listener)

    def begin(self, tags: Mapping[str, str] | None = None) -> TrialProgress | None:
        """The next trial with its MLflow run, or None when there is none to begin.

        Args:
            tags: of a new run, beside the ledger's own.
        """
        while not self.is_interrupted and self.hopeless is None:
            with self.stopwatch.timing("ask"):
                proposal = self._advisor.ask()
            if proposal is None:
                return None
            with self.stopwatch.timing("begin_run"):
                run_id, recorded_epoch = self._run_of(proposal, tags or {})
            trial = TrialProgress(
                proposal.number,
                proposal.config,
                proposal.searched,
                run_id,
                time.monotonic(),
                recorded_epoch=recorded_epoch,
                report_epochs=self._report_epochs(proposal.config.epochs),
                repeats=proposal.repeats,
            )
            self._open[trial.number] = trial
            for listener in self._listeners:
                listener.trial_began(trial)
            if proposal.repeats is None:
                return trial
            self._repeat(trial, proposal.repeats)
        return None

    def _report_epochs(self, epochs: int) -> tuple[int, ...]:
        return tuple(epoch for epoch in range(1, epochs + 1) if self._advisor.can_prune_at(epoch))

    def record(
        self,
        number: int,
        measurements: Sequence[Measurement],
        is_in_mlflow: bool,
        facts: Mapping[str, str | float] | None = None,
    ) -> bool:
        """Records epochs that came together; whether the pruner stops the trial at the last of them.

        Args:
            is_in_mlflow: the worker has delivered them itself.
            facts: as far as they are known by now; see `finish`.
        """
        trial = self._open[number]
        trial.facts = facts or trial.facts
        new = trial.measured(measurements, self._objective, is_in_mlflow=is_in_mlflow)
        if not new:
            return False
        key = self._objective.key
        with self.stopwatch.timing("report"):
            self._advisor.report_all(number, {one.epoch: one.metrics[key] for one in new}, is_last=new[-1].is_last)
        for listener in self._listeners:
            listener.trial_measured(trial)
        if not new[-1].is_last and self._advisor.can_prune_at(new[-1].epoch):
            with self.stopwatch.timing("prune"):
                trial.state = TrialState.PRUNED if self._advisor.should_prune(number) else trial.state
        return trial.state is TrialState.PRUNED

    def finish(self, number: int, failure: Failure | None = None, facts: Mapping[str, str | float] | None = None) -> None:
        """Ends a trial in both stores. MLflow goes first: what only MLflow knows is found and told again on resume.

        Args:
            facts: how it was computed: texts become tags of its run (`study.precision`), numbers metrics.
        """
        trial = self._open.pop(number)
        trial.failure = failure
        trial.facts = facts or {}
        trial.state = self._final_state(trial)
        with self.stopwatch.timing("end_run"):
            self._tracker.end_trial(trial.run_id, trial.state, trial.unrecorded, self._summary(trial), _end_tags(trial))
        is_complete = trial.state is TrialState.COMPLETE and trial.best is not None
        value = trial.best.metrics[self._objective.key] if is_complete and trial.best else None
        seconds = (time.monotonic() - trial.started_s) * self._devices
        with self.stopwatch.timing("tell"):
            self._advisor.tell(number, trial.state, value, _costs(trial), seconds)
        self._close(trial)

    def interrupt_open(self) -> None:
        """Marks every trial that is still open as interrupted: it waits in Optuna for `study resume`.

        Raises:
            StudyError: the first, if a store fails: the other trials are marked all the same, as far as the other store goes.
        """
        self.is_interrupted = True
        errors = list[StudyError]()
        for number in self.open_trials:
            try:
                self.finish(number)
            except AnotherDriverError:
                raise  # the others are that driver's as well
            except StudyError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def _repeat(self, trial: TrialProgress, repeated: int) -> None:
        """Ends a trial whose recipe was trained before, seed included or left open: what it reached is told again."""
        known = self._advisor.outcome(repeated)
        assert known.value is not None, "only completed trials are repeated"
        del self._open[trial.number]
        trial.state = TrialState.COMPLETE
        summary = {f"best_{self._objective.key}": known.value}
        self._tracker.end_trial(trial.run_id, trial.state, [], summary, {"study.repeats_trial": str(repeated)})
        self._advisor.tell(trial.number, trial.state, known.value, known.costs, 0.0)
        self._close(trial)

    def _close(self, trial: TrialProgress) -> None:
        self._failures.add(trial.failure)
        self.hopeless = self._failures.common_cause
        for listener in self._listeners:
            listener.trial_ended(trial)

    def _run_of(self, proposal: Proposal, tags: Mapping[str, str]) -> tuple[str, int]:
        """The proposal's MLflow run and the last epoch recorded there."""
        if proposal.run_id is not None:
            # Refused: somebody deleted it in MLflow. The trial goes on in a new one, or it would end every resume.
            with suppress(RecordRefusedError):
                self._tracker.reopen(proposal.run_id)
                history = self._tracker.history(proposal.run_id, "val_loss")
                return proposal.run_id, history[-1][0] if history else 0
        all_tags = {**tags, **self._tags_of(proposal)}
        if proposal.repeats is not None:  # nobody trains it: it has no log
            all_tags.pop(LOG_TAG, None)
        may_exist = self._is_resumed or proposal.run_id is not None
        run_id = self._tracker.begin_trial(self._parent_run_id, proposal.number, proposal.config, all_tags, may_exist)
        self._advisor.attach_run(proposal.number, run_id)
        return run_id, 0

    def _final_state(self, trial: TrialProgress) -> TrialState:
        if trial.failure is not None:
            return TrialState.FAIL
        if trial.state is TrialState.PRUNED:
            return TrialState.PRUNED
        is_whole = bool(trial.measurements) and trial.measurements[-1].is_last
        return TrialState.COMPLETE if is_whole else TrialState.INTERRUPTED

    def _summary(self, trial: TrialProgress) -> dict[str, float]:
        """What MLflow's table shows of a trial: its figures at its best epoch (the UI itself shows the last)."""
        numbers = {name: float(fact) for name, fact in trial.facts.items() if not isinstance(fact, str)}
        if trial.best is None:
            return numbers
        measured = trial.best.metrics
        best = {f"best_val_{name}": measured[f"val_{name}"] for name in SUMMARY_METRICS if f"val_{name}" in measured}
        return numbers | best | {"best_epoch": float(trial.best.epoch)}


def _costs(trial: TrialProgress) -> dict[str, float]:
    """What an objective's cost and constraints may ask about."""
    return {name: float(trial.facts[name]) for name in QUANTITIES if name in trial.facts}


def _end_tags(trial: TrialProgress) -> dict[str, str]:
    tags = {f"study.{name}": fact for name, fact in trial.facts.items() if isinstance(fact, str)}
    if trial.failure is not None:
        tags |= {"study.error": trial.failure.reason, "study.traceback": trial.failure.traceback}
    return tags
