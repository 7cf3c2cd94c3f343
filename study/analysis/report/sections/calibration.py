"""How far the model's confidence can be taken at its word, and what it looked at."""

import base64
from collections.abc import Sequence

from matplotlib.figure import Figure

from study.analysis.report.charts import BLUE, MUTED, ORANGE, chart, frame
from study.analysis.report.extras import Calibration, CalibrationBin, SaliencyExample
from study.analysis.report.material import Material
from study.analysis.report.parts import Column, Pictures, Section, Table
from study.analysis.report.shares import wilson
from study.analysis.report.words import percent

READING = "Bright: places whose change would change the answer most."
MAX_PICTURE_BYTES = 2_000_000  # of all pictures together, so that the page stays under 5 MB with base64's third on top


def calibration_section(material: Material) -> Section | None:
    """A reliability diagram, before and after scaling; None where nothing is known."""
    calibration = material.extras.calibration
    if calibration is None or not calibration.before:
        return None

    def draw(figure: Figure, is_narrow: bool) -> None:
        _draw(figure, calibration, is_narrow)

    made = chart(
        "calibration-plot",
        "Confidence and share of right answers",
        _finding(calibration),
        _table(calibration),
        draw,
        height_px=420,
        narrow_height_px=380,
    )
    lead = [f"Of {calibration.whose}."] if calibration.whose else []
    lead.append(
        "On the dotted line, answers given with 70 % confidence are right 70 % of the time; below it the model is too sure."
    )
    return Section("calibration", "How sure the model is, and how often it is right", lead, [made])


def saliency_section(material: Material) -> Section | None:
    """Maps of right and of wrong answers; None where there is none."""
    shown = _within_budget(material.extras.saliency)
    if not shown:
        return None
    groups = [
        Pictures(title, [(base64.b64encode(one.png).decode(), one.caption) for one in shown if one.is_right is is_right])
        for title, is_right in (
            ("Right answers", True),
            ("Wrong answers", False),
            ("The nearest answers, and the farthest", None),
        )
    ]
    left_out = len(material.extras.saliency) - len(shown)
    lead = [f"{left_out} more are left out to keep this page small."] if left_out else []
    return Section("saliency", "What the model looked at", [*lead, READING], [group for group in groups if group.images])


def calibration_error(bins: Sequence[CalibrationBin]) -> float:
    """Weighted mean gap between confidence and accuracy, in [0, 1].

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", eq. 3.
    """
    return sum(one.count * abs(one.accuracy - one.confidence) for one in bins) / sum(one.count for one in bins)


def _within_budget(examples: Sequence[SaliencyExample]) -> list[SaliencyExample]:
    chosen, used = [], 0
    for example in examples:
        used += len(example.png)
        if used > MAX_PICTURE_BYTES:
            break
        chosen.append(example)
    return chosen


def _draw(figure: Figure, calibration: Calibration, is_narrow: bool) -> None:
    axes = figure.add_subplot()
    frame(axes)
    axes.plot([0, 100], [0, 100], color=MUTED, linestyle=":", linewidth=1.2)
    largest = max(one.count for one in calibration.before)
    for bins, colour, marker, face, label in (
        (calibration.before, ORANGE, "s", "none", "as trained"),
        (calibration.after, BLUE, "o", BLUE, f"with temperature {calibration.temperature or 1:.2f}"),
    ):
        if bins:
            places = [100 * one.confidence for one in bins], [100 * one.accuracy for one in bins]
            ends = [wilson(one.accuracy * one.count, one.count) for one in bins]
            axes.vlines(places[0], [100 * low for low, _ in ends], [100 * high for _, high in ends], color=colour, linewidth=1)
            sizes = [12 + 90 * one.count / largest for one in bins]
            axes.scatter(*places, s=sizes, marker=marker, facecolors=face, edgecolors=colour, label=label)
    axes.set(xlabel="confidence, %", ylabel="right, %", xlim=(0, 102), ylim=(-2, 102))
    axes.set_aspect("equal")
    figure.legend(
        loc="outside lower center" if is_narrow else "outside right center", title="larger: more answers\nline: 95 % interval"
    )


def _finding(calibration: Calibration) -> str:
    before = calibration_error(calibration.before)
    told = f"Confidence and accuracy differ by {100 * before:.1f} points on average"
    if calibration.after:
        told += f", {100 * calibration_error(calibration.after):.1f} after temperature scaling"
    total = sum(one.count for one in calibration.before)
    sure = sum(one.count * (one.confidence - one.accuracy) for one in calibration.before) / total
    return (
        f"{told}. As trained the model is too {'sure' if sure > 0 else 'cautious'}, by {100 * abs(sure):.1f} points over all."
    )


def _table(calibration: Calibration) -> Table:
    rows = [
        (f"{name}, {percent(one.confidence)}", percent(one.accuracy), f"{one.count:,}")
        for name, bins in (("as trained", calibration.before), ("scaled", calibration.after))
        for one in bins
    ]
    columns = (Column("confidence"), Column("right", True), Column("answers", True))
    return Table("Answers by confidence", columns, rows, shown=0)
