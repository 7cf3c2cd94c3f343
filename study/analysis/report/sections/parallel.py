"""Every recipe as a line over the searched factors, ending at what it reached."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from study.analysis.evidence import TrialEvidence
from study.analysis.report.charts import BLUE, INK, MUTED, ORANGE, PAPER, chart, is_logarithmic
from study.analysis.report.material import Material, is_valued
from study.analysis.report.parts import Column, Section, Table
from study.analysis.report.words import counted, joined, percent, shown, significant
from study.trial import TrialState

MOST_AXES = 7  # factors; with more, lines cannot be followed
MOST_LEVELS = 12  # of a choice: past this, names overlap
MOST_LETTERS = 18  # of a level: the whole name is in the table
BEST_SHARE = 0.1
JITTER = 0.035  # of an axis: lines through one level lie side by side, so that many look like many


@dataclass(frozen=True)
class _Axis:
    """One factor: where each trial crosses it (0 to 1), and its labels.

    Attributes:
        ticks: place and text.
        is_choice: places are levels, not numbers.
    """

    name: str
    places: npt.NDArray[np.float64]
    ticks: Sequence[tuple[float, str]]
    is_choice: bool


def parallel_section(material: Material) -> Section | None:
    """Parallel coordinates; None where there are not two trials with a value, or nothing was searched."""
    trials = [trial for trial in material.trials if is_valued(trial, TrialState.COMPLETE, TrialState.PRUNED)]
    keys = material.keys[:MOST_AXES]
    if len(trials) < 2 or not keys:
        return None
    best = _best(material, trials)
    axes = [_axis(key, [trial.searched for trial in trials]) for key in keys] + [_objective_axis(material, trials)]
    left_out = len(material.keys) - len(keys)
    lead = [f"The {len(keys)} most important factors are drawn, {left_out} are not."] if left_out else []

    def draw(figure: Figure, is_narrow: bool) -> None:
        _draw(figure.add_subplot(), axes, trials, best, is_narrow)

    height = 90 * len(axes)
    made = chart(
        "parallel-plot",
        "Recipes and what they reached",
        _finding(material, keys, trials, best),
        _table(material, keys, trials, best),
        draw,
        height_px=400,
        narrow_height_px=height,
    )
    return Section("parallel", "All recipes at a glance", lead, [made])


def _best(material: Material, trials: Sequence[TrialEvidence]) -> npt.NDArray[np.bool_]:
    """The best tenth of the completed trials, at least one: bool [num_trials]."""
    sign = -1 if material.comparison.is_maximized else 1
    complete = [place for place, trial in enumerate(trials) if trial.state is TrialState.COMPLETE]
    ordered = sorted(complete, key=lambda place: sign * (trials[place].value or 0.0))
    chosen = np.zeros(len(trials), dtype=bool)
    chosen[ordered[: max(1, round(BEST_SHARE * len(complete)))]] = True
    return chosen


def _axis(key: str, recipes: Sequence[Mapping[str, Any]]) -> _Axis:
    values = [recipe.get(key) for recipe in recipes]
    present = [value for value in values if value is not None]
    is_number = all(isinstance(value, int | float) and not isinstance(value, bool) for value in present)
    if present and is_number and len(set(present)) > 1:
        return _number_axis(key, values, present)
    levels = sorted({str(value) for value in present}) + (["not used"] if len(present) < len(values) else [])
    place_of = {level: (place + 0.5) / len(levels) for place, level in enumerate(levels)}
    places = np.array([place_of["not used" if value is None else str(value)] for value in values])
    # Spread by the trial's place in the list: the same picture every time.
    spread = ((np.arange(len(values)) * 0.618034) % 1 - 0.5) * 2 * JITTER
    ticks = [(place_of[level], _short(level)) for level in levels] if len(levels) <= MOST_LEVELS else []
    return _Axis(key, places + spread, ticks, True)


def _short(level: str) -> str:
    told = shown(level)
    return told if len(told) <= MOST_LETTERS else f"{told[: MOST_LETTERS - 1]}…"


def _number_axis(key: str, values: Sequence[Any], present: Sequence[float]) -> _Axis:
    """Linear or logarithmic; who does not have the factor crosses below it."""
    change = np.log10 if is_logarithmic(present) else np.asarray
    low, high = float(change(min(present))), float(change(max(present)))
    has_all = len(present) == len(values)
    start = 0.0 if has_all else 0.2
    scaled = [0.0 if value is None else start + (1 - start) * (float(change(value)) - low) / (high - low) for value in values]
    ticks = [(start, significant(min(present))), (1.0, significant(max(present)))]
    return _Axis(key, np.array(scaled), ticks if has_all else [(0.0, "not used"), *ticks], False)


def _objective_axis(material: Material, trials: Sequence[TrialEvidence]) -> _Axis:
    values = np.array([material.quality.number(trial.value or 0.0) for trial in trials])
    low, high = float(values.min()), float(values.max())
    width = high - low or 1.0
    ticks = [(0.0, f"{low:.3g}"), (1.0, f"{high:.3g}")] if high > low else [(0.0, f"{low:.3g}")]
    return _Axis(material.quality.axis, (values - low) / width, ticks, False)


def _draw(
    plot: Axes, axes: Sequence[_Axis], trials: Sequence[TrialEvidence], best: npt.NDArray[np.bool_], is_narrow: bool
) -> None:
    """Axes upright side by side; in a narrow figure lying, one below the other."""
    points = np.stack([axis.places for axis in axes], axis=1)
    along = np.arange(len(axes), dtype=float)
    lines = np.stack([np.broadcast_to(along, points.shape), points], axis=2)
    pruned = np.array([trial.state is TrialState.PRUNED for trial in trials])
    faint = 0.75 if len(trials) < 100 else 0.15
    thick = 2.2 if best.sum() < 10 else 1.1
    if is_narrow:
        lines = lines[..., ::-1]
    for chosen, colour, style, width, alpha in (
        (pruned, ORANGE, (0, (3, 2)), 0.8, faint),
        (~pruned & ~best, MUTED, "-", 0.8, faint),
        (best, BLUE, "-", thick, 1.0),
    ):
        plot.add_collection(LineCollection(list(lines[chosen]), colors=colour, linestyles=style, linewidths=width, alpha=alpha))
    for place, axis in enumerate(axes):
        _draw_axis(plot, float(place), axis, is_narrow, is_last=place == len(axes) - 1)
    if is_narrow:
        plot.set(xlim=(-0.1, 1.1), ylim=(len(axes) - 0.7, -0.45))
    else:
        plot.set(xlim=(-0.3, len(axes) - 0.6), ylim=(-0.1, 1.12))
    plot.set_axis_off()


def _draw_axis(plot: Axes, place: float, axis: _Axis, is_narrow: bool, *, is_last: bool) -> None:
    line = ([0, 1], [place, place]) if is_narrow else ([place, place], [0, 1])
    plot.plot(*line, color=INK, linewidth=1.2)
    halo = {"facecolor": PAPER, "edgecolor": "none", "pad": 1, "alpha": 0.8}
    weight = "bold"
    if is_narrow:
        plot.text(0, place - 0.22, axis.name, ha="left", va="bottom", fontweight=weight)
    else:
        plot.text(
            place, 1.06, axis.name.replace(".", ".\n", 1).replace(" ", "\n", 1), ha="center", va="bottom", fontweight=weight
        )
    for where, label in axis.ticks:
        if is_narrow:
            align = "center" if axis.is_choice else "left" if where < 0.1 else "right" if where > 0.9 else "center"
            plot.text(where, place + 0.1, label, ha=align, va="top", fontsize="small", bbox=halo)
        else:
            plot.text(place + 0.04, where, label, ha="left", va="center", fontsize="small", bbox=halo)


def _finding(material: Material, keys: Sequence[str], trials: Sequence[TrialEvidence], best: npt.NDArray[np.bool_]) -> str:
    """What the best recipes have in common."""
    chosen = [trials[place].searched for place in np.flatnonzero(best).tolist()]
    num_pruned = sum(trial.state is TrialState.PRUNED for trial in trials)
    num_complete = counted(len(trials) - num_pruned, "completed trial")
    told = f"Thick: the best {len(chosen)} of {num_complete}; dashed: {num_pruned:,} pruned."
    if not chosen:
        return f"No trial was completed; dashed: {num_pruned:,} pruned."
    common = [
        f"{key} {shown(chosen[0][key])}"
        for key in keys
        if len({repr(one.get(key)) for one in chosen}) == 1 and key in chosen[0]
    ]
    if len(chosen) > 1 and common:
        told += f" All of the best have {joined(common)}."
    return told


def _table(material: Material, keys: Sequence[str], trials: Sequence[TrialEvidence], best: npt.NDArray[np.bool_]) -> Table:
    """The levels of each factor: how often they were tried, and how often they are among the best."""
    rows = []
    for key in keys:
        levels: dict[str, list[bool]] = {}
        for trial, is_best in zip(trials, best.tolist(), strict=True):
            value = trial.searched.get(key)
            levels.setdefault("not used" if value is None else shown(value), []).append(is_best)
        if len(levels) <= MOST_LEVELS:
            rows += [
                (key, level, f"{len(found):,}", percent(sum(found) / len(found))) for level, found in sorted(levels.items())
            ]
        else:
            used = [trial.searched[key] for trial in trials if trial.searched.get(key) is not None]
            rows.append((key, f"{shown(min(used))} to {shown(max(used))}", f"{len(used):,}", "–"))
    columns = (Column("factor"), Column("level"), Column("trials", True), Column("of them among the best", True))
    return Table(f"Levels of the factors in {material.quality.name}'s best trials", columns, rows, shown=0)
