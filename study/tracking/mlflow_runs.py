"""Runs as MLflow has them, found page by page and read as our records."""

from collections.abc import Sequence

from mlflow import MlflowClient
from mlflow.entities import Experiment, Run

from study.tracking.records import DUPLICATE_TAG, NAME_TAG, NUMBER_TAG, STATE_TAG, StudyRecord, TrialRecord, TrialRun, trial_run
from study.trial import TrialState

PAGE = 1000  # runs a request; MLflow's limit is 50,000, and a run with its params and metrics is some 5 kB


def all_experiments(client: MlflowClient) -> list[Experiment]:
    """Every experiment that is not deleted."""
    page = client.search_experiments(max_results=PAGE)
    experiments = list(page)
    while page.token:
        page = client.search_experiments(max_results=PAGE, page_token=page.token)
        experiments += page
    return experiments


def search_runs(client: MlflowClient, experiment_ids: Sequence[str], condition: str) -> list[Run]:
    """Every run that meets `condition`, newest first."""
    runs: list[Run] = []
    token = None
    while token != "":
        page = client.search_runs(
            list(experiment_ids), condition, max_results=PAGE, order_by=["attributes.start_time DESC"], page_token=token
        )
        runs += page
        token = page.token or ""
    return runs


def study_record(run: Run, experiment: str) -> StudyRecord:
    """A parent run as a record."""
    return StudyRecord(
        name=run.data.tags[NAME_TAG],
        run_id=run.info.run_id,
        state=_state(run),
        started_ms=run.info.start_time,
        experiment=experiment,
        tags=run.data.tags,
        metrics=run.data.metrics,
    )


def trial_records(runs: Sequence[Run]) -> list[TrialRecord]:
    """Trials by number; runs that were marked as duplicates are none."""
    counted = [run for run in runs if DUPLICATE_TAG not in run.data.tags]
    return sorted(map(_trial_record, counted), key=lambda record: record.number)


def trial_runs(runs: Sequence[Run]) -> list[TrialRun]:
    """Runs below a study's as they are, the first begun first."""
    found = [
        trial_run(
            run_id=run.info.run_id,
            status=run.info.status,
            last_epoch=max((metric.step for metric in run.data._metric_objs), default=0),
            tags=run.data.tags,
            started_ms=run.info.start_time,
        )
        for run in runs
    ]
    return sorted(found, key=lambda run: (run.started_ms, run.run_id))


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
