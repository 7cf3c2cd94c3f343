"""What a comparison found: the answer first, then the tables that it rests on."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from study.analysis.findings import Comparison
from study.printing.console import Result, make_console
from study.progress import recipe

MAX_RANKED = 10  # lines of the leaderboard; `--json` has all
MAX_INTERACTIONS = 5
FOLDED = ("recipe", "effect", "what", "cost", "mean (95 %) at each level")
HIDDEN_COSTS = ("seconds",)  # in a column of its own


def comparison_of(comparison: Comparison, report: Path | None = None) -> Result:
    """The whole comparison as plain data, and where its report is, if one was written."""
    return asdict(comparison) | ({} if report is None else {"report": str(report)})


def print_comparison(result: Result) -> None:
    """The answer, effects, interactions, what was confirmed, the leaderboard, the method and what limits it."""
    console = make_console()
    for sentence in result["answer"]:
        console.print(sentence, markup=False)
    for table in (_effects(result), _interactions(result), _confirmed(result), _leaderboard(result)):
        if table.row_count:
            console.print()
            console.print(table)
    console.print()
    _print_lines(
        console, [result["method"], *result["warnings"], *([f"report: {result['report']}"] if "report" in result else [])]
    )


def _print_lines(console: Console, lines: Sequence[str]) -> None:
    for line in lines:
        console.print(line, markup=False)


def _effects(result: Result) -> Table:
    exploratory = any(effect["is_exploratory"] for effect in result["effects"])
    table = _table(
        "effects (exploratory)" if exploratory else "effects", "factor", "importance", "effect", "mean (95 %) at each level"
    )
    for effect in result["effects"]:
        share = "" if effect["importance"] is None else f"{effect['importance']:.2f}"
        means = [f"{level['name']} {_interval(level['marginal'])}" for level in effect["levels"]]
        table.add_row(effect["factor"], share, effect["sentence"], " · ".join(means))
    return table


def _interactions(result: Result) -> Table:
    table = _table("interactions", "factors", "p (corrected)", "what")
    for found in [one for one in result["interactions"] if one["is_shown"]][:MAX_INTERACTIONS]:
        table.add_row(" × ".join(found["factors"]), f"{found['p_corrected']:.3f}", found["sentence"])
    return table


def _confirmed(result: Result) -> Table:
    metric = result["objective"].removeprefix("val_")
    table = _table(f"confirmed: {metric}", "trial", "role", "val", "test", "test sd", "cost", "recipe")
    for one in result["confirmed"]:
        sd = "" if one["test_sd"] is None else f"{one['test_sd']:.3g}"
        cells = (str(one["trial"]), one["role"], _interval(one["val"]), _interval(one["test"]), sd)
        table.add_row(*cells, _costs(one["cost"]), recipe(one["recipe"]))
    return table


def _leaderboard(result: Result) -> Table:
    several = len(result["studies"]) > 1
    names = (*(("study",) if several else ()), "trial", "state", "value", "epochs", "seconds", "cost", "recipe")
    table = _table(f"leaderboard: {result['objective']}", *names)
    for one in result["leaderboard"][:MAX_RANKED]:
        value = "" if one["value"] is None else f"{one['value']:.4g}"
        seconds = f"{one['cost']['seconds']:.3g}" if "seconds" in one["cost"] else ""
        cells = (str(one["number"]), one["state"], value, str(one["num_epochs"]), seconds, _costs(one["cost"]))
        table.add_row(*((one["study"],) if several else ()), *cells, recipe(one["searched"]))
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, no_wrap=name not in FOLDED)
    return table


def _interval(found: Mapping[str, Any] | None) -> str:
    return "" if found is None else f"{found['value']:.3g} ({found['low']:.3g} to {found['high']:.3g})"


def _costs(cost: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in cost.items() if name not in HIDDEN_COSTS)
