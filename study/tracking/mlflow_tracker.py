"""A `Tracker` that records in MLflow, on an SQLite file or a server."""

import getpass
import json
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from mlflow.entities import Dataset, DatasetInput, InputTag, Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import (
    MLFLOW_DATASET_CONTEXT,
    MLFLOW_PARENT_RUN_ID,
    MLFLOW_RUN_NOTE,
    MLFLOW_SOURCE_NAME,
    MLFLOW_USER,
)

from study.errors import TrackingError
from study.tracking.addresses import charts_page, run_page, table_page
from study.tracking.connection import Connection
from study.tracking.deliveries import Delivery, begun
from study.tracking.mlflow_runs import all_experiments, search_runs, study_record, trial_records, trial_runs
from study.tracking.patience import Patience
from study.tracking.recorder import Recorder
from study.tracking.records import (
    DEFAULT_OBJECTIVE,
    DEFINITION_FILE,
    KEY_TAG,
    KIND_TAG,
    MAX_TAG,
    NAME_TAG,
    NUMBER_TAG,
    OBJECTIVE_TAG,
    SEARCHED_TAG,
    STATE_TAG,
    StudyRecord,
    TrialRecord,
    TrialRun,
    newest,
    shortened,
    trial_key,
    trial_name,
)
from study.tracking.run_writers import run_writer
from study.tracking.table_view import VIEW_TAG, view_of
from study.trial import TrialConfig, TrialState

Answer = TypeVar("Answer")

MAX_DATASET_DIGEST = 36  # characters; MLflow's limit
PATIENCE = Patience(600.0)  # a server that is moved or whose database restarts is back within ten minutes


class MlflowTracker(Recorder):
    """Records in the MLflow store at `tracking_uri`. Pickles as that address: each worker makes its own connection.

    A run costs four calls: created with its tags, params, measurements with the summary, closed. Every call but `check` and
    `deliver` is repeated while the store is away, for as long as `patience` lasts.
    """

    def __init__(self, tracking_uri: str, patience: Patience = PATIENCE) -> None:
        self.connection = Connection(tracking_uri)
        self.patience = patience
        self._writer = run_writer(self.connection)
        self._experiment_ids: dict[str, str] = {}  # by run id: a trial belongs where its study does, asked once

    def __reduce__(self) -> tuple[type["MlflowTracker"], tuple[str]]:
        return (MlflowTracker, (self.connection.uri,))

    def check(self) -> None:
        """See `Tracker.check`."""
        self.connection.check()

    def begin_study(self, name: str, experiment: str, tags: Mapping[str, str], definition_text: str, note: str) -> str:
        """See `Tracker.begin_study`."""
        duty = f"begin the study `{name}`"
        experiment_id = self._patiently(duty, lambda: self._experiment(experiment))
        own = {KIND_TAG: "study", NAME_TAG: name, KEY_TAG: tags.get(KEY_TAG, uuid.uuid4().hex)}
        run_id = self._create_run(duty, experiment_id, name, {**tags, **own}, may_exist=KEY_TAG in tags)
        if KEY_TAG in tags:
            self.tell(run_id, Delivery(tags=shortened(tags), state=TrialState.RUNNING))
        self._patiently(duty, lambda: self.connection.client.log_text(run_id, definition_text, DEFINITION_FILE))
        self.describe(run_id, note, tags.get(OBJECTIVE_TAG, DEFAULT_OBJECTIVE))
        return run_id

    def describe(self, run_id: str, note: str, objective: str) -> None:
        """See `Tracker.describe`; under the note stand links to all trials as a table and as charts."""

        def describe() -> None:
            experiment_id = self._experiment_of(run_id)
            links = f"[All trials as charts]({charts_page(experiment_id, run_id, objective)})"
            if self._keep_table(run_id, objective):
                links = f"[All trials as a table]({table_page(experiment_id, run_id)}) · {links}"
            self.connection.client.set_tag(run_id, MLFLOW_RUN_NOTE, f"{note}\n\n{links}"[:MAX_TAG])

        self._patiently(f"describe run {run_id}", describe)

    def begin_trial(
        self, parent_run_id: str, number: int, config: TrialConfig, tags: Mapping[str, str], may_exist: bool = False
    ) -> str:
        """See `Tracker.begin_trial`."""
        run_id = self.create_trial(parent_run_id, number, config, tags, may_exist)
        self.tell(run_id, begun(config))
        return run_id

    def create_trial(
        self, parent_run_id: str, number: int, config: TrialConfig, tags: Mapping[str, str], may_exist: bool = False
    ) -> str:
        """See `DirectTracker.create_trial`."""
        own = {
            KIND_TAG: "trial",
            NUMBER_TAG: str(number),
            STATE_TAG: TrialState.RUNNING.value,
            KEY_TAG: trial_key(parent_run_id, number),
            MLFLOW_PARENT_RUN_ID: parent_run_id,
        }
        duty = f"begin trial {number}"
        experiment_id = self._patiently(duty, lambda: self._experiment_of(parent_run_id))
        return self._create_run(duty, experiment_id, trial_name(number, config), {**tags, **own}, may_exist)

    def reopen(self, run_id: str) -> None:
        """See `Tracker.reopen`."""

        def reopen() -> None:
            is_trial = MLFLOW_PARENT_RUN_ID in self.connection.client.get_run(run_id).data.tags
            tags = {STATE_TAG: TrialState.RUNNING.value} if is_trial else {}
            self._writer.write(run_id, Delivery(tags=tags, state=TrialState.RUNNING))

        self._patiently(f"reopen run {run_id}", reopen)

    def deliver(self, run_id: str, delivery: Delivery) -> None:
        """See `DirectTracker.deliver`."""
        with self.connection.reporting(f"record what happened in run {run_id}"):
            self._writer.write(run_id, delivery)

    def tell(self, run_id: str, delivery: Delivery) -> None:
        """Delivers, and waits for it."""
        self.patience.of(lambda: self.deliver(run_id, delivery))

    def log_dataset(self, run_id: str, name: str, digest: str, source: str, profile: Mapping[str, int]) -> None:
        """See `Tracker.log_dataset`."""
        dataset = Dataset(
            name=name,
            digest=digest[:MAX_DATASET_DIGEST],
            source_type="local",
            source=json.dumps({"uri": source}),
            profile=json.dumps(dict(profile)),
        )
        inputs = [DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, "training")])]
        self._patiently(f"name the data of run {run_id}", lambda: self.connection.client.log_inputs(run_id, inputs))

    def log_artifacts(self, run_id: str, folder: Path, artifact_path: str) -> None:
        """See `Tracker.log_artifacts`."""
        self._patiently(
            f"keep the files of {folder}", lambda: self.connection.client.log_artifacts(run_id, str(folder), artifact_path)
        )

    def address(self, run_id: str) -> str:
        """See `Tracker.address`."""
        if self.connection.is_server:
            return f"{self.connection.pages}/{self.page(run_id)}"
        tags = self._patiently(f"know run {run_id}", lambda: self.connection.client.get_run(run_id).data.tags)
        return f"study ui {tags.get(NAME_TAG, '')}".strip()

    def page(self, run_id: str) -> str:
        """The run's page, from the root of MLflow's pages."""
        return run_page(self._patiently(f"know run {run_id}", lambda: self._experiment_of(run_id)), run_id)

    def table_address(self, run_id: str) -> str | None:
        """See `Tracker.table_address`."""
        table = self.table(run_id)
        return f"{self.connection.pages}/{table}" if table and self.connection.is_server else None

    def table(self, run_id: str) -> str | None:
        """Where a study's trials are a table, from the root of MLflow's pages; None for a study of before there was one."""
        run = self._patiently(f"know run {run_id}", lambda: self.connection.client.get_run(run_id))
        return table_page(run.info.experiment_id, run_id) if run.data.tags.get(SEARCHED_TAG) else None

    def find_study(self, name: str) -> str | None:
        """See `Tracker.find_study`."""
        return newest(name, self.studies())

    def studies(self) -> list[StudyRecord]:
        """See `Tracker.studies`."""

        def studies() -> list[StudyRecord]:
            client = self.connection.client
            names = {experiment.experiment_id: experiment.name for experiment in all_experiments(client)}
            runs = search_runs(client, list(names), f"tags.`{KIND_TAG}` = 'study'")
            return [study_record(run, names[run.info.experiment_id]) for run in runs]

        return self._patiently("list its studies", studies)

    def trials(self, parent_run_id: str) -> list[TrialRecord]:
        """See `Tracker.trials`."""
        return trial_records(self._children(parent_run_id))

    def trial_runs(self, parent_run_id: str) -> list[TrialRun]:
        """See `Tracker.trial_runs`."""
        return trial_runs(self._children(parent_run_id))

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """See `Tracker.history`."""
        points = self._patiently(
            f"read `{metric}` of run {run_id}", lambda: self.connection.client.get_metric_history(run_id, metric)
        )
        curve = {point.step: point.value for point in sorted(points, key=lambda point: point.timestamp)}
        return sorted(curve.items())

    def read_text(self, run_id: str, artifact_path: str) -> str:
        """See `Tracker.read_text`."""

        def read() -> str:
            with TemporaryDirectory() as folder:
                file = self.connection.client.download_artifacts(run_id, artifact_path, folder)
                return Path(file).read_text(encoding="utf-8")

        return self._patiently(f"hold `{artifact_path}` of run {run_id}", read)

    def _patiently(self, duty: str, call: Callable[[], Answer]) -> Answer:
        """What `call` returns, repeated while the store is away; its failures in one line."""

        def attempt() -> Answer:
            with self.connection.reporting(duty):
                return call()

        return self.patience.of(attempt)

    def _create_run(self, duty: str, experiment_id: str, name: str, tags: Mapping[str, str], may_exist: bool) -> str:
        """Run id of the one run with the key in `tags`. A call that failed may have made it: only its reply was lost."""
        tags = {MLFLOW_USER: _user(), MLFLOW_SOURCE_NAME: "study", **shortened(tags)}
        started_ms, is_sure_to_be_new = time.time_ns() // 1_000_000, not may_exist

        def create() -> str:
            nonlocal is_sure_to_be_new
            found = None if is_sure_to_be_new else self._run_with_key(experiment_id, tags[KEY_TAG])
            is_sure_to_be_new = False
            return found or self._writer.create(experiment_id, name, tags, started_ms)

        run_id = self._patiently(duty, create)
        self._experiment_ids[run_id] = experiment_id
        return run_id

    def _run_with_key(self, experiment_id: str, key: str) -> str | None:
        """The oldest run that was asked for with `key` and is no duplicate."""
        runs = trial_runs(search_runs(self.connection.client, [experiment_id], f"tags.`{KEY_TAG}` = '{key}'"))
        return next((run.run_id for run in runs if run.duplicate_of is None), None)

    def _children(self, parent_run_id: str) -> list[Run]:
        """Every run below a study's."""

        def children() -> list[Run]:
            experiment_id = self._experiment_of(parent_run_id)
            return search_runs(self.connection.client, [experiment_id], f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent_run_id}'")

        return self._patiently(f"list the trials of run {parent_run_id}", children)

    def _experiment(self, name: str) -> str:
        """Id of the experiment, made where there is none yet; another process may make it at the same moment."""
        client = self.connection.client
        found = client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(client.create_experiment(name, self.connection.artifact_location(name)))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            found = client.get_experiment_by_name(name)
            assert found is not None  # it exists already, so the other process has made it
        if found.lifecycle_stage == "deleted":
            raise TrackingError(
                f"an experiment must not be deleted while studies use it, but `{name}` is, in MLflow at "
                f"{self.connection.shown}. Restore it (`mlflow experiments restore --experiment-id {found.experiment_id}`) "
                f"or set another `experiment` in the definition."
            )
        return str(found.experiment_id)

    def _keep_table(self, run_id: str, objective: str) -> bool:
        """Keeps with the experiment how a study's trials are shown as a table; not where its run says not what was searched."""
        tags = self.connection.client.get_run(run_id).data.tags
        if not tags.get(SEARCHED_TAG):
            return False
        view = view_of(tags[NAME_TAG], run_id, objective, tags[SEARCHED_TAG].split(","))
        self.connection.client.set_experiment_tag(self._experiment_of(run_id), VIEW_TAG + run_id, view)
        return True

    def _experiment_of(self, run_id: str) -> str:
        if run_id not in self._experiment_ids:
            self._experiment_ids[run_id] = self.connection.client.get_run(run_id).info.experiment_id
        return self._experiment_ids[run_id]


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user id may have no name
        return "unknown"
