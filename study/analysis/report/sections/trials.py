"""All trials: best first, and as they came."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from study.analysis.evidence import TrialEvidence
from study.analysis.findings import RankedTrial
from study.analysis.report.charts import BLUE, INK, ORANGE, RED, chart, frame, is_logarithmic, stretch
from study.analysis.report.material import Material, is_valued
from study.analysis.report.parts import Chart, Column, Section, Table
from study.analysis.report.words import cost_name, counted, duration, percent, shown, significant
from study.trial import TrialState

SHOWN_TRIALS = 20


def leaderboard_section(material: Material) -> Section | None:
    """Every trial, best first; None where there is none."""
    ranked = material.comparison.leaderboard
    if not ranked:
        return None
    costs = list(dict.fromkeys(key for one in ranked for key in one.cost))
    names = [*(["study"] if material.has_several_studies else []), "state", material.quality.axis, "epochs"]
    columns = [Column("rank", True), Column("trial", True)]
    columns += [Column(name, name not in ("study", "state")) for name in names]
    columns += [Column(key, _is_numeric(ranked, key)) for key in material.keys] + [
        Column(cost_name(key), True) for key in costs
    ]
    boards = material.comparison.leaderboards
    rows = [_row(material, place, one, costs) for board in boards for place, one in enumerate(board, start=1)]
    table = Table("Trials, the best first", columns, rows, shown=SHOWN_TRIALS, is_sortable=True)
    lead = [f"{counted(len(ranked), 'trial')}, by {material.quality.name} on the validation split."]
    if len(boards) > 1:
        lead.append("The studies used different photos, so their values do not compare: each photos' trials are ranked apart.")
    return Section("leaderboard", "Leaderboard", lead, [table])


def history_section(material: Material) -> Section | None:
    """Trials in the order in which they began, and the best so far; None where no trial has a value."""
    valued = [trial for trial in material.trials if is_valued(trial)]
    if not valued:
        return None
    charts = [made for one in material.evidence if (made := _history(material, one.name, one.trials)) is not None]
    return Section("history", "How the search went", [], charts)


def _row(material: Material, place: int, one: RankedTrial, costs: Sequence[str]) -> list[str]:
    value = "–" if one.value is None or not math.isfinite(one.value) else material.quality.plain(one.value)
    study = [one.study] if material.has_several_studies else []
    told = [duration(one.cost[key]) if key.endswith("seconds") and key in one.cost else _number(one, key) for key in costs]
    return [
        str(place),
        str(one.number),
        *study,
        one.state.lower(),
        value,
        str(one.num_epochs),
        *(shown(one.searched.get(key)) for key in material.keys),
        *told,
    ]


def _number(one: RankedTrial, key: str) -> str:
    return significant(one.cost[key]) if key in one.cost else "–"


def _is_numeric(ranked: Sequence[RankedTrial], key: str) -> bool:
    return all(isinstance(one.searched.get(key, 0), int | float) for one in ranked)


def _history(material: Material, name: str, trials: Sequence[TrialEvidence]) -> Chart | None:
    complete, pruned = (
        [trial for trial in trials if is_valued(trial, state)] for state in (TrialState.COMPLETE, TrialState.PRUNED)
    )
    failed = [trial for trial in trials if trial.state is TrialState.FAIL]
    if not complete and not pruned:
        return None
    best = _best_so_far(material, complete)
    finding = _finding(material, trials, complete, pruned, failed, best)
    table = Table(
        "Trials in order",
        (Column("trial", True), Column("state"), Column(material.quality.axis, True), Column("epochs", True)),
        [(str(one.number), one.state.lower(), material.quality.text(one.value), str(len(one.curve))) for one in trials],
        shown=0,
    )

    def draw(figure: Figure, is_narrow: bool) -> None:
        axes = figure.add_subplot()
        frame(axes)
        number = material.quality.number
        values = [number(trial.value or 0.0) for trial in (*complete, *pruned)]
        if not material.comparison.is_maximized and is_logarithmic(values):
            stretch(axes.yaxis)
        size = 40 if len(trials) < 200 else 14
        for drawn, colour, marker, label in (
            (complete, BLUE, "o", f"complete ({len(complete)})"),
            (pruned, ORANGE, "^", f"pruned ({len(pruned)})"),
        ):
            if drawn:
                face = "none" if marker == "^" else colour
                axes.scatter(
                    [one.number for one in drawn],
                    [number(one.value or 0.0) for one in drawn],
                    s=size,
                    marker=marker,
                    facecolors=face,
                    edgecolors=colour,
                    label=label,
                )
        if failed:
            # They have no value: they stand on the lower edge.
            axes.scatter(
                [one.number for one in failed],
                [0.03] * len(failed),
                s=size + 10,
                marker="x",
                color=RED,
                label=f"failed ({len(failed)})",
                transform=axes.get_xaxis_transform(),
                clip_on=False,
            )
        if best:
            places, heights = zip(*best, strict=True)
            axes.step(
                [*places, trials[-1].number],
                [number(height) for height in (*heights, heights[-1])],
                where="post",
                color=INK,
                linewidth=1.6,
                label="best complete so far",
            )
        axes.set(xlabel="trial, in the order they began", ylabel=material.quality.axis)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside lower center", ncols=2 if is_narrow else 4)

    title = f"Every trial of {name}" if material.has_several_studies else "Every trial in order"
    return chart(
        f"history-{material.evidence.index(_study(material, name))}", title, finding, table, draw, narrow_height_px=340
    )


def _study(material: Material, name: str) -> object:
    return next(one for one in material.evidence if one.name == name)


def _best_so_far(material: Material, complete: Sequence[TrialEvidence]) -> list[tuple[int, float]]:
    """Trials that beat all before them, with their values."""
    steps: list[tuple[int, float]] = []
    for trial in complete:
        if trial.value is not None and (not steps or material.is_better(trial.value, steps[-1][1])):
            steps.append((trial.number, trial.value))
    return steps


def _finding(
    material: Material,
    trials: Sequence[TrialEvidence],
    complete: Sequence[TrialEvidence],
    pruned: Sequence[TrialEvidence],
    failed: Sequence[TrialEvidence],
    best: Sequence[tuple[int, float]],
) -> str:
    told = [f"{len(complete):,} of {counted(len(trials), 'trial')} were completed"]
    if pruned:
        told.append(f"{len(pruned):,} were pruned after a median of {_median_epochs(pruned)} epochs")
    if failed:
        told.append(f"{len(failed):,} failed")
    sentence = ", ".join(told) + "."
    if best:
        number, value = best[-1]
        share = percent((trials.index(next(one for one in trials if one.number == number)) + 1) / len(trials))
        sentence += f" The best, {material.quality.text(value)}, is trial {number}, after {share} of the search."
    return sentence


def _median_epochs(trials: Sequence[TrialEvidence]) -> str:
    return f"{np.median([len(trial.curve) for trial in trials]):.0f}"
