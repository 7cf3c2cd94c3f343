"""What a comparison found: the answer first, then the tables that it rests on."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from study.analysis.findings import Comparison
from study.printing.console import Result, make_console
from study.progress import recipe

MAX_RANKED, MIN_RANKED = 10, 3  # lines of all leaderboards together, and of each; `--json` has all
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
    about_factors = (_effects(result), _interactions(result), _depths(result))
    for table in (*about_factors, _confirmed(result), _altered(result), *_leaderboards(result)):
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
    for effect in sorted(result["effects"], key=lambda one: not any(pair["is_shown"] for pair in one["contrasts"])):
        share = "" if effect["importance"] is None else f"{effect['importance']:.2f}"
        means = [f"{level['name']} {_interval(level['marginal'])}" for level in effect["levels"]]
        table.add_row(effect["factor"], share, effect["sentence"], " · ".join(means))
    return table


def _interactions(result: Result) -> Table:
    table = _table("interactions", "factors", "p (corrected)", "what")
    for found in [one for one in result["interactions"] if one["is_shown"]][:MAX_INTERACTIONS]:
        table.add_row(" × ".join(found["factors"]), f"{found['p_corrected']:.3f}", found["sentence"])
    return table


def _depths(result: Result) -> Table:
    has_several = len(result["studies"]) > 1
    table = _table("ranks across freeze depths", *(("study",) if has_several else ()), "depths", "what")
    for found in result["depths"]:
        names = (found["study"],) if has_several else ()
        table.add_row(*names, " and ".join(f"{depth:g}" for depth in found["depths"]), found["sentence"])
    return table


def _confirmed(result: Result) -> Table:
    metric = result["objective"].removeprefix("val_")
    table = _table(f"confirmed: {metric}", "trial", "role", "val", "test", "test sd", "cost", "recipe")
    alike = _alike([one["recipe"] for one in result["confirmed"]])
    for one in result["confirmed"]:
        sd = "" if one["test_sd"] is None else f"{one['test_sd']:.3g}"
        cells = (str(one["trial"]), one["role"], _interval(one["val"]), _interval(one["test"]), sd)
        table.add_row(*cells, _costs(one["cost"]), recipe(_without(one["recipe"], alike)))
    return _with_alike(table, alike)


def _altered(result: Result) -> Table:
    table = _table("test photos in other colours", "trial", "copies", "test", "loss", "shown")
    for one in result["altered"]:
        shown = "yes" if one["is_shown"] else "no"
        table.add_row(str(one["trial"]), one["alteration"], _interval(one["test"]), _interval(one["loss"]), shown)
    return table


def _leaderboards(result: Result) -> Iterator[Table]:
    """One for each photos: between them, values do not compare."""
    groups = result["studies_by_photos"] or [result["studies"]]
    for names in groups:
        title = f"leaderboard: {result['objective']}" + (f" on the photos of {' and '.join(names)}" if len(groups) > 1 else "")
        shown = [one for one in result["leaderboard"] if one["study"] in names][: max(MIN_RANKED, MAX_RANKED // len(groups))]
        yield _leaderboard(title, shown, has_several=len(names) > 1)


def _leaderboard(title: str, shown: Sequence[Result], *, has_several: bool) -> Table:
    names = (*(("study",) if has_several else ()), "trial", "state", "value", "epochs", "seconds", "cost", "recipe")
    table, alike = _table(title, *names), _alike([one["searched"] for one in shown])
    for one in shown:
        value = "" if one["value"] is None else f"{one['value']:.4g}"
        seconds = f"{one['cost']['seconds']:.3g}" if "seconds" in one["cost"] else ""
        cells = (str(one["number"]), one["state"], value, str(one["num_epochs"]), seconds, _costs(one["cost"]))
        table.add_row(*((one["study"],) if has_several else ()), *cells, recipe(_without(one["searched"], alike)))
    return _with_alike(table, alike)


def _alike(recipes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all of several recipes have: said once, so that what tells them apart is seen."""
    if len(recipes) < 2:
        return {}
    first, *others = recipes
    return {key: value for key, value in first.items() if all(key in one and one[key] == value for one in others)}


def _without(searched: Mapping[str, Any], alike: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in searched.items() if key not in alike}


def _with_alike(table: Table, alike: Mapping[str, Any]) -> Table:
    table.caption = f"all: {recipe(alike)}" if alike else None
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left", box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, no_wrap=name not in FOLDED)
    return table


def _interval(found: Mapping[str, Any] | None) -> str:
    return "" if found is None else f"{found['value']:.3g} ({found['low']:.3g} to {found['high']:.3g})"


def _costs(cost: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in cost.items() if name not in HIDDEN_COSTS)
