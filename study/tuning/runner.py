"""A whole study: prepare, create it in Optuna and MLflow, run its trials, register the winner."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from study.definition import StudyDefinition, parse_definition
from study.errors import DataError
from study.search.advisor import Advisor
from study.search.algorithms import Storage, open_storage
from study.search.notes import search_notes
from study.search.study_note import StudyNote
from study.settings import Settings
from study.tracking.journaled_tracker import JournaledTracker
from study.tracking.mlflow_tracker import MlflowTracker
from study.tracking.patience import Patience
from study.tracking.tracker import Tracker
from study.trial import TrialState
from study.tuning.beginning import check_places, require_new_in_mlflow
from study.tuning.claim import CLAIM_NOTE, Claim, require_unclaimed
from study.tuning.confirm import SUFFIX, confirm, stored_repetitions, summary_of
from study.tuning.creation import create_study
from study.tuning.driver import Driver, End, driving
from study.tuning.driver_log import logged
from study.tuning.first_failures import HopelessError
from study.tuning.launch import Executor, Launch, StudyListener, StudyOutcome
from study.tuning.local import InProcessExecutor
from study.tuning.preparation import PreparedStudy, prepare
from study.tuning.reconcile import Finding, reconcile
from study.tuning.shared_files import SharedFiles

Progress = Callable[[int, int], None]  # told the photos that are packed, and their total
MLFLOW_PATIENCE_S = 600.0  # a server that is moved, or whose database restarts, is back within ten minutes


@dataclass(frozen=True)
class Options:
    """How trials are run: none of these changes a result."""

    in_process: bool = False
    is_verbose: bool = False


def check_study(definition: StudyDefinition, settings: Settings, listener: StudyListener) -> PreparedStudy:
    """All checks of `run_study`, and nothing begun.

    Raises:
        StudyError: in one line, the first thing that is wrong.
    """
    check_places(definition, settings)
    return _prepare_new(definition, settings, listener.packing)


def _prepare_new(definition: StudyDefinition, settings: Settings, on_progress: Progress) -> PreparedStudy:
    prepared = prepare(definition, settings, on_progress)
    # May make the database file: last, so that a mistake leaves nothing behind.
    require_new_in_mlflow(definition, MlflowTracker(settings.tracking_uri))
    return prepared


def run_study(definition: StudyDefinition, settings: Settings, listener: StudyListener, options: Options) -> StudyOutcome:
    """Runs a new study.

    Raises:
        StudyError: for a mistake in the definition, before anything is written; or if a store fails on the way.
    """
    started_s = time.monotonic()
    check_places(definition, settings)
    folder = settings.study_folder(definition.name)
    with driving(definition.name, folder, prepares=True) as driver:
        with _preparing(driver, listener) as on_progress:
            prepared = _prepare_new(definition, settings, on_progress)
            storage = open_storage(settings.storage)
        with (
            logged(listener, folder) as listener,
            _executor(prepared, options, listener) as executor,
            _recording(definition.name, settings, listener) as tracker,
        ):
            run_id, advisor = create_study(prepared, tracker, storage)
            with _claim(definition.name, settings, storage) as claim:
                advisor.heed(claim.require_held)
                outcome = Launch(prepared, advisor, tracker, run_id, listener, started_s).run(executor)
                outcome = _confirmed(outcome, run_id, executor, tracker, storage, listener, claim)
            driver.end = _end_of(outcome)
            return outcome


@contextmanager
def _preparing(driver: Driver, listener: StudyListener) -> Iterator[Progress]:
    """While photos are packed, who looks is told how far that is; afterwards the driver runs trials."""

    def packing(num_done: int, num_photos: int) -> None:
        driver.does(f"packing photos, {num_done:,} of {num_photos:,}")
        listener.packing(num_done, num_photos)

    try:
        yield packing
    except KeyboardInterrupt:
        listener.notice("Ended before its first trial: photos that are packed stay packed, and the same command goes on.")
        raise
    driver.runs()


def _claim(name: str, settings: Settings, storage: Storage) -> Claim:
    return Claim(name, StudyNote(name, storage, CLAIM_NOTE), settings.study_folder(name))


def _require_unclaimed(name: str, settings: Settings, storage: Storage) -> None:
    """Before photos are packed and a folder is made here: `_claim` asks once more."""
    require_unclaimed(name, StudyNote(name, storage, CLAIM_NOTE), settings.study_folder(name))


def _end_of(outcome: StudyOutcome) -> End:
    if outcome.is_interrupted:
        return End.INTERRUPTED
    return End.FAILED if outcome.winner is None else End.COMPLETE


def _confirmed(
    outcome: StudyOutcome,
    run_id: str,
    executor: Executor,
    tracker: Tracker,
    storage: Storage,
    listener: StudyListener,
    claim: Claim,
) -> StudyOutcome:
    """The outcome with what `[confirm]` found, where the definition has one and the search came to its end."""
    definition = outcome.prepared.definition
    if definition.confirm is None or outcome.is_interrupted or outcome.winner is None:
        return outcome
    try:
        confirmed = confirm(
            outcome.prepared, outcome.outcomes, executor, tracker, storage, listener, run_id, claim.require_held
        )
    except HopelessError as error:
        return replace(outcome, is_interrupted=True, stop_reason=str(error))
    if confirmed is None:
        # An interrupted outcome has a reason only where the trials gave one; why the search was short, the next launch tells.
        return replace(outcome, is_interrupted=True, stop_reason=None)
    tracker.end_study(run_id, TrialState.COMPLETE, summary_of(confirmed, definition), {})
    return replace(outcome, confirmed=confirmed)


def resume_study(name: str, settings: Settings, listener: StudyListener, options: Options) -> StudyOutcome:
    """Goes on with a study that was interrupted or whose driver died.

    Raises:
        StudyError: if there is no such study, its data changed, or another driver is running it.
    """
    started_s = time.monotonic()
    MlflowTracker(settings.tracking_uri).check()
    storage = open_storage(settings.storage)
    notes = search_notes(name, storage, "resume")
    _require_unclaimed(name, settings, storage)
    definition = parse_definition(notes["definition"], Path(notes["file"]))
    with driving(name, settings.study_folder(name), prepares=True) as driver, _claim(name, settings, storage) as claim:
        with _preparing(driver, listener) as on_progress:
            prepared = prepare(definition, settings, on_progress)
            _require_same_data(prepared, notes.get("data_digest", prepared.data.digest))
        with (
            logged(listener, settings.study_folder(name)) as listener,
            _executor(prepared, options, listener) as executor,
            _recording(name, settings, listener) as tracker,
        ):
            advisor = Advisor.resume(definition, storage)
            advisor.heed(claim.require_held)
            tracker.reopen(notes["run_id"])
            run_id = notes["run_id"]
            outcome = Launch(prepared, advisor, tracker, run_id, listener, started_s, is_resumed=True).run(executor)
            outcome = _confirmed(outcome, run_id, executor, tracker, storage, listener, claim)
            driver.end = _end_of(outcome)
            return outcome


def _require_same_data(prepared: PreparedStudy, data_digest: str) -> None:
    if prepared.data.digest != data_digest:
        raise DataError(
            f"a resumed study needs the photos that it began with, but their digest was {data_digest} and is now "
            f"{prepared.data.digest}. Restore the photos, or start a new study under another name."
        )


def reconcile_study(name: str, settings: Settings, listener: StudyListener) -> list[Finding]:
    """Compares what Optuna, MLflow and the study's folder say of a study that nobody is running, and sets it right.

    The repetitions of its best recipes (`[confirm]`) are a study of their own in all three, and are set right with it.

    Raises:
        StudyError: if there is no such study, a driver is running it, or a store cannot be read.
    """
    MlflowTracker(settings.tracking_uri).check()
    storage = open_storage(settings.storage)
    notes = search_notes(name, storage, "reconcile")
    _require_unclaimed(name, settings, storage)
    definition = parse_definition(notes["definition"], Path(notes["file"]))
    with (
        driving(name, settings.study_folder(name)),
        _claim(name, settings, storage),
        _recording(name, settings, listener) as tracker,
    ):
        search = Advisor.resume(definition, storage)
        repetitions = stored_repetitions(definition, search.outcomes(), storage)
        findings = _reconciled(search, name, tracker, settings)
        return findings if repetitions is None else findings + _reconciled(repetitions, name + SUFFIX, tracker, settings)


def _reconciled(advisor: Advisor, name: str, tracker: Tracker, settings: Settings) -> list[Finding]:
    shared = SharedFiles(settings.shared_address, name)
    findings = reconcile(advisor, tracker, advisor.notes["run_id"], settings.study_folder(name), shared)
    return [replace(finding, study=name) for finding in findings]


@contextmanager
def _recording(name: str, settings: Settings, listener: StudyListener) -> Iterator[Tracker]:
    """MLflow behind an outbox in the study's folder: what an earlier driver could not send goes first."""
    direct = MlflowTracker(settings.tracking_uri, Patience(MLFLOW_PATIENCE_S, listener.notice))
    tracker = JournaledTracker(direct, settings.study_folder(name) / "outbox")
    try:
        yield tracker
    finally:
        backlog = tracker.close()
        if backlog.refused:
            listener.notice(
                f"MLflow refused what {len(backlog.refused)} runs were told; it is kept in {backlog.folder}/.refused"
            )
        if backlog.num_deliveries:
            listener.notice(
                f"{backlog.num_deliveries} records of {backlog.num_runs} runs wait in {backlog.folder} for MLflow "
                f"({backlog.reason}); `study resume {name}` or `study reconcile {name}` sends them."
            )


@contextmanager
def _executor(prepared: PreparedStudy, options: Options, listener: StudyListener) -> Iterator[Executor]:
    if options.in_process:
        yield InProcessExecutor(prepared)
        return
    from study.tuning.cluster import ray_executor  # here, because importing Ray takes a second that --in-process saves

    with ray_executor(prepared, options.is_verbose, listener.notice) as executor:
        yield executor
