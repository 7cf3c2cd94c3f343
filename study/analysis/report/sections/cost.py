"""What quality costs: time, parameters and latency beside the objective."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from study.analysis.findings import RankedTrial
from study.analysis.report.charts import BLUE, GRID, INK, MUTED, chart, frame, is_logarithmic, stretch
from study.analysis.report.material import Material
from study.analysis.report.parts import Chart, Column, Part, Section, Table
from study.analysis.report.words import COSTS, cost_name, duration, recipe, significant
from study.trial import TrialState

MOST_PANELS = 3
LOG_SPAN = 5  # costs further apart than this are drawn on a logarithmic axis
MOST_LABELS = 4  # trials of a front that are named in the figure


@dataclass(frozen=True)
class _Point:
    """A completed trial: what it costs, and what it reached."""

    trial: RankedTrial
    cost: float
    value: float


def cost_section(material: Material) -> Section | None:
    """Quality against each cost with its Pareto front; None where no cost is known."""
    points = {key: _points(material, key) for key in _keys(material)}
    told = [_alike(key, found) for key, found in points.items() if len(found) > 1 and _is_constant(found)]
    varied = {key: found for key, found in points.items() if len(found) > 1 and not _is_constant(found)}
    spent = sum(trial.seconds for trial in material.trials if trial.seconds is not None)
    lead = ([f"The trials took {duration(spent)} of training together."] if spent else []) + told
    if not varied and not lead:
        return None
    parts: list[Part] = [_chart(material, dict(list(varied.items())[:MOST_PANELS]))] if varied else []
    return Section("cost", "What quality costs", lead, parts)


def pareto_front(points: Sequence[_Point], *, is_maximized: bool) -> list[_Point]:
    """Those that no other beats on both, the cheapest first."""
    sign = -1 if is_maximized else 1
    front: list[_Point] = []
    for point in sorted(points, key=lambda one: (one.cost, sign * one.value)):
        if not front or sign * point.value < sign * front[-1].value:
            front.append(point)
    return front


def _front(material: Material, key: str, points: Sequence[_Point]) -> list[_Point]:
    """The comparison's own front where the study searched for it (it knows the constraints), else that of all trials."""
    known = {(one.study, one.number) for one in material.comparison.front}
    if known and any(one.definition.objective.cost == key for one in material.evidence):
        points = [point for point in points if (point.trial.study, point.trial.number) in known]
    return pareto_front(points, is_maximized=material.comparison.is_maximized)


def _keys(material: Material) -> list[str]:
    found = dict.fromkeys(key for one in material.comparison.leaderboard for key in one.cost)
    return [key for key in COSTS if key in found] + [key for key in found if key not in COSTS]


def _points(material: Material, key: str) -> list[_Point]:
    return [
        _Point(one, one.cost[key], one.value)
        for one in material.comparison.leaderboard
        if one.state == TrialState.COMPLETE and one.value is not None and math.isfinite(one.value) and key in one.cost
    ]


def _is_constant(points: Sequence[_Point]) -> bool:
    return len({point.cost for point in points}) == 1


def _alike(key: str, points: Sequence[_Point]) -> str:
    name, _, unit = cost_name(key).partition(", ")
    return f"All recipes have the same {name}: {significant(points[0].cost)} {unit}.".replace(" .", ".")


def _chart(material: Material, panels: dict[str, list[_Point]]) -> Chart:
    fronts = {key: _front(material, key, points) for key, points in panels.items()}

    def draw(figure: Figure, is_narrow: bool) -> None:
        shape = (len(panels), 1) if is_narrow else (1, len(panels))
        grid = figure.subplots(*shape, squeeze=False, sharey=not is_narrow).ravel()
        for axes, (key, points) in zip(grid, panels.items(), strict=True):
            _draw(axes, material, key, points, fronts[key])
        for axes in grid if is_narrow else grid[:1]:
            axes.set_ylabel(material.quality.axis)

    finding = (
        f"No cheaper trial is as good as those on the line: {'; '.join(_told(material, key, fronts[key]) for key in fronts)}."
    )
    return chart(
        "pareto",
        f"{material.quality.name} and cost of completed trials",
        finding,
        _table(material, fronts),
        draw,
        height_px=340,
        narrow_height_px=260 * len(panels),
    )


def _told(material: Material, key: str, front: Sequence[_Point]) -> str:
    numbers = [material.label(one.trial.study, one.trial.number) for one in front[-MOST_LABELS:]]
    more = f" and {len(front) - len(numbers)} cheaper" if len(front) > len(numbers) else ""
    name = cost_name(key).partition(",")[0]
    return f"of {name} trial{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}{more}"


def _draw(axes: Axes, material: Material, key: str, points: Sequence[_Point], front: Sequence[_Point]) -> None:
    frame(axes)
    number = material.quality.number
    axes.scatter([one.cost for one in points], [number(one.value) for one in points], s=18, facecolors="none", edgecolors=MUTED)
    places = [one.cost for one in front], [number(one.value) for one in front]
    axes.step(*places, where="post", color=BLUE, linewidth=1.4)
    axes.scatter(*places, s=34, color=BLUE, zorder=3)
    if is_logarithmic([one.cost for one in points], LOG_SPAN):
        stretch(axes.xaxis)
    for place, one in enumerate(front[-MOST_LABELS:]):
        label = material.label(one.trial.study, one.trial.number)
        below = -14 if material.comparison.is_maximized and place % 2 == 0 else 7
        axes.annotate(
            label, (one.cost, number(one.value)), xytext=(4, below), textcoords="offset points", color=INK, fontsize="small"
        )
    axes.set_xlabel(cost_name(key))
    axes.margins(x=0.12, y=0.12)
    axes.grid(color=GRID)


def _table(material: Material, fronts: dict[str, list[_Point]]) -> Table:
    rows = [
        (
            cost_name(key),
            material.label(one.trial.study, one.trial.number),
            significant(one.cost),
            material.quality.text(one.value),
            recipe(one.trial.searched),
        )
        for key, front in fronts.items()
        for one in front
    ]
    columns = (Column("cost"), Column("trial", True), Column("at", True), Column(material.quality.name, True), Column("recipe"))
    return Table("Trials that nothing beats on both", columns, rows, shown=0)
