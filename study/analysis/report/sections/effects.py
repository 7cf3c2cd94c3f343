"""What each searched factor did, and which factors depend on each other."""

from study.analysis.findings import Comparison, FactorEffect
from study.analysis.report.material import Material, has_moved
from study.analysis.report.parts import Column, IntervalGroup, IntervalPlot, Section, Sentences, Table
from study.analysis.report.scale import Scale, scale_over
from study.analysis.report.words import Quality, counted, joined, percent, sentence, shown
from study.trial import TrialState

EXPLORATORY = "exploratory"
IMPORTANCE = (
    "Importance (PED-ANOVA) is how much a factor's values differ between the best tenth of the trials and all of them, "
    "as a share of all factors; it says nothing of size or sureness."
)
# Below, the best tenth is a handful: of 16 completed trials it is one or two, and whatever they share looks like all of it.
# Seen on a real study: 100 % for a learning rate of no shown effect, 0 % for weights worth 47 points.
MIN_FOR_IMPORTANCE = 50
TRIALS = ("complete trials", "pruned trials")


def effects_section(material: Material) -> Section | None:
    """Dots with intervals, a group a factor, the most important first; None where no factor was searched."""
    if not material.effects:
        return None
    return Section(
        "effects",
        "What each factor did",
        [_finding(material), sentence(material.comparison.method), _about_importance(material)],
        [_plot(material), _contrasts(material.comparison, material.quality)],
    )


def interactions_section(material: Material) -> Section | None:
    """Pairs of factors; None where none was looked at."""
    found = material.comparison.interactions
    if not found:
        return None
    told = [sentence(one.sentence) for one in found if one.is_shown]
    looked_at = f"{counted(len(found), 'pair')} of factors could be looked at"
    lead = f"{looked_at}; {len(told)} of them depend on each other beyond chance."
    if not told:
        lead = f"{looked_at}; no dependence is shown."
    rows = [
        (
            " × ".join(one.factors),
            material.quality.gap(one.difference),
            f"{one.p_corrected:.3g}",
            "yes" if one.is_shown else "no",
        )
        for one in found
    ]
    columns = (Column("factors"), Column("difference (95 % interval)", True), Column("p, corrected", True), Column("shown"))
    parts = ([Sentences("", told)] if told else []) + [Table("All pairs that were looked at", columns, rows)]
    return Section("interactions", "Factors that depend on each other", [lead], parts)


def _about_importance(material: Material) -> str:
    if _shows_importance(material):
        return IMPORTANCE
    return "So few completed trials say little of a factor's importance (PED-ANOVA): it is told with the numbers only."


def _shows_importance(material: Material) -> bool:
    return sum(trial.state is TrialState.COMPLETE for trial in material.trials) >= MIN_FOR_IMPORTANCE


def _finding(material: Material) -> str:
    moved = [effect.factor for effect in material.effects if has_moved(effect)]
    if not moved:
        return "No difference between the levels of a factor is larger than chance explains."
    rest = [effect.factor for effect in material.effects if effect.factor not in moved]
    others = f" Of {joined(rest)} no difference is shown." if rest else ""
    return f"{joined(moved)} moved {material.quality.name} by more than chance explains.{others}"


def _plot(material: Material) -> IntervalPlot:
    quality = material.quality
    factor = 100.0 if quality.is_share else 1.0
    estimates = [level.marginal for effect in material.effects for level in effect.levels]
    ends = [factor * value for one in estimates for value in (one.low, one.value, one.high)]
    # A share cannot leave 0 to 100 %, though an interval of few trials may: its bar ends at the edge, its figures do not.
    scale = scale_over(min(100.0, max(0.0, end)) if quality.is_share else end for end in ends)
    return IntervalPlot(
        "effects-plot",
        f"Mean {quality.name} at each level, the other factors as in the whole study",
        " ".join(f"{effect.factor}: {sentence(effect.sentence)}" for effect in material.effects),
        f"{quality.axis} on the validation split ({quality.direction}); dot: estimate, bar: 95 % interval",
        scale.ticks,
        [_group(material, effect, scale, factor) for effect in material.effects],
        _levels(material),
    )


def _group(material: Material, effect: FactorEffect, scale: Scale, factor: float) -> IntervalGroup:
    quality = material.quality
    rows = [
        scale.row(shown(level.name), quality.estimate(level.marginal), level.marginal, factor, is_best=place == 0)
        for place, level in enumerate(effect.levels)
    ]
    share = round(100 * effect.importance, 1) if effect.importance is not None and _shows_importance(material) else None
    return IntervalGroup(effect.factor, sentence(effect.sentence), rows, EXPLORATORY if effect.is_exploratory else "", share)


def _levels(material: Material) -> Table:
    rows = [
        (
            effect.factor,
            shown(level.name),
            material.quality.estimate(level.marginal),
            f"{level.num_complete:,}",
            f"{level.num_pruned:,}",
            "unknown" if effect.importance is None else percent(effect.importance),
        )
        for effect in material.effects
        for level in effect.levels
    ]
    numbers = (f"{material.quality.name} (95 % interval)", *TRIALS, "importance of the factor")
    return Table("Levels of every factor", (Column("factor"), Column("level"), *(Column(name, True) for name in numbers)), rows)


def _contrasts(comparison: Comparison, quality: Quality) -> Table:
    rows = [
        (
            effect.factor,
            f"{shown(one.level)} − {shown(one.reference)}",
            quality.gap(one.difference),
            f"{one.difference.n:,}",
            f"{one.p_corrected:.3g}",
            "yes" if one.is_shown else "no",
        )
        for effect in comparison.effects
        for one in effect.contrasts
    ]
    names = ("difference (95 % interval)", "n", "p, corrected")
    columns = (Column("factor"), Column("levels"), *(Column(name, True) for name in names), Column("shown"))
    return Table("Every pair of levels, matched on the other factors", columns, rows, shown=0)
