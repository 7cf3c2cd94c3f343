"""The best recipes, repeated with fresh seeds and folds, on photos that the search never saw."""

from collections.abc import Mapping, Sequence

from study.analysis.findings import ConfirmedRecipe, Estimate
from study.analysis.report.material import Material
from study.analysis.report.parts import Column, IntervalGroup, IntervalPlot, Part, Section, Sentences, Table
from study.analysis.report.scale import scale_over
from study.analysis.report.sections.altered import altered_parts
from study.analysis.report.words import cost_name, duration, joined, sentence, shown, significant


def confirmed_section(material: Material) -> Section | None:
    """Means on the test split with intervals, and the recipes in pairs; None where nothing was confirmed."""
    recipes = material.comparison.confirmed
    if not recipes:
        return None
    parts: list[Part] = []
    if any(one.test for one in recipes):
        parts.append(_plot(material, recipes))
    parts.append(_recipes(material, recipes))
    if material.comparison.pairs:
        parts += [_differences(material), Sentences("", [sentence(pair.sentence) for pair in material.comparison.pairs])]
    parts += altered_parts(material)
    repeated = max((one.test.n for one in recipes if one.test), default=0)
    lead = (
        f"Each of these recipes was trained {repeated} times anew, with seeds that the search never used, and measured on the "
        f"test split, which the search never read; winner is who did best on the "
        f"validation split. Intervals tell how far seeds and folds move the mean, "
        f"not how far other photos would."
    )
    return Section(
        "confirmed", "The best recipes on the test split", [lead if repeated else "No repetition has a test result."], parts
    )


def _title(material: Material, one: ConfirmedRecipe) -> str:
    return f"trial {material.label(one.study, one.trial)}" + (f" ({one.role})" if one.role else "")


def _plot(material: Material, recipes: Sequence[ConfirmedRecipe]) -> IntervalPlot:
    quality = material.quality
    factor = 100.0 if quality.is_share else 1.0
    measured = [(one, one.test) for one in recipes if one.test is not None]
    scale = scale_over(factor * value for _, test in measured for value in (test.low, test.value, test.high))
    rows = [
        scale.row(_title(material, one), quality.estimate(test), test, factor, is_best=one is material.recommended_recipe)
        for one, test in measured
    ]
    told = [f"{_title(material, one)}: {quality.estimate(test)}." for one, test in measured]
    return IntervalPlot(
        "confirmed-plot",
        f"{quality.name} on the test split",
        " ".join(told),
        f"{quality.axis} ({quality.direction}); dot: mean of the repetitions, bar: 95 % interval",
        scale.ticks,
        [IntervalGroup("", "", rows)],
        _table(material, recipes),
    )


def _table(material: Material, recipes: Sequence[ConfirmedRecipe]) -> Table:
    rows = [
        (
            _title(material, one),
            _told(material, one.test, one.test_sd),
            _told(material, one.val, one.val_sd),
            str(one.test.n if one.test else one.val.n if one.val else 0),
        )
        for one in recipes
    ]
    numbers = ("test", "validation", "repetitions")
    columns = (Column("recipe of"), *(Column(name, True) for name in numbers))
    return Table("Mean, 95 % interval and standard deviation over the repetitions", columns, rows)


def _recipes(material: Material, recipes: Sequence[ConfirmedRecipe]) -> Table:
    """What tells the recipes apart, and what they cost; what is the same in all is said once."""
    parts = [material.searched_part(one.recipe) for one in recipes]
    keys = list(dict.fromkeys(key for part in parts for key in part))
    apart = [key for key in keys if len({repr(part.get(key)) for part in parts}) > 1]
    alike = [f"{key} {shown(parts[0][key])}" for key in keys if key not in apart]
    costs = list(dict.fromkeys(key for one in recipes for key in one.cost))
    rows = [
        (
            _title(material, one),
            *(shown(part.get(key)) for key in apart),
            *(_cost(one.cost, key) for key in costs),
        )
        for one, part in zip(recipes, parts, strict=True)
    ]
    columns = (Column("recipe of"), *map(Column, apart), *(Column(cost_name(key), True) for key in costs))
    caption = f"What tells these recipes apart; all have {joined(alike)}" if alike else "The recipes"
    return Table(caption, columns, rows)


def _cost(costs: Mapping[str, float], key: str) -> str:
    if key not in costs:
        return "–"
    return duration(costs[key]) if key.endswith("seconds") else significant(costs[key])


def _told(material: Material, estimate: Estimate | None, sd: float | None) -> str:
    if estimate is None:
        return "–"
    return material.quality.estimate(estimate) + ("" if sd is None else f", sd {material.quality.plain(sd)}")


def _differences(material: Material) -> IntervalPlot:
    """Paired differences against the line of no difference."""
    quality, pairs = material.quality, material.comparison.pairs
    factor = 100.0 if quality.is_share else 1.0
    values = [value for pair in pairs for value in (pair.difference.low, pair.difference.value, pair.difference.high)]
    scale = scale_over([0.0, *(factor * value for value in values)])
    rows = [
        scale.row(
            f"trial {material.label(pair.study, pair.first)} − {pair.second}",
            quality.gap(pair.difference),
            pair.difference,
            factor,
        )
        for pair in pairs
    ]
    columns = (Column("pair"), Column("difference", True), Column("p of this pair alone", True), Column("shown (Holm)"))
    table = [
        (row.label, row.text, f"{pair.p_value:.3g}", "yes" if pair.is_shown else "no")
        for row, pair in zip(rows, pairs, strict=True)
    ]
    unit = "points" if quality.is_share else quality.name
    return IntervalPlot(
        "differences-plot",
        "Recipes in pairs, on the same seeds and folds",
        " ".join(sentence(pair.sentence) for pair in pairs),
        f"difference on the test split, {unit}; an interval that crosses the upright line shows no difference",
        scale.ticks,
        [IntervalGroup("", "", rows)],
        Table("Paired differences", columns, table),
        zero=scale.place(0.0),
    )
