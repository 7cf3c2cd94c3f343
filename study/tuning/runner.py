"""A whole study: prepare, create it in Optuna and MLflow, run its trials, register the winner."""

import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from study.definition import StudyDefinition, parse_definition
from study.errors import DataError, DefinitionError, SearchError, StudyError, TrackingError
from study.search.advisor import Advisor, Outcome, load_study, study_names
from study.search.algorithms import Storage, is_fresh, open_storage
from study.settings import Settings
from study.tracking.mlflow_tracker import MlflowTracker
from study.tracking.provenance import provenance_tags
from study.trial import TrialState
from study.tuning.data_card import write_data_card
from study.tuning.kept_weights import KeptWeights
from study.tuning.ledger import Ledger, Listener
from study.tuning.local import InProcessExecutor
from study.tuning.preparation import PreparedStudy, prepare
from study.tuning.winner import Winner, register_winner

CLUSTER_PROBE_S = 5.0
NUM_KEPT_WEIGHTS = 3  # trials; the winner, and two to compare it with


class StudyListener(Listener, Protocol):
    """Who watches a study from its preparation to its end."""

    def packing(self, num_done: int, num_photos: int) -> None:
        """Photos are being packed."""

    def study_began(self, prepared: PreparedStudy, earlier: Sequence[Outcome], num_concurrent: int) -> None:
        """Trials are about to run; `earlier` ended in an earlier launch."""

    def study_ending(self) -> None:
        """All trials have ended; the winner is being registered."""


class Executor(Protocol):
    """Runs trials somewhere."""

    @property
    def num_concurrent(self) -> int:
        """Trials that run at once."""

    def run(self, ledger: Ledger) -> None:
        """Runs trials until the ledger has none left or is interrupted."""


@dataclass(frozen=True)
class Options:
    """How trials are run: none of these changes a result."""

    in_process: bool = False
    is_verbose: bool = False


@dataclass(frozen=True)
class StudyOutcome:
    """How a study stands when its command ends.

    Attributes:
        outcomes: of every trial that ended, in this launch or an earlier one.
        winner: the best completed trial, its model registered; None where no trial completed or the study was interrupted.
        address: where its runs are to be seen.
    """

    prepared: PreparedStudy
    outcomes: Sequence[Outcome]
    winner: Winner | None
    address: str
    elapsed_s: float

    @property
    def is_interrupted(self) -> bool:
        """Whether trials are left for `study resume`."""
        return len(self.outcomes) < self.prepared.definition.num_trials


def check_study(definition: StudyDefinition, settings: Settings, listener: StudyListener) -> PreparedStudy:
    """All checks of `run_study`, and nothing begun.

    Raises:
        StudyError: in one line, the first thing that is wrong.
    """
    tracker = MlflowTracker(settings.tracking_uri)
    if tracker.connection.is_server:
        tracker.check()  # a server that is not there is news before the photos are packed
    _require_cluster(settings.ray_address)
    _require_new_in_optuna(definition, settings)
    prepared = prepare(definition, settings, listener.packing)
    _require_new_in_mlflow(definition, tracker)  # may make the database file: last, so that a mistake leaves nothing behind
    return prepared


def run_study(definition: StudyDefinition, settings: Settings, listener: StudyListener, options: Options) -> StudyOutcome:
    """Runs a new study.

    Raises:
        StudyError: for a mistake in the definition, before anything is written; or if a store fails on the way.
    """
    started_s = time.monotonic()
    prepared = check_study(definition, settings, listener)
    tracker = MlflowTracker(settings.tracking_uri)
    storage = open_storage(settings.storage)
    with _only_driver(definition.name, settings), _executor(prepared, options) as executor:
        run_id, advisor = _create(prepared, tracker, storage)
        launch = _Launch(prepared, advisor, tracker, run_id, listener, started_s)
        return launch.run(executor)


def _create(prepared: PreparedStudy, tracker: MlflowTracker, storage: Storage) -> tuple[str, Advisor]:
    """The new study in both stores; if the second refuses it, the first is told that it failed."""
    definition = prepared.definition
    tags = provenance_tags(definition, prepared.data.digest)
    run_id = tracker.begin_study(definition.name, definition.experiment_name, tags, definition.text, note=definition.question)
    notes = {
        "definition": definition.text,
        "file": str(definition.file),
        "run_id": run_id,
        "data_digest": prepared.data.digest,
    }
    try:
        _log_data(prepared, tracker, run_id)
        return run_id, Advisor.create(definition, storage, notes)
    except StudyError:
        tracker.end_study(run_id, TrialState.FAIL, {}, {})
        raise


def _log_data(prepared: PreparedStudy, tracker: MlflowTracker, run_id: str) -> None:
    """The data as an input of the run, and their card among its artifacts."""
    data, name = prepared.data, prepared.definition.name
    tracker.log_dataset(run_id, name, data.digest, data.report.origin, data.report.splits)
    folder = write_data_card(data, prepared.settings.study_folder(name) / "data")
    tracker.log_artifacts(run_id, folder, "data")


def resume_study(name: str, settings: Settings, listener: StudyListener, options: Options) -> StudyOutcome:
    """Goes on with a study that was interrupted or whose driver died.

    Raises:
        StudyError: if there is no such study, its data changed, or another driver is running it.
    """
    started_s = time.monotonic()
    tracker = MlflowTracker(settings.tracking_uri)
    tracker.check()
    storage = open_storage(settings.storage)
    notes = load_study(name, storage).user_attrs
    definition = parse_definition(notes["definition"], Path(notes["file"]))
    prepared = prepare(definition, settings, listener.packing)
    _require_same_data(prepared, notes["data_digest"])
    with _only_driver(name, settings), _executor(prepared, options) as executor:
        advisor = Advisor.resume(definition, storage)
        tracker.reopen(notes["run_id"])
        launch = _Launch(prepared, advisor, tracker, notes["run_id"], listener, started_s)
        return launch.run(executor)


@dataclass(frozen=True)
class _Launch:
    """One driver's work on a study that exists in both stores."""

    prepared: PreparedStudy
    advisor: Advisor
    tracker: MlflowTracker
    run_id: str
    listener: StudyListener
    started_s: float

    def run(self, executor: Executor) -> StudyOutcome:
        """Runs what is left of the study and ends its parent run accordingly."""
        definition = self.prepared.definition
        earlier = self.advisor.outcomes()
        output_folder = self.prepared.settings.study_folder(definition.name)
        kept_weights = KeptWeights(output_folder, definition.objective, NUM_KEPT_WEIGHTS, earlier)
        ledger = Ledger(self.advisor, self.tracker, self.run_id, definition.objective, [self.listener, kept_weights])
        self.listener.study_began(self.prepared, earlier, executor.num_concurrent)
        try:
            executor.run(ledger)
            ledger.interrupt_open()
            outcomes = self.advisor.outcomes()
            is_interrupted = len(outcomes) < definition.num_trials
            winner = None if is_interrupted else self._register_winner(outcomes)
        except BaseException:
            with suppress(StudyError):  # the first error is the news; a store that is away cannot be told
                ledger.interrupt_open()
                self.tracker.end_study(self.run_id, TrialState.INTERRUPTED, {}, {})
            raise
        state = TrialState.INTERRUPTED if is_interrupted else TrialState.COMPLETE if winner else TrialState.FAIL
        self.tracker.describe(self.run_id, _answer(definition, outcomes, winner), definition.objective.key)
        self.tracker.end_study(self.run_id, state, _summary(outcomes, winner), {})
        address = self.tracker.address(self.run_id)
        return StudyOutcome(self.prepared, outcomes, winner, address, time.monotonic() - self.started_s)

    def _register_winner(self, outcomes: Sequence[Outcome]) -> Winner | None:
        self.listener.study_ending()
        return register_winner(self.prepared, outcomes, self.tracker, self.run_id)


def _summary(outcomes: Sequence[Outcome], winner: Winner | None) -> dict[str, float]:
    """The parent run's figures: trials by state, and what the winner reached."""
    counts = Counter(outcome.state for outcome in outcomes)
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    return {f"num_{state.lower()}": float(counts[state]) for state in states} | (winner.summary if winner else {})


def _answer(definition: StudyDefinition, outcomes: Sequence[Outcome], winner: Winner | None) -> str:
    """What stands at the head of the study's page in MLflow, in Markdown."""
    counts = Counter(outcome.state.value for outcome in outcomes)
    lines = [definition.question, ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))]
    if winner is not None:
        recipe = ", ".join(f"{key} = {value}" for key, value in winner.outcome.searched.items())
        lines += [
            f"**Best: trial {winner.outcome.number}, {definition.objective.key} {winner.outcome.value:.3f}** "
            f"(a classifier that looks at no photo: {winner.chance:.3f}). {recipe}",
            f"Model: `{winner.model_uri}`, version {winner.model_version}.",
            "One search on one validation split: near neighbours on the leaderboard may differ by chance.",
        ]
    return "\n\n".join(line for line in lines if line)


def _require_cluster(ray_address: str | None) -> None:
    """Ray itself tries an address where nothing listens for two minutes, and prints as it does."""
    host, _, port = (ray_address or "").removeprefix("ray://").partition(":")
    if not port.isdecimal():
        return  # none, or a name such as "auto" that only Ray understands
    try:
        socket.create_connection((host, int(port)), timeout=CLUSTER_PROBE_S).close()
    except OSError as error:
        raise DefinitionError(
            f"RAY_ADDRESS must be a running Ray cluster, but nothing answers at {ray_address} ({error}). "
            f"Start it (`ray start --head`), or unset RAY_ADDRESS."
        ) from None


def _require_new_in_optuna(definition: StudyDefinition, settings: Settings) -> None:
    if not is_fresh(settings.storage) and definition.name in study_names(open_storage(settings.storage)):
        raise SearchError(
            f"a study's name must be new, but {definition.name!r} exists in Optuna's storage. {_go_on(definition)}"
        )


def _require_new_in_mlflow(definition: StudyDefinition, tracker: MlflowTracker) -> None:
    if tracker.find_study(definition.name) is not None:
        raise TrackingError(f"a study's name must be new, but {definition.name!r} exists in MLflow. {_go_on(definition)}")


def _go_on(definition: StudyDefinition) -> str:
    return f"Go on with it (`study resume {definition.name}`), or change `name` in {definition.file}."


def _require_same_data(prepared: PreparedStudy, data_digest: str) -> None:
    if prepared.data.digest != data_digest:
        raise DataError(
            f"a resumed study needs the photos that it began with, but their digest was {data_digest} and is now "
            f"{prepared.data.digest}. Restore the photos, or start a new study under another name."
        )


@contextmanager
def _only_driver(name: str, settings: Settings) -> Iterator[None]:
    """Holds the study for this process; the lock goes with the process, however it ends."""
    folder = settings.study_folder(name)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "driver.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise SearchError(
            f"one driver at a time may run a study, but another process is running {name!r}. Wait for it, or stop it first."
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _executor(prepared: PreparedStudy, options: Options) -> Iterator[Executor]:
    if options.in_process:
        yield InProcessExecutor(prepared)
        return
    from study.tuning.cluster import ray_executor  # here, because importing Ray takes a second that --in-process saves

    with ray_executor(prepared, options.is_verbose) as executor:
        yield executor
