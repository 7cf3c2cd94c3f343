"""How a study ended: the result of `study run` and `study resume`."""

import shlex
from collections import Counter
from dataclasses import asdict

from PIL import Image
from rich.console import Console
from rich.table import Table
from rich.text import Text

from study.answering import Answer
from study.data.examples import examples_of
from study.printing.console import Result, make_console
from study.progress import STATE_STYLES, duration, recipe
from study.search.advisor import Outcome
from study.search.outcomes import is_candidate
from study.search.ranking import ranked_outcomes
from study.trial import TrialState
from study.tuning.launch import StudyOutcome
from study.tuning.preparation import PreparedStudy

LEADERBOARD_LENGTH = 10


def outcome_of(outcome: StudyOutcome, command: str, answered: Answer | None) -> Result:
    """How a study ended.

    Args:
        command: how `study` is called here, for the lines to copy.
        answered: what it showed; None where it was interrupted, or could not be answered.
    """
    definition, winner = outcome.prepared.definition, outcome.winner
    counts = Counter(trial.state.value for trial in outcome.outcomes)
    return {
        "study": definition.name,
        "objective": definition.objective.key,
        "is_maximized": definition.objective.is_maximized,
        "is_interrupted": outcome.is_interrupted,
        "stopped": outcome.stop_reason,
        "cost": definition.objective.cost,
        "front": [_row(trial) for trial in outcome.front],
        "confirmed": [asdict(recipe) for recipe in outcome.confirmed],
        "counts": dict(sorted(counts.items())),
        "elapsed_s": round(outcome.elapsed_s, 1),
        "leaderboard": [_row(trial) for trial in leaderboard(outcome)],
        "winner": None
        if winner is None
        else {
            "trial": winner.outcome.number,
            "value": winner.outcome.value,
            "recipe_mean": winner.recipe_mean,
            "num_repetitions": winner.num_repetitions,
            "chance": winner.chance,
            "metrics": dict(winner.metrics),
            "model": winner.model_uri,
            "version": winner.model_version,
            "next": winner.next_command,
        },
        "answer": [] if answered is None else list(answered.comparison.answer),
        "report": None if answered is None else str(answered.report),
        "mlflow": _as_called(outcome.address, command),
        "mlflow_table": outcome.table_address,
        "next": _next_command(outcome, command),
    }


def print_outcome(result: Result) -> None:
    """Leaderboard, winner, and where to go from here."""
    console = make_console()
    table = Table(title=f"{result['study']}: {result['objective']}", title_justify="left", box=None, pad_edge=False)
    for name in ("trial", "state", "epochs", "value", "recipe"):
        table.add_column(name, justify="left" if name in ("state", "recipe") else "right", no_wrap=name != "recipe")
    for row in result["leaderboard"][:LEADERBOARD_LENGTH]:
        value = "" if row["value"] is None else f"{row['value']:.3f}"
        state = Text(row["state"], style=STATE_STYLES[TrialState(row["state"])])
        told = " · ".join(f"{name} {cost:.3g}" for name, cost in row["costs"].items())
        shown = " · ".join(part for part in (recipe(row["searched"]), told) if part)
        table.add_row(str(row["trial"]), state, str(row["epochs"]), value, shown if row["is_feasible"] else f"(over) {shown}")
    console.print(table)
    if result["front"]:
        console.print(f"Pareto front, {result['objective']} against {result['cost']}:")
        for row in result["front"]:
            cost = row["costs"][result["cost"]]
            console.print(f"  trial {row['trial']}: {row['value']:.3f} at {cost:.3g} · {recipe(row['searched'])}", markup=False)
    counts = ", ".join(f"{count} {state}" for state, count in result["counts"].items()) or "no trial ended"
    console.print(f"{counts} in {duration(result['elapsed_s'])}")
    if result["stopped"]:
        console.print(f"stopped before all trials: {result['stopped']}", markup=False, soft_wrap=True)
    if result["winner"] is not None:
        _print_winner(console, result)
    if result["is_interrupted"]:
        console.print("interrupted: trials that were running wait to go on")
    elif result["winner"] is None:
        console.print("no trial completed: nothing to register. The runs in MLflow say why (tag study.error).")
    if result["confirmed"]:
        console.print("confirmed with fresh seeds; test split, mean (95 % interval, repetitions):")
    for repeated in result["confirmed"]:
        test = repeated["test"]
        console.print(
            f"  trial {repeated['trial']}: {test['mean']:.3f} ({test['low']:.3f} to {test['high']:.3f}, n = {test['n']}) · "
            f"{recipe(repeated['searched'])}",
            markup=False,
        )
    for sentence in result["answer"]:
        console.print(f"- {sentence}", markup=False)
    if result["report"]:
        console.print(f"report: {result['report']}", markup=False, soft_wrap=True)
    console.print(f"MLflow: {result['mlflow']}", markup=False)
    if result["mlflow_table"]:
        console.print(f"its trials as a table: {result['mlflow_table']}", markup=False, soft_wrap=True)
    console.print(result["next"], markup=False)


def _print_winner(console: Console, result: Result) -> None:
    winner = result["winner"]
    console.print(
        f"best: trial {winner['trial']}, {result['objective']} {winner['value']:.3f}; without looking: "
        f"{winner['chance']:.3f} ({_gain(winner['value'], winner['chance'], result['is_maximized'])})"
    )
    if winner["num_repetitions"] > 1:
        mean, number = winner["recipe_mean"], winner["num_repetitions"]
        console.print(f"its recipe has the best mean over folds and seeds: {mean:.3f} (n = {number})")
    console.print(f"model: {winner['model']} (version {winner['version']})", markup=False)
    if winner["next"]:
        console.print(f"another version is champion; to challenge it: {winner['next']}", markup=False)


def leaderboard(outcome: StudyOutcome) -> list[Outcome]:
    """Completed trials, those of the best recipe first (study/search/ranking.py); then those over a limit, pruned, failed."""
    definition = outcome.prepared.definition
    answers = [trial for recipe in ranked_outcomes(outcome.outcomes, definition) for trial in recipe.trials]
    order = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
    sign = -1 if definition.objective.is_maximized else 1
    others = sorted(
        (trial for trial in outcome.outcomes if not is_candidate(trial)),
        key=lambda trial: (order.index(trial.state), sign * trial.value if trial.value is not None else 0.0, trial.number),
    )
    return [*answers, *others]


def _row(outcome: Outcome) -> Result:
    return {
        "trial": outcome.number,
        "state": outcome.state.value,
        "value": outcome.value,
        "epochs": outcome.num_epochs,
        "searched": dict(outcome.searched),
        "costs": dict(outcome.costs),
        "is_feasible": outcome.is_feasible,
        "run_id": outcome.run_id,
    }


def _gain(value: float, chance: float, is_maximized: bool) -> str:
    """How much better than chance the winner is, in words where the sign would mislead."""
    gain = value - chance if is_maximized else chance - value
    return f"{gain:+.3f}" if is_maximized else f"{abs(gain):.3f} {'better' if gain >= 0 else 'worse'}"


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
    photos = shlex.join(_example_photos(outcome.prepared))
    return f"try: {command} predict {outcome.winner.model_uri} {photos}"


def _example_photos(prepared: PreparedStudy) -> list[str]:
    """A validation photo to try the model on, or one of each view; where photos are in no folder, they are written to one.

    Where that folder takes no file, what to put there: an example is not worth the result.
    """
    definition, data = prepared.definition, prepared.data
    examples = examples_of(data)
    positions = examples.photos[examples.val[0]]
    if definition.data.folder is not None:
        return [str(definition.path_of(definition.data.folder) / data.photos[position]) for position in positions]
    folder = prepared.settings.study_folder(definition.name)
    paths = [folder / f"example{'_' * bool(view)}{view}.png" for view in data.example_views or ("",)]
    try:
        for path, position in zip(paths, positions, strict=True):
            Image.fromarray(data.images[position]).save(path)
    except OSError:
        return [(view or "photo").upper() for view in data.example_views or ("",)]
    return list(map(str, paths))
