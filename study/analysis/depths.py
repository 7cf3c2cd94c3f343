"""Do heads tell what is good unfrozen? Recipes that were tried at several freeze depths, and how far their ranks agree.

A search that screens heads (`[search.screening]`) rests on it; where ranks invert, it promotes the wrong recipes. A grid over
freeze depths says it as well.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist, fmean

from scipy.stats import spearmanr

from study.analysis.evidence import StudyEvidence, TrialEvidence
from study.analysis.factors import BLOCKS
from study.analysis.findings import DepthAgreement, Estimate
from study.analysis.sentences import Unit
from study.freeze_depths import DEPTH
from study.space import SearchSpace
from study.trial import TrialState

MIN_RECIPES = 3  # fewer have no ranks to speak of
MIN_FOR_INTERVAL = 5  # below, an interval of a rank correlation holds everything
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
NORMAL = NormalDist().inv_cdf(0.975)
Recipe = frozenset[tuple[str, object]]


@dataclass(frozen=True)
class _Tried:
    """What became of one recipe at one depth.

    Attributes:
        number: of its first completed trial, else of its first.
        value: mean over the completed trials' folds and seeds; None where there is none.
        has_failed: a trial of it failed, and none completed.
    """

    number: int
    value: float | None
    has_failed: bool


def depth_agreements(study: StudyEvidence, unit: Unit) -> Iterator[DepthAgreement]:
    """The deepest freeze depth of a study beside each other at which three of its recipes were tried, the deepest first."""
    if DEPTH not in study.definition.space.parameters:
        return
    by_depth = _tried_by_depth(study)
    deepest, *others = sorted(by_depth, reverse=True) or [0.0]
    heads = {recipe: (one.number, one.value) for recipe, one in by_depth.get(deepest, {}).items() if one.value is not None}
    for other in others:
        both = [(*heads[recipe], deeper) for recipe, deeper in by_depth[other].items() if recipe in heads]
        if len(both) >= MIN_RECIPES:
            yield _agreement(study, (deepest, other), both, unit)


def _tried_by_depth(study: StudyEvidence) -> dict[float, dict[Recipe, _Tried]]:
    keys = _keys_at_all_depths(study.definition.space)
    found: dict[float, dict[Recipe, list[TrialEvidence]]] = {}
    for trial in study.trials:
        if trial.state in ENDED and trial.repeats is None and DEPTH in trial.searched:
            recipe = frozenset((key, value) for key, value in trial.searched.items() if key in keys)
            found.setdefault(float(trial.searched[DEPTH]), {}).setdefault(recipe, []).append(trial)
    return {depth: {recipe: _tried(trials) for recipe, trials in recipes.items()} for depth, recipes in found.items()}


def _tried(trials: Sequence[TrialEvidence]) -> _Tried:
    completed = [one for one in trials if one.state is TrialState.COMPLETE and one.value is not None]
    value = fmean(one.value or 0.0 for one in completed) if completed else None
    has_failed = not completed and any(one.state is TrialState.FAIL for one in trials)
    return _Tried((completed or trials)[0].number, value, has_failed)


def _keys_at_all_depths(space: SearchSpace) -> set[str]:
    """What makes a recipe the same at two depths: keys that are searched at some of them only make no difference."""
    left_out = {DEPTH}
    for key, distribution in space.items():  # conditions come before what hangs on them
        if distribution.when.keys() & left_out:
            left_out.add(key)
    return space.parameters.keys() - left_out - set(BLOCKS)


def _agreement(
    study: StudyEvidence, depths: tuple[float, float], both: Sequence[tuple[int, float, _Tried]], unit: Unit
) -> DepthAgreement:
    """Args:
    both: of each recipe its trial and value at the deepest, and what became of it at the other depth.
    """
    sign = 1 if unit.is_maximized else -1
    whole = [(number, head, deeper.value) for number, head, deeper in both if deeper.value is not None]
    recipes = sorted(whole, key=lambda one: (-sign * one[1], -sign * one[2]))
    orders = [(first[1] - second[1]) * (first[2] - second[2]) for first, second in combinations(recipes, 2)]
    num_swapped, num_pairs = sum(order < 0 for order in orders), sum(order != 0 for order in orders)
    num_failed = sum(deeper.has_failed for _, _, deeper in both)
    num_pruned = len(both) - len(whole) - num_failed
    correlation = _correlation(recipes)
    lost = ", ".join(f"{count} {how}" for count, how in ((num_pruned, "pruned"), (num_failed, "failed")) if count)
    order = _order_in_words(recipes, depths, (num_swapped, num_pairs), correlation, sign)
    sentence = (
        f"of {len(both)} recipes at freeze depths {depths[0]:g} and {depths[1]:g}"
        f"{f', {lost} at {depths[1]:g};' if lost else ','} {order}"
    )
    if study.definition.search.screening is not None:
        sentence += "; most were promoted as the best heads, whose ranks agree less than those of all would"
    return DepthAgreement(study.name, depths, recipes, correlation, num_swapped, num_pairs, num_pruned, num_failed, sentence)


def _order_in_words(
    recipes: Sequence[tuple[int, float, float]],
    depths: tuple[float, float],
    swapped: tuple[int, int],
    correlation: Estimate | None,
    sign: int,
) -> str:
    """Args:
    swapped: pairs that change their order, of those that have one at both depths.
    """
    if len(recipes) < 2:
        return "too few are left to compare their order"
    num_swapped, num_pairs = swapped
    if num_pairs == 0:
        return "no two differ at both"
    known = (
        f" (rank correlation {correlation.value:.2f}, {correlation.low:.2f} to {correlation.high:.2f})" if correlation else ""
    )
    best = recipes[0]
    place = 1 + sum(sign * one[2] > sign * best[2] for one in recipes)
    return (
        f"{num_swapped} of {num_pairs} pairs change their order{known}; the best at {depths[0]:g}, trial {best[0]}, is "
        f"number {place} at {depths[1]:g}"
    )


def _correlation(recipes: Sequence[tuple[int, float, float]]) -> Estimate | None:
    """Spearman's, with an interval by Fisher's z; None where there are too few recipes, or all are equal at a depth.

    Where all ranks agree, the interval is laid round the next correlation that there could be, of two neighbours swapped.

    Source: Bonett & Wright 2000, "Sample size requirements for estimating Pearson, Kendall and Spearman correlations", eq. 3.
    """
    heads, deeper = [one[1] for one in recipes], [one[2] for one in recipes]
    if len(recipes) < MIN_FOR_INTERVAL or len(set(heads)) == 1 or len(set(deeper)) == 1:
        return None
    num = len(recipes)
    value = float(spearmanr(heads, deeper).statistic)
    most = 1 - 12 / (num * (num**2 - 1))
    centre = math.atanh(max(-most, min(most, value)))
    half = NORMAL * math.sqrt((1 + value**2 / 2) / (num - 3))
    low, high = math.tanh(centre - half), math.tanh(centre + half)
    return Estimate(value, min(low, value), max(high, value), num)
