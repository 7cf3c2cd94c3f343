"""What each searched factor did to the objective: differences between its levels, matched on the other factors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from study.analysis.factors import BLOCKS, Factor
from study.analysis.findings import Contrast, FactorEffect, Level
from study.analysis.matched import Design, Estimates, holm
from study.analysis.observations import Observations
from study.analysis.sentences import Unit, effect_sentence

LEVEL_OF_SIGNIFICANCE = 0.05
MIN_AT_LEVEL = 2  # trials, of which a spread can be told
# Interactions are adjusted for where no trial weighs more than this: in balanced designs of some size. Elsewhere they cost more
# than they explain (random design of 48 trials: intervals 17 % wider, coverage 99.0 instead of 97.0 %; bench_coverage.py).
MAX_CROSSED_LEVERAGE = 0.5
MIN_DEGREES = 4  # left over when all other factors are adjusted for; with fewer, the factor is compared alone


@dataclass(frozen=True)
class _Found:
    """One factor before the correction for the number of contrasts."""

    factor: Factor
    levels: Sequence[Level]
    contrasts: Sequence[Contrast]
    reason: str  # why there are none


def factor_effects(
    observations: Observations, unit: Unit, importance: Mapping[str, float], is_exploratory: bool
) -> list[FactorEffect]:
    """Of every searched key, the most important first; p-values are corrected for all contrasts together (Holm)."""
    found = [_found(index, observations, unit) for index, factor in enumerate(observations.factors) if factor.key not in BLOCKS]
    contrasts = [contrast for one in found for contrast in one.contrasts]
    corrected = iter(holm([contrast.p_value for contrast in contrasts]))
    effects = []
    for one in found:
        own = [_corrected(contrast, next(corrected)) for contrast in one.contrasts]
        own.sort(key=lambda contrast: (contrast.p_corrected, contrast.p_value))
        sentence = effect_sentence(one.levels, own, unit) if own else one.reason
        share = importance.get(one.factor.key)
        effects.append(FactorEffect(one.factor.key, share, one.levels, own, is_exploratory, sentence))
    return sorted(effects, key=lambda effect: -(effect.importance or 0.0))


def _corrected(contrast: Contrast, p_corrected: float) -> Contrast:
    return replace(contrast, p_corrected=p_corrected, is_shown=p_corrected < LEVEL_OF_SIGNIFICANCE)


def _found(index: int, observations: Observations, unit: Unit) -> _Found:
    factor = observations.factors[index]
    rows = np.flatnonzero(factor.codes >= 0)
    counts = {level: int((factor.codes == level).sum()) for level in factor.observed}
    if len(counts) < 2 or observations.is_constant:
        return _Found(factor, [], [], _why_not(factor, rows, observations))
    design = matched_design(observations, factor, rows)
    pairs = [pair for pair in combinations(factor.observed, 2) if min(counts[level] for level in pair) >= MIN_AT_LEVEL]
    if not pairs:
        return _Found(factor, [], [], f"nothing can be told: each level has fewer than {MIN_AT_LEVEL} trials with a value")
    margins = [design.marginal(0, level) for level in factor.observed]
    differences = [design.contrast(0, one, other) for one, other in pairs]
    contrasted = np.stack([*margins, *differences])
    found = design.fit.estimate(contrasted, observations.values[rows], observations.degrees_between)
    levels = _levels(factor, found, counts, observations, unit)
    contrasts = [
        contrast
        for place, pair in enumerate(pairs, start=len(margins))
        if (contrast := _contrast(factor, pair, found, place, counts)) is not None
    ]
    return _Found(
        factor, levels, contrasts, "nothing can be told: too few trials, or trials too much alike, to judge their noise"
    )


def _contrast(
    factor: Factor, pair: tuple[int, int], found: Estimates, place: int, counts: Mapping[int, int]
) -> Contrast | None:
    """None where the trials do not tell it."""
    if not found.is_known(place):
        return None
    p_value = float(found.p_values[place])
    return Contrast(
        factor=factor.key,
        level=factor.levels[pair[0]],
        reference=factor.levels[pair[1]],
        difference=found.at(place, counts[pair[0]] + counts[pair[1]]),
        p_value=p_value,
        p_corrected=p_value,
        is_shown=False,
    )


def _levels(factor: Factor, found: Estimates, counts: Mapping[int, int], observations: Observations, unit: Unit) -> list[Level]:
    """Those whose mean can be told, the best first."""
    levels = []
    for place, level in enumerate(factor.observed):
        if found.is_known(place):
            pruned = int((observations.is_pruned & (factor.codes == level)).sum())
            marginal = found.at(place, counts[level])
            levels.append(Level(factor.levels[level], marginal, counts[level] - pruned, pruned))
    return sorted(levels, key=lambda level: level.marginal.value, reverse=unit.is_maximized)


def matched_design(observations: Observations, factor: Factor, rows: np.ndarray, always: Factor | None = None) -> Design:
    """The factor first, then every other one that is searched in all of these trials, as far as there are enough trials.

    Args:
        rows: of the trials in which the factor is searched, int.
        always: a second factor that is adjusted for however few trials there are; searched in all of `rows`.
    """
    others = [other.of(rows) for other in observations.factors if other is not factor and other is not always]
    others = [other for other in others if (other.codes >= 0).all() and len(other.observed) > 1]
    studies = Factor("study", (), observations.study_codes[rows])
    blocks = [*([] if always is None else [always.of(rows)]), *([studies] if len(studies.observed) > 1 else [])]
    own = factor.of(rows)
    factors = [own, *blocks, *others]
    slopes = _slopes([own, *others])
    crossed = Design.of(factors, np.hstack([slopes, _products([own, *others])]))
    if crossed.fit.leverage.max() <= MAX_CROSSED_LEVERAGE:
        return crossed
    full = Design.of(factors, slopes)
    is_affordable = len(rows) - full.fit.rank >= max(MIN_DEGREES, full.fit.rank // 2)
    return full if is_affordable else Design.of([own, *blocks])


def _slopes(factors: Sequence[Factor]) -> np.ndarray:
    """Within each range of numbers a straight line: what a number does inside its third is no noise.

    The lines are 0 in the middle of each third, so the thirds' own columns still mean their averages.
    """
    columns = [
        np.where(factor.codes == level, factor.places, 0.0)
        for factor in factors
        if factor.places is not None
        for level in factor.observed
    ]
    return _stacked(columns, len(factors[0].codes))


def _products(factors: Sequence[Factor]) -> np.ndarray:
    """What two factors of choices do together beside what either does.

    Each is taken around its mean, so a factor's own columns still mean its effect averaged over the others.
    """
    choices = [factor for factor in factors if factor.is_choice and factor.key not in BLOCKS]
    indicators = [[(one.codes == level).astype(float) for level in one.observed[1:]] for one in choices]
    centred = [[column - column.mean() for column in columns] for columns in indicators]
    products = [one * other for first, second in combinations(centred, 2) for one in first for other in second]
    return _stacked(products, len(factors[0].codes))


def _stacked(columns: Sequence[np.ndarray], num_trials: int) -> np.ndarray:
    return np.stack(columns, axis=1) if columns else np.zeros((num_trials, 0))


def _why_not(factor: Factor, rows: np.ndarray, observations: Observations) -> str:
    if not len(observations.trials):
        return "nothing can be told: no trial has a value"
    if len(observations.trials) == 1:
        return "nothing can be told: a single trial has a value"
    if not len(rows):
        return "nothing can be told: it was searched in no trial that has a value"
    if len(factor.observed) < 2:
        return f"nothing can be told: only {factor.levels[factor.observed[0]]} was tried"
    return f"no difference: all {len(observations.trials)} trials have the same value"
