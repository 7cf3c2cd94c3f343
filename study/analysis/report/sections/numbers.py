"""How near a model's numbers come to the true ones."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from study.analysis.report.charts import BLUE, MUTED, chart, frame, stretch
from study.analysis.report.extras import ToldNumbers
from study.analysis.report.material import Material
from study.analysis.report.parts import Column, Section, Table
from study.analysis.report.words import counted, significant

Numbers = npt.NDArray[np.float64]

MOST_POINTS = 1000  # that are drawn: 10,000 would be megabytes of a page
NUM_PARTS = 5  # of the examples, by their true number


def numbers_section(material: Material) -> Section | None:
    """Told against true numbers; None where none are known."""
    numbers = material.extras.numbers
    if numbers is None or not len(numbers.true):
        return None
    true, told = np.array(numbers.true, dtype=np.float64), np.array(numbers.told, dtype=np.float64)
    shown = _drawn(true)

    def draw(figure: Figure, is_narrow: bool) -> None:
        _draw(figure, numbers, true[shown], told[shown])

    title = f"{numbers.name}: told and true"
    made = chart(
        "numbers-plot", title, _finding(true, told), _table(numbers.name, true, told), draw, height_px=420, narrow_height_px=360
    )
    lead = [f"Of {numbers.whose}."] if numbers.whose else []
    lead.append("On the dotted line, the model tells the true number; above it, it tells too much.")
    if len(shown) < len(true):
        lead.append(f"{len(shown):,} of {len(true):,} examples are drawn, spread evenly over the true numbers.")
    return Section("numbers", "How near the numbers come", lead, [made])


def _finding(true: Numbers, told: Numbers) -> str:
    """The mean absolute error in the target's unit, beside that of who always tells the median."""
    errors = np.abs(told - true)
    guess = float(np.abs(true - np.median(true)).mean())
    mean = significant(float(errors.mean()))
    return (
        f"On average the model is off by {mean} (mean absolute error, {counted(len(true), 'example')}); "
        f"half of its numbers are off by {significant(float(np.median(errors)))} or less. Always telling the median, "
        f"{significant(float(np.median(true)))}, is off by {significant(guess)}."
    )


def _table(name: str, true: Numbers, told: Numbers) -> Table:
    """A line for each part of the examples, from the smallest true numbers to the largest."""
    order = np.argsort(true, kind="stable")
    bounds = np.linspace(0, len(order), min(NUM_PARTS, len(order)) + 1).round().astype(int).tolist()
    rows = []
    for start, stop in pairwise(bounds):
        part = order[start:stop]
        apart = told[part] - true[part]
        rows.append(
            (
                f"{significant(float(true[part[0]]))} to {significant(float(true[part[-1]]))}",
                f"{len(part):,}",
                significant(float(np.abs(apart).mean())),
                significant(float(apart.mean())),
            )
        )
    columns = (Column(f"true {name}"), *(Column(head, True) for head in ("examples", "mean absolute error", "mean error")))
    return Table("Errors by the size of the true number; a mean error above 0: too much was told", columns, rows)


def _drawn(true: Numbers) -> npt.NDArray[np.int64]:
    """Positions of at most `MOST_POINTS` examples, evenly over the order of their true numbers."""
    order = np.argsort(true, kind="stable")
    places = np.linspace(0, len(order) - 1, min(MOST_POINTS, len(order))).round().astype(int)
    chosen: npt.NDArray[np.int64] = order[places]
    return chosen


def _draw(figure: Figure, numbers: ToldNumbers, true: Numbers, told: Numbers) -> None:
    axes = figure.add_subplot()
    frame(axes)
    ends = _ends([*true.tolist(), *told.tolist()])
    axes.plot(ends, ends, color=MUTED, linestyle=":", linewidth=1.2)
    axes.scatter(true, told, s=22 if len(true) <= 200 else 10, facecolors="none", edgecolors=BLUE, linewidths=0.9)
    if numbers.is_log and ends[0] > 0:
        stretch(axes.xaxis)
        stretch(axes.yaxis)
    axes.set(xlabel=f"true {numbers.name}", ylabel=f"told {numbers.name}", xlim=ends, ylim=ends)
    axes.tick_params(axis="x", labelrotation=30)


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """Of both axes: a little beyond the smallest and the largest; of positive numbers by a share, as a log axis has it."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    if low > 0:
        return low / 1.1, high * 1.1
    room = 0.05 * (high - low) or 0.5
    return low - room, high + room
