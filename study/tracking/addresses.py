"""Places in MLflow's pages, from their root: what follows `http://host:5000/`."""

from urllib.parse import quote, urlencode

from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from study.definition import MINIMIZED

VIEW_KEY = "viewStateShareKey"  # of a view that is kept with an experiment
PAGES_FOR_TRAINING = {"workflowType": "machine_learning"}  # else MLflow's pages open on chat traces at the first visit


def run_page(experiment_id: str, run_id: str) -> str:
    """Where a run is shown."""
    return f"#/experiments/{experiment_id}/runs/{run_id}?{urlencode(PAGES_FOR_TRAINING)}"


def order_of(parent_run_id: str, objective: str) -> dict[str, str]:
    """Which runs MLflow's pages list, and in which order: a study's trials, best first.

    Without an order by a metric the pages fold the trials away under their parent.
    """
    return {
        "searchFilter": f"tags.{MLFLOW_PARENT_RUN_ID} = '{parent_run_id}'",
        "orderByKey": f"metrics.`best_{objective}`",
        "orderByAsc": str(objective.endswith(MINIMIZED)).lower(),
    }


def charts_page(experiment_id: str, parent_run_id: str, objective: str) -> str:
    """Where MLflow's pages, whatever their address, show a study's trials side by side, best first."""
    query = order_of(parent_run_id, objective) | {"compareRunsMode": "CHART"}
    return f"#/experiments/{experiment_id}/runs?{urlencode(PAGES_FOR_TRAINING | query, quote_via=quote)}"


def table_page(experiment_id: str, view: str) -> str:
    """Where they show its trials in a table with what was searched, by the key of the view (study/tracking/table_view.py)."""
    query = {"compareRunsMode": "TABLE", VIEW_KEY: view}
    return f"#/experiments/{experiment_id}/runs?{urlencode(PAGES_FOR_TRAINING | query)}"
