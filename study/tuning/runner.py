"""A whole study: prepare, create it in Optuna and MLflow, run its trials, register the winner."""

import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from study.definition import StudyDefinition, parse_definition
from study.errors import DataError, DefinitionError, SearchError, StudyError, TrackingError
from study.search.advisor import Advisor, load_study, study_names
from study.search.algorithms import Storage, is_fresh, open_storage
from study.search.warm_start import check_warm_start
from study.settings import Settings
from study.tracking.journaled_tracker import JournaledTracker
from study.tracking.mlflow_tracker import MlflowTracker
from study.tracking.patience import Patience
from study.tracking.provenance import provenance_tags
from study.tracking.tracker import Tracker
from study.trial import TrialState
from study.tuning.confirm import SUFFIX, confirm, stored_repetitions, summary_of
from study.tuning.data_card import write_data_card
from study.tuning.driver import End, driving
from study.tuning.driver_log import logged
from study.tuning.launch import Executor, Launch, StudyListener, StudyOutcome
from study.tuning.local import InProcessExecutor
from study.tuning.placement import check_gpus
from study.tuning.preparation import PreparedStudy, prepare
from study.tuning.reconcile import Finding, reconcile
from study.tuning.shared_files import SharedFiles

CLUSTER_PROBE_S = 5.0
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
    check_gpus(definition.resources)
    tracker = MlflowTracker(settings.tracking_uri)
    if tracker.connection.is_server:
        tracker.check()  # a server that is not there is news before the photos are packed
    _require_cluster(settings.ray_address)
    _require_new_in_optuna(definition, settings)
    if definition.search.warm_start:
        check_warm_start(definition, open_storage(settings.storage))
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
    storage = open_storage(settings.storage)
    with (
        driving(definition.name, settings.study_folder(definition.name)) as driver,
        logged(listener, settings.study_folder(definition.name)) as listener,
        _executor(prepared, options, listener) as executor,
        _recording(definition.name, settings, listener) as tracker,
    ):
        run_id, advisor = _create(prepared, tracker, storage)
        outcome = Launch(prepared, advisor, tracker, run_id, listener, started_s).run(executor)
        outcome = _confirmed(outcome, run_id, executor, tracker, storage, listener)
        driver.end = _end_of(outcome)
        return outcome


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
) -> StudyOutcome:
    """The outcome with what `[confirm]` found, where the definition has one and the search came to its end."""
    definition = outcome.prepared.definition
    if definition.confirm is None or outcome.is_interrupted or outcome.winner is None:
        return outcome
    confirmed = confirm(outcome.prepared, outcome.outcomes, executor, tracker, storage, listener, run_id)
    if confirmed is None:
        return replace(outcome, is_interrupted=True)
    tracker.end_study(run_id, TrialState.COMPLETE, summary_of(confirmed, definition), {})
    return replace(outcome, confirmed=confirmed)


def _create(prepared: PreparedStudy, tracker: Tracker, storage: Storage) -> tuple[str, Advisor]:
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


def _log_data(prepared: PreparedStudy, tracker: Tracker, run_id: str) -> None:
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
    MlflowTracker(settings.tracking_uri).check()
    storage = open_storage(settings.storage)
    notes = _notes_of(name, storage, "resume")
    definition = parse_definition(notes["definition"], Path(notes["file"]))
    prepared = prepare(definition, settings, listener.packing)
    _require_same_data(prepared, notes["data_digest"])
    with (
        driving(name, settings.study_folder(name)) as driver,
        logged(listener, settings.study_folder(name)) as listener,
        _executor(prepared, options, listener) as executor,
        _recording(name, settings, listener) as tracker,
    ):
        advisor = Advisor.resume(definition, storage)
        tracker.reopen(notes["run_id"])
        run_id = notes["run_id"]
        outcome = Launch(prepared, advisor, tracker, run_id, listener, started_s, is_resumed=True).run(executor)
        outcome = _confirmed(outcome, run_id, executor, tracker, storage, listener)
        driver.end = _end_of(outcome)
        return outcome


def _require_cluster(ray_address: str | None) -> None:
    """Ray itself tries an address where nothing listens for two minutes, and prints as it does."""
    host, _, port = (ray_address or "").removeprefix("ray://").partition(":")
    if not port.isdecimal():
        return  # none, or a name such as "auto" that only Ray understands
    try:
        socket.create_connection((host, int(port)), timeout=CLUSTER_PROBE_S).close()
    except OSError as error:
        raise DefinitionError(
            f"RAY_ADDRESS or --address must be a running Ray cluster, but nothing answers at {ray_address} ({error}). "
            f"Start it (`ray start --head`), or leave both out."
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


def reconcile_study(name: str, settings: Settings, listener: StudyListener) -> list[Finding]:
    """Compares what Optuna, MLflow and the study's folder say of a study that nobody is running, and sets it right.

    The repetitions of its best recipes (`[confirm]`) are a study of their own in all three, and are set right with it.

    Raises:
        StudyError: if there is no such study, a driver is running it, or a store cannot be read.
    """
    MlflowTracker(settings.tracking_uri).check()
    storage = open_storage(settings.storage)
    notes = _notes_of(name, storage, "reconcile")
    definition = parse_definition(notes["definition"], Path(notes["file"]))
    with driving(name, settings.study_folder(name)), _recording(name, settings, listener) as tracker:
        search = Advisor.resume(definition, storage)
        repetitions = stored_repetitions(definition, search.outcomes(), storage)
        findings = _reconciled(search, name, tracker, settings)
        return findings if repetitions is None else findings + _reconciled(repetitions, name + SUFFIX, tracker, settings)


def _reconciled(advisor: Advisor, name: str, tracker: Tracker, settings: Settings) -> list[Finding]:
    shared = SharedFiles(settings.shared_address, name)
    findings = reconcile(advisor, tracker, advisor.notes["run_id"], settings.study_folder(name), shared)
    return [replace(finding, study=name) for finding in findings]


def _notes_of(name: str, storage: Storage, command: str) -> Mapping[str, Any]:
    """What was kept with a study when it was created.

    Raises:
        SearchError: if there is none of this name, or it is a part of another.
    """
    notes = load_study(name, storage).user_attrs
    if "confirms" in notes:
        raise SearchError(
            f"{name!r} repeats the best recipes of {notes['confirms']!r} and goes on with it. "
            f"Use `study {command} {notes['confirms']}`."
        )
    return notes


@contextmanager
def _recording(name: str, settings: Settings, listener: StudyListener) -> Iterator[Tracker]:
    """MLflow behind an outbox in the study's folder: what an earlier driver could not send goes first."""
    direct = MlflowTracker(settings.tracking_uri, Patience(MLFLOW_PATIENCE_S, listener.notice))
    tracker = JournaledTracker(direct, settings.study_folder(name) / "outbox")
    try:
        yield tracker
    finally:
        backlog = tracker.close()
        if not backlog.is_empty:
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
