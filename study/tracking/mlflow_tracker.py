"""A `Tracker` that records in MLflow, on an SQLite file or a server."""

import getpass
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow.entities import Dataset, DatasetInput, Experiment, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import (
    MLFLOW_DATASET_CONTEXT,
    MLFLOW_PARENT_RUN_ID,
    MLFLOW_RUN_NOTE,
    MLFLOW_SOURCE_NAME,
    MLFLOW_USER,
)

from study.errors import TrackingError
from study.tracking.addresses import charts_page, run_page
from study.tracking.connection import Connection
from study.tracking.records import (
    DEFAULT_OBJECTIVE,
    DEFINITION_FILE,
    KIND_TAG,
    MAX_TAG,
    NAME_TAG,
    NUMBER_TAG,
    OBJECTIVE_TAG,
    STATE_TAG,
    StudyRecord,
    TrialRecord,
    metrics_of,
    newest,
    params_of,
    shortened,
    trial_name,
)
from study.trial import Measurement, TrialConfig, TrialState

STATUS = {  # what MLflow's pages show; its vocabulary has no word for "pruned", which is why there is a tag
    TrialState.COMPLETE: "FINISHED",
    TrialState.PRUNED: "FINISHED",
    TrialState.FAIL: "FAILED",
    TrialState.INTERRUPTED: "KILLED",
}
MAX_DATASET_DIGEST = 36  # characters; MLflow's limit
PAGE = 1000  # runs a request; MLflow's limit is 50,000, and a run with its params and metrics is some 5 kB


class MlflowTracker:
    """Records in the MLflow store at `tracking_uri`. Pickles as that address: each worker makes its own connection.

    A run costs four calls: created with its tags, params, measurements with the summary, closed.
    """

    def __init__(self, tracking_uri: str) -> None:
        self.connection = Connection(tracking_uri)
        self._experiment_ids: dict[str, str] = {}  # by run id: a trial belongs where its study does, asked once

    def __reduce__(self) -> tuple[type["MlflowTracker"], tuple[str]]:
        return (MlflowTracker, (self.connection.uri,))

    def check(self) -> None:
        """See `Tracker.check`."""
        self.connection.check()

    def begin_study(self, name: str, experiment: str, tags: Mapping[str, str], definition_text: str, note: str) -> str:
        """See `Tracker.begin_study`."""
        with self.connection.reporting(f"begin the study `{name}`"):
            client = self.connection.client
            experiment_id = self._experiment(experiment)
            run_id = self._create_run(experiment_id, name, {**tags, KIND_TAG: "study", NAME_TAG: name})
            client.log_text(run_id, definition_text, DEFINITION_FILE)
        self.describe(run_id, note, tags.get(OBJECTIVE_TAG, DEFAULT_OBJECTIVE))
        return run_id

    def describe(self, run_id: str, note: str, objective: str) -> None:
        """See `Tracker.describe`; under the note stands a link to all trials as charts."""
        with self.connection.reporting(f"describe run {run_id}"):
            text = f"{note}\n\n[All trials as charts]({charts_page(self._experiment_of(run_id), run_id, objective)})"
            self.connection.client.set_tag(run_id, MLFLOW_RUN_NOTE, text[:MAX_TAG])

    def begin_trial(self, parent_run_id: str, number: int, config: TrialConfig, tags: Mapping[str, str]) -> str:
        """See `Tracker.begin_trial`."""
        own = {
            KIND_TAG: "trial",
            NUMBER_TAG: str(number),
            STATE_TAG: TrialState.RUNNING.value,
            MLFLOW_PARENT_RUN_ID: parent_run_id,
        }
        params = [Param(key, value) for key, value in params_of(config).items()]
        with self.connection.reporting(f"begin trial {number}"):
            run_id = self._create_run(self._experiment_of(parent_run_id), trial_name(number, config), {**tags, **own})
            self.connection.client.log_batch(run_id, params=params)
        return run_id

    def reopen(self, run_id: str) -> None:
        """See `Tracker.reopen`."""
        with self.connection.reporting(f"reopen run {run_id}"):
            is_trial = MLFLOW_PARENT_RUN_ID in self.connection.client.get_run(run_id).data.tags
            if is_trial:
                self.connection.client.set_tag(run_id, STATE_TAG, TrialState.RUNNING.value)
            self.connection.client.update_run(run_id, status="RUNNING")

    def append(self, run_id: str, measurements: Sequence[Measurement]) -> None:
        """See `Tracker.append`."""
        with self.connection.reporting(f"record measurements of run {run_id}"):
            self.connection.client.log_batch(run_id, metrics=_metrics(measurements))

    def end_trial(
        self,
        run_id: str,
        state: TrialState,
        measurements: Sequence[Measurement],
        summary: Mapping[str, float],
        tags: Mapping[str, str],
    ) -> None:
        """See `Tracker.end_trial`."""
        self._end(run_id, state, _metrics(measurements) + _summary(summary), {**tags, STATE_TAG: state.value})

    def end_study(self, parent_run_id: str, state: TrialState, summary: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """See `Tracker.end_study`."""
        self._end(parent_run_id, state, _summary(summary), tags)

    def log_dataset(self, run_id: str, name: str, digest: str, source: str, profile: Mapping[str, int]) -> None:
        """See `Tracker.log_dataset`."""
        dataset = Dataset(
            name=name,
            digest=digest[:MAX_DATASET_DIGEST],
            source_type="local",
            source=json.dumps({"uri": source}),
            profile=json.dumps(dict(profile)),
        )
        tags = [InputTag(MLFLOW_DATASET_CONTEXT, "training")]
        with self.connection.reporting(f"name the data of run {run_id}"):
            self.connection.client.log_inputs(run_id, [DatasetInput(dataset, tags)])

    def log_artifacts(self, run_id: str, folder: Path, artifact_path: str) -> None:
        """See `Tracker.log_artifacts`."""
        with self.connection.reporting(f"keep the files of {folder}"):
            self.connection.client.log_artifacts(run_id, str(folder), artifact_path)

    def address(self, run_id: str) -> str:
        """See `Tracker.address`."""
        if self.connection.is_server:
            return f"{self.connection.shown}/{self.page(run_id)}"
        with self.connection.reporting(f"know run {run_id}"):
            return f"study ui {self.connection.client.get_run(run_id).data.tags.get(NAME_TAG, '')}".strip()

    def page(self, run_id: str) -> str:
        """The run's page, from the root of MLflow's pages."""
        with self.connection.reporting(f"know run {run_id}"):
            return run_page(self._experiment_of(run_id), run_id)

    def find_study(self, name: str) -> str | None:
        """See `Tracker.find_study`."""
        return newest(name, self.studies())

    def studies(self) -> list[StudyRecord]:
        """See `Tracker.studies`."""
        with self.connection.reporting("list its studies"):
            names = {experiment.experiment_id: experiment.name for experiment in self._experiments()}
            runs = self._search(list(names), f"tags.`{KIND_TAG}` = 'study'")
        return [_study_record(run, names[run.info.experiment_id]) for run in runs]

    def trials(self, parent_run_id: str) -> list[TrialRecord]:
        """See `Tracker.trials`."""
        with self.connection.reporting(f"list the trials of run {parent_run_id}"):
            experiment_id = self._experiment_of(parent_run_id)
            runs = self._search([experiment_id], f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent_run_id}'")
        return sorted(map(_trial_record, runs), key=lambda record: record.number)

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """See `Tracker.history`."""
        with self.connection.reporting(f"read `{metric}` of run {run_id}"):
            points = self.connection.client.get_metric_history(run_id, metric)
        curve = {point.step: point.value for point in sorted(points, key=lambda point: point.timestamp)}
        return sorted(curve.items())

    def read_text(self, run_id: str, artifact_path: str) -> str:
        """See `Tracker.read_text`."""
        with self.connection.reporting(f"hold `{artifact_path}` of run {run_id}"), TemporaryDirectory() as folder:
            file = self.connection.client.download_artifacts(run_id, artifact_path, folder)
            return Path(file).read_text(encoding="utf-8")

    def _create_run(self, experiment_id: str, name: str, tags: Mapping[str, str]) -> str:
        tags = {MLFLOW_USER: _user(), MLFLOW_SOURCE_NAME: "study", **shortened(tags)}
        run = self.connection.client.create_run(experiment_id, tags=tags, run_name=name)
        self._experiment_ids[run.info.run_id] = experiment_id
        return str(run.info.run_id)

    def _end(self, run_id: str, state: TrialState, metrics: Sequence[Metric], tags: Mapping[str, str]) -> None:
        run_tags = [RunTag(key, value) for key, value in shortened(tags).items()]
        with self.connection.reporting(f"close run {run_id}"):
            self.connection.client.log_batch(run_id, metrics=metrics, tags=run_tags)
            self.connection.client.set_terminated(run_id, STATUS[state])

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

    def _experiment_of(self, run_id: str) -> str:
        if run_id not in self._experiment_ids:
            self._experiment_ids[run_id] = self.connection.client.get_run(run_id).info.experiment_id
        return self._experiment_ids[run_id]

    def _experiments(self) -> list[Experiment]:
        page = self.connection.client.search_experiments(max_results=PAGE)
        experiments = list(page)
        while page.token:
            page = self.connection.client.search_experiments(max_results=PAGE, page_token=page.token)
            experiments += page
        return experiments

    def _search(self, experiment_ids: list[str], condition: str) -> list[Run]:
        """Every run that meets `condition`, newest first."""
        runs: list[Run] = []
        token = None
        while token != "":
            page = self.connection.client.search_runs(
                experiment_ids, condition, max_results=PAGE, order_by=["attributes.start_time DESC"], page_token=token
            )
            runs += page
            token = page.token or ""
        return runs


def _metrics(measurements: Sequence[Measurement]) -> list[Metric]:
    return [
        Metric(name, value, measurement.timestamp_ms, measurement.epoch)
        for measurement in measurements
        for name, value in metrics_of(measurement).items()
    ]


def _summary(summary: Mapping[str, float]) -> list[Metric]:
    now_ms = time.time_ns() // 1_000_000
    return [Metric(name, value, now_ms, 0) for name, value in summary.items()]


def _study_record(run: Run, experiment: str) -> StudyRecord:
    return StudyRecord(
        name=run.data.tags[NAME_TAG],
        run_id=run.info.run_id,
        state=_state(run),
        started_ms=run.info.start_time,
        experiment=experiment,
        tags=run.data.tags,
        metrics=run.data.metrics,
    )


def _trial_record(run: Run) -> TrialRecord:
    return TrialRecord(
        number=int(run.data.tags[NUMBER_TAG]),
        run_id=run.info.run_id,
        state=_state(run),
        params=run.data.params,
        metrics=run.data.metrics,
        tags=run.data.tags,
    )


def _state(run: Run) -> TrialState:
    """As the tag tells; a parent run has none, its status says all."""
    if STATE_TAG in run.data.tags:
        return TrialState(run.data.tags[STATE_TAG])
    states = {"FINISHED": TrialState.COMPLETE, "FAILED": TrialState.FAIL, "KILLED": TrialState.INTERRUPTED}
    return states.get(run.info.status, TrialState.RUNNING)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user id may have no name
        return "unknown"
