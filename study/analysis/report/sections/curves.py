"""How trials learnt: median and quartiles, epoch by epoch, for each level of the most important factor."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from study.analysis.evidence import TrialEvidence
from study.analysis.report.charts import SERIES, chart, frame, is_logarithmic, stretch
from study.analysis.report.material import Material
from study.analysis.report.parts import Column, Section, Table
from study.analysis.report.words import counted, shown, significant

Groups = Mapping[str, Sequence[Sequence[float]]]

MOST_LEVELS = len(SERIES)
NUM_RANGES = 3  # that numbers are cut into
QUARTILES = (25, 50, 75)
MIN_FOR_A_BAND = 3  # curves; of two, quartiles say nothing


def curves_section(material: Material) -> Section | None:
    """Learning curves with bands; None where no trial has two epochs."""
    trials = [trial for trial in material.trials if len(trial.curve) > 0]
    if not any(len(trial.curve) > 1 for trial in trials):
        return None
    factor = next((key for key in material.keys if len(_grouped(trials, key)) > 1), None)
    groups = _grouped(trials, factor) if factor else {"all trials": [trial.curve for trial in trials]}
    sign = -1 if material.comparison.is_maximized else 1
    groups = dict(sorted(groups.items(), key=lambda item: sign * _quartiles(item[1])[-1][3]))  # the best on top, as in the plot

    def draw(figure: Figure, is_narrow: bool) -> None:
        _draw(figure, groups, material, factor, is_narrow)

    made = chart(
        "curves-plot",
        f"{material.quality.name} after each epoch" + (f", by {factor}" if factor else ""),
        _finding(material, groups, factor),
        _table(material, groups),
        draw,
        narrow_height_px=360,
    )
    lead = "Line: median of the trials that were still running at that epoch; band: the middle half of them."
    if any(len(curve) < max(map(len, curves)) for curves in groups.values() for curve in curves):
        lead += " Trials that were pruned are missing from later epochs, which lifts the medians there."
    return Section("curves", "How the trials learnt", [lead], [made])


def _grouped(trials: Sequence[TrialEvidence], key: str) -> dict[str, list[Sequence[float]]]:
    """Curves by level of a factor, most curves first; numbers of more than a few values are cut into ranges of equal count."""
    having = [(trial.searched[key], trial.curve) for trial in trials if trial.searched.get(key) is not None]
    values = {value for value, _ in having}
    is_number = all(isinstance(value, int | float) for value in values)
    groups: dict[str, list[Sequence[float]]] = {}
    if is_number and len(values) > MOST_LEVELS:
        edges = np.quantile(sorted(value for value, _ in having), np.linspace(0, 1, NUM_RANGES + 1))
        names = [f"{significant(low)} to {significant(high)}" for low, high in pairwise(edges)]
        groups = {name: [] for name in names}
        for value, curve in having:
            groups[names[int(np.searchsorted(edges[1:-1], value, side="right"))]].append(curve)
        return {name: curves for name, curves in groups.items() if curves}
    for value, curve in having:
        groups.setdefault(shown(value), []).append(curve)
    return dict(sorted(groups.items(), key=lambda item: -len(item[1]))[:MOST_LEVELS])


def _quartiles(curves: Sequence[Sequence[float]]) -> list[tuple[int, int, float, float, float]]:
    """Epoch, number of curves, lower quartile, median, upper quartile."""
    found = []
    for epoch in range(max(map(len, curves))):
        values = [curve[epoch] for curve in curves if len(curve) > epoch and np.isfinite(curve[epoch])]
        if values:
            low, middle, high = np.percentile(values, QUARTILES)
            found.append((epoch + 1, len(values), float(low), float(middle), float(high)))
    return found


def _draw(figure: Figure, groups: Groups, material: Material, factor: str | None, is_narrow: bool) -> None:
    axes = figure.add_subplot()
    frame(axes)
    number = material.quality.number
    medians = []
    for (level, curves), (colour, dash, marker) in zip(groups.items(), SERIES, strict=False):
        rows = _quartiles(curves)
        epochs = [row[0] for row in rows]
        low, middle, high = ([number(row[place]) for row in rows] for place in (2, 3, 4))
        medians += middle
        if len(curves) >= MIN_FOR_A_BAND:
            axes.fill_between(epochs, low, high, color=colour, alpha=0.18, linewidth=0)
        label = f"{level} ({counted(len(curves), 'trial')})"
        axes.plot(epochs, middle, color=colour, linestyle=dash, marker=marker, markersize=4, linewidth=1.8, label=label)
    if not material.comparison.is_maximized and is_logarithmic(medians):
        stretch(axes.yaxis)
    axes.set(xlabel="epoch", ylabel=material.quality.axis)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", ncols=1 if is_narrow else min(3, len(groups)), title=factor)


def _finding(material: Material, groups: Groups, factor: str | None) -> str:
    last = {level: _quartiles(curves)[-1] for level, curves in groups.items()}
    told = [f"{level} {material.quality.text(row[3])} after epoch {row[0]}" for level, row in last.items()]
    return f"Medians{f' by {factor}' if factor else ''}: {', '.join(told)}."


def _table(material: Material, groups: Groups) -> Table:
    rows: list[tuple[Any, ...]] = []
    for level, curves in groups.items():
        for epoch, count, low, middle, high in _quartiles(curves):
            told = (material.quality.text(value) for value in (middle, low, high))
            rows.append((level, str(epoch), str(count), *told))
    numbers = ("epoch", "trials", "median", "lower quartile", "upper quartile")
    return Table("Quartiles by epoch", (Column("level"), *(Column(name, True) for name in numbers)), rows, shown=0)
