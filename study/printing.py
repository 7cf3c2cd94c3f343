"""Results as plain data (what `--json` prints) and as tables (what a person reads)."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image
from rich.console import Console
from rich.table import Table
from rich.text import Text

from study.data.dataset import summarize
from study.models.weights import ResolvedWeights
from study.progress import STATE_STYLES, duration, recipe
from study.search.advisor import Outcome
from study.tracking.provenance import OBJECTIVE_TAG
from study.tracking.records import StudyRecord, TrialRecord, require_study
from study.tracking.tracker import Tracker
from study.trial import TrialState
from study.tuning.preparation import PreparedStudy
from study.tuning.runner import StudyOutcome

LEADERBOARD_LENGTH = 10
PIPED_WIDTH = 160  # columns: in a file or a pipe nothing is gained by folding a recipe
MIB = 2**20
Result = dict[str, Any]


def plan_of(prepared: PreparedStudy) -> Result:
    """What a study would do."""
    definition, data = prepared.definition, prepared.data
    return {
        "study": definition.name,
        "question": definition.question,
        "trials": definition.num_trials,
        "epochs": definition.trial.epochs,
        "sampler": definition.search.sampler,
        "pruner": definition.search.pruner.name,
        "objective": definition.objective.key,
        "searched": {key: distribution.model_dump(exclude_defaults=True) for key, distribution in definition.space.items()},
        "photos": summarize(data),
        "packed_mib": round(data.images.nbytes / MIB, 1),
        "weights": {
            f"{backbone} {written}": _weights_in_words(found) for (backbone, written), found in prepared.weights.items()
        },
        "tracking_uri": prepared.settings.tracking_uri,
        "storage": prepared.settings.storage,
        "cache": str(prepared.settings.cache_folder),
    }


def print_plan(plan: Result) -> None:
    """The plan as a person reads it."""
    console = _console()
    console.print(f"[bold]{plan['study']}[/] {plan['question']}")
    console.print(
        f"{plan['trials']} trials of up to {plan['epochs']} epochs, proposed by {plan['sampler']}, pruned by {plan['pruner']}, "
        f"judged by {plan['objective']}"
    )
    table = Table(box=None, pad_edge=False)
    splits = list(next(iter(plan["photos"]["classes"].values())))
    for column in ("class", *splits):
        table.add_column(column, justify="left" if column == "class" else "right")
    for name, counts in plan["photos"]["classes"].items():
        table.add_row(name, *(str(counts[split]) for split in splits))
    console.print(table)
    for key, distribution in plan["searched"].items():
        console.print(f"  {key}: {distribution}", markup=False)
    for name, found in plan["weights"].items():
        console.print(f"weights {name}: {found}", markup=False)
    console.print(f"packed photos: {plan['packed_mib']} MiB in {plan['cache']}", markup=False)
    console.print(f"MLflow: {plan['tracking_uri']} · Optuna: {plan['storage']}", markup=False)


def outcome_of(outcome: StudyOutcome, command: str) -> Result:
    """How a study ended.

    Args:
        command: how `study` is called here, for the lines to copy.
    """
    definition, winner = outcome.prepared.definition, outcome.winner
    counts = Counter(trial.state.value for trial in outcome.outcomes)
    return {
        "study": definition.name,
        "objective": definition.objective.key,
        "is_interrupted": outcome.is_interrupted,
        "counts": dict(sorted(counts.items())),
        "elapsed_s": round(outcome.elapsed_s, 1),
        "leaderboard": [_row(trial) for trial in leaderboard(outcome)],
        "winner": None
        if winner is None
        else {
            "trial": winner.outcome.number,
            "value": winner.outcome.value,
            "chance": winner.chance,
            "metrics": dict(winner.metrics),
            "model": winner.model_uri,
            "version": winner.model_version,
        },
        "mlflow": _as_called(outcome.address, command),
        "next": _next_command(outcome, command),
    }


def leaderboard(outcome: StudyOutcome) -> list[Outcome]:
    """Completed trials first, best first; then pruned ones; failed ones last."""
    order = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
    sign = -1 if outcome.prepared.definition.objective.is_maximized else 1
    return sorted(
        outcome.outcomes,
        key=lambda trial: (order.index(trial.state), sign * trial.value if trial.value is not None else 0.0, trial.number),
    )


def print_outcome(result: Result) -> None:
    """Leaderboard, winner, and where to go from here."""
    console = _console()
    table = Table(title=f"{result['study']}: {result['objective']}", title_justify="left", box=None, pad_edge=False)
    for name in ("trial", "state", "epochs", "value", "recipe"):
        table.add_column(name, justify="left" if name in ("state", "recipe") else "right", no_wrap=name != "recipe")
    for row in result["leaderboard"][:LEADERBOARD_LENGTH]:
        value = "" if row["value"] is None else f"{row['value']:.3f}"
        state = Text(row["state"], style=STATE_STYLES[TrialState(row["state"])])
        table.add_row(str(row["trial"]), state, str(row["epochs"]), value, recipe(row["searched"]))
    console.print(table)
    counts = ", ".join(f"{count} {state}" for state, count in result["counts"].items()) or "no trial ended"
    console.print(f"{counts} in {duration(result['elapsed_s'])}")
    winner = result["winner"]
    if winner is not None:
        console.print(
            f"best: trial {winner['trial']}, {result['objective']} {winner['value']:.3f}; without looking: "
            f"{winner['chance']:.3f} ({winner['value'] - winner['chance']:+.3f})"
        )
        console.print(f"model: {winner['model']} (version {winner['version']})", markup=False)
    elif result["is_interrupted"]:
        console.print("interrupted: trials that were running wait to go on")
    else:
        console.print("no trial completed: nothing to register. The runs in MLflow say why (tag study.error).")
    console.print(f"MLflow: {result['mlflow']}", markup=False)
    console.print(result["next"], markup=False)


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
        }
        for record in studies
    ]


def print_studies(studies: Sequence[Result]) -> None:
    """A line a study."""
    if not studies:
        Console().print("no study yet: start one with `study run FILE`", markup=False)
        return
    table = Table(box=None, pad_edge=False)
    for name in ("study", "state", "started", "best_objective", "experiment"):
        table.add_column(name.replace("_", " "))
    for entry in studies:
        best = "" if entry["best_objective"] is None else f"{entry['best_objective']:.3f}"
        table.add_row(entry["study"], entry["state"], entry["started"], best, entry["experiment"])
    _console().print(table)


def trials_of(name: str, tracker: Tracker) -> Result:
    """A study's trials as MLflow has them, best first.

    Raises:
        TrackingError: if there is no such study.
    """
    study = require_study(name, tracker.studies())
    objective = study.tags.get(OBJECTIVE_TAG, "val_balanced_accuracy")
    trials = sorted(tracker.trials(study.run_id), key=lambda trial: _rank(trial, f"best_{objective}"))
    return {
        "study": name,
        "objective": objective,
        "mlflow": tracker.address(study.run_id),
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


def _rank(trial: TrialRecord, metric: str) -> tuple[bool, float, int]:
    """Trials with a value first, best first; only a loss is better when it is lower."""
    value = trial.metrics.get(metric, 0.0)
    return metric not in trial.metrics, value if metric.endswith("loss") else -value, trial.number


def print_trials(result: Result) -> None:
    """A line a trial."""
    table = Table(title=result["study"], title_justify="left", box=None, pad_edge=False)
    trials = result["trials"]
    shown = ("best_val_balanced_accuracy", "best_val_accuracy", "best_val_macro_f1", "best_val_loss", "best_epoch")
    varying = _varying_params([trial["params"] for trial in trials])
    for name in ("trial", "state", *(metric.removeprefix("best_val_") for metric in shown), *varying):
        table.add_column(name, no_wrap=True)
    for trial in trials:
        figures = [f"{trial['metrics'][metric]:.3g}" if metric in trial["metrics"] else "" for metric in shown]
        state = Text(trial["state"], style=STATE_STYLES[TrialState(trial["state"])])
        table.add_row(str(trial["trial"]), state, *figures, *(_short(trial["params"].get(key, "")) for key in varying))
    console = _console()
    console.print(table)
    for trial in trials:
        if trial["error"]:
            console.print(f"trial {trial['trial']} failed: {trial['error']}", markup=False)
    console.print(f"MLflow: {result['mlflow']}", markup=False)


def print_predictions(predictions: Sequence[Result]) -> None:
    """A line a photo."""
    for prediction in predictions:
        others = sorted(prediction["probabilities"].items(), key=lambda item: -item[1])
        shares = ", ".join(f"{name} {probability:.3f}" for name, probability in others)
        print(f"{prediction['image']}: {prediction['class']} ({shares})")


def _console() -> Console:
    """A console that prints as it is told: no colours for numbers, no line broken but in tables."""
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    return console


def _row(outcome: Outcome) -> Result:
    return {
        "trial": outcome.number,
        "state": outcome.state.value,
        "value": outcome.value,
        "epochs": outcome.num_epochs,
        "searched": dict(outcome.searched),
        "run_id": outcome.run_id,
    }


def _as_called(address: str, command: str) -> str:
    """An address as it is; the command that opens a database's pages in the words that work here."""
    return f"{command} {address.removeprefix('study ')}" if address.startswith("study ") else address


def _next_command(outcome: StudyOutcome, command: str) -> str:
    """The line to copy: predict with the winner, or go on."""
    definition = outcome.prepared.definition
    if outcome.is_interrupted:
        return f"go on with: {command} resume {definition.name}"
    if outcome.winner is None:
        return f"look at: {command} show {definition.name}"
    return f"try: {command} predict {outcome.winner.model_uri} {_example_photo(outcome.prepared)}"


def _example_photo(prepared: PreparedStudy) -> str:
    """A validation photo to try the model on; one that was drawn is written beside the model first."""
    definition, data = prepared.definition, prepared.data
    index = int(data.splits.val[0])
    if definition.data.folder is not None:
        return str(definition.path_of(definition.data.folder) / data.photos[index])
    path = prepared.settings.study_folder(definition.name) / "example.png"
    Image.fromarray(data.images[index]).save(path)
    return str(path)


def _weights_in_words(weights: ResolvedWeights) -> str:
    return weights.note or (f"{weights.path} ({weights.digest})" if weights.path else "random, as asked")


def _varying_params(params: Sequence[Mapping[str, str]]) -> list[str]:
    """The keys whose values differ between trials: what the study searched."""
    keys = sorted({key for entry in params for key in entry} - {"seed"})
    return [key for key in keys if len({entry.get(key) for entry in params}) > 1]


def _short(value: str) -> str:
    """A number with three digits; any other value as it is."""
    try:
        return f"{float(value):.3g}"
    except ValueError:
        return value
