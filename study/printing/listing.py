"""Studies and trials: the results of `study list` and `show`."""

import time
from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from study.definition import MINIMIZED
from study.printing.console import Result, make_console
from study.printing.filters import TrialFilter
from study.progress import STATE_STYLES, recipe
from study.tracking.records import DEFAULT_OBJECTIVE, OBJECTIVE_TAG, StudyRecord, TrialRecord, require_study
from study.tracking.tracker import Tracker
from study.trial import TrialState

EVERY_TRIAL = TrialFilter()


def studies_of(studies: Sequence[StudyRecord]) -> list[Result]:
    """One entry a launch."""
    return [
        {
            "study": record.name,
            "state": record.state.value,
            "started": time.strftime("%Y-%m-%d %H:%M", time.localtime(record.started_ms / 1000)),
            "best_objective": record.metrics.get("best_objective"),
            "experiment": record.experiment,
            "run_id": record.run_id,
            "definition_digest": record.tags.get("study.definition_digest"),
        }
        for record in studies
    ]


def print_studies(studies: Sequence[Result]) -> None:
    """A line a study."""
    if not studies:
        make_console().print("no study yet: start one with `study run FILE`", markup=False)
        return
    table = Table(box=None, pad_edge=False)
    for name in ("study", "state", "started", "best_objective", "experiment"):
        table.add_column(name.replace("_", " "))
    for entry in studies:
        best = "" if entry["best_objective"] is None else f"{entry['best_objective']:.3f}"
        table.add_row(entry["study"], entry["state"], entry["started"], best, entry["experiment"])
    make_console().print(table)


def trials_of(name: str, tracker: Tracker, shown: TrialFilter = EVERY_TRIAL) -> Result:
    """A study's trials as MLflow has them, best first.

    Raises:
        TrackingError: if there is no such study.
        DefinitionError: if the filter names what no trial has.
    """
    study = require_study(name, tracker.studies())
    objective = study.tags.get(OBJECTIVE_TAG, DEFAULT_OBJECTIVE)
    trials = sorted(tracker.trials(study.run_id), key=lambda trial: _rank(trial, f"best_{objective}"))
    num_trials, trials = len(trials), shown.apply(trials)
    return {
        "study": name,
        "num_trials": num_trials,
        "objective": objective,
        "mlflow": tracker.address(study.run_id),
        "mlflow_table": tracker.table_address(study.run_id),
        "trials": [
            {
                "trial": record.number,
                "state": record.state.value,
                "params": dict(record.params),
                "metrics": dict(record.metrics),
                "error": record.tags.get("study.error"),
                "run_id": record.run_id,
            }
            for record in trials
        ],
    }


def print_trials(result: Result) -> None:
    """A line a trial, its recipe told by the params that differ between trials."""
    table = Table(title=f"{result['study']}: {result['objective']}", title_justify="left", box=None, pad_edge=False)
    for name in ("trial", "state", "best epoch", "value", "recipe"):
        table.add_column(name, justify="left" if name in ("state", "recipe") else "right", no_wrap=name != "recipe")
    varying = _varying_params([trial["params"] for trial in result["trials"]])
    for trial in result["trials"]:
        metrics = trial["metrics"]
        best_epoch, value = metrics.get("best_epoch"), metrics.get(f"best_{result['objective']}")
        words = {key: _number(trial["params"][key]) for key in varying if key in trial["params"]}
        table.add_row(
            str(trial["trial"]),
            Text(trial["state"], style=STATE_STYLES[TrialState(trial["state"])]),
            "" if best_epoch is None else f"{best_epoch:.0f}",
            "" if value is None else f"{value:.3f}",
            trial["error"] or recipe(words),
        )
    console = make_console()
    console.print(table)
    if len(result["trials"]) < result["num_trials"]:
        console.print(f"{len(result['trials']):,} of {result['num_trials']:,} trials, the best first (--limit N, --json)")
    console.print(f"MLflow: {result['mlflow']}", markup=False)
    if result["mlflow_table"]:
        console.print(f"its trials as a table: {result['mlflow_table']}", markup=False, soft_wrap=True)


def _rank(trial: TrialRecord, metric: str) -> tuple[bool, float, int]:
    """Trials with a value first, best first."""
    value = trial.metrics.get(metric, 0.0)
    return metric not in trial.metrics, value if metric.endswith(MINIMIZED) else -value, trial.number


def _varying_params(params: Sequence[Mapping[str, str]]) -> list[str]:
    """The keys whose values differ between trials: what the study searched."""
    keys = sorted({key for entry in params for key in entry} - {"seed"})
    return [key for key in keys if len({entry.get(key) for entry in params}) > 1]


def _number(value: str) -> float | str:
    """A param as it was before MLflow made a text of it."""
    try:
        return float(value)
    except ValueError:
        return value
