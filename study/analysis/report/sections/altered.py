"""The confirmed recipes on altered copies of the test photos: what they lose without colour, or in other colours."""

from study.analysis.findings import AlteredTest
from study.analysis.report.material import Material
from study.analysis.report.parts import Column, IntervalGroup, IntervalPlot, Part, Sentences, Table
from study.analysis.report.scale import scale_over
from study.analysis.report.words import percent, sentence


def altered_parts(material: Material) -> list[Part]:
    """Losses against the line of no loss, and what they say; none where the test photos were not altered."""
    found = material.comparison.altered
    if not found:
        return []
    told = [sentence(f"trial {material.label(one.study, one.trial)}: {one.sentence}") for one in found]
    return [_plot(material, told), Sentences("", told)]


def _plot(material: Material, told: list[str]) -> IntervalPlot:
    quality, found = material.quality, material.comparison.altered
    factor = 100.0 if quality.is_share else 1.0
    scale = scale_over([0.0, *(factor * value for one in found for value in (one.loss.low, one.loss.value, one.loss.high))])
    rows = [scale.row(_title(material, one), quality.gap(one.loss), one.loss, factor) for one in found]
    unit = "points" if quality.is_share else quality.name
    return IntervalPlot(
        "altered-plot",
        "What is lost where the test photos have other colours",
        " ".join(told),
        f"loss on the same photos and weights, {unit}; an interval that crosses the upright line shows no loss",
        scale.ticks,
        [IntervalGroup("", "", rows)],
        _table(material),
        zero=scale.place(0.0),
    )


def _table(material: Material) -> Table:
    quality = material.quality
    rows = [
        (
            _title(material, one),
            quality.estimate(one.test),
            quality.gap(one.loss),
            "–" if one.share is None else percent(one.share),
            f"{one.p_value:.3g}",
            "yes" if one.is_shown else "no",
            str(one.loss.n),
        )
        for one in material.comparison.altered
    ]
    numbers = ("on the copies", "loss", "of what is above chance", "p")
    columns = (Column("recipe of"), *(Column(name, True) for name in numbers), Column("shown"), Column("repetitions", True))
    return Table("Mean on altered copies of the test photos, and the paired loss, with 95 % intervals", columns, rows)


def _title(material: Material, one: AlteredTest) -> str:
    return f"trial {material.label(one.study, one.trial)}, {one.alteration.replace('_', ' ')}"
