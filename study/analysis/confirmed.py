"""What the repetitions of the best recipes show: means with intervals, and differences in pairs on the same seeds and folds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev
from typing import Any

from study.analysis.costs import cost_known_of, is_cheaper
from study.analysis.evidence import StudyEvidence, TrialEvidence
from study.analysis.factors import BLOCKS
from study.analysis.findings import ConfirmedRecipe, Estimate, PairedComparison
from study.analysis.leaderboard import is_answer
from study.analysis.matched import holm
from study.analysis.sentences import Unit
from study.confirm_definition import Alteration, prefix_of
from study.intervals import MeanInterval, Place, held_out_ratio, mean_interval
from study.search.ranking import RankedRecipe, best_first, key_of, rank_recipes
from study.trial import TrialState

SIGNIFICANT = 0.05
WINNER, RUNNER_UP, BASELINE = "winner", "runner-up", "baseline"


@dataclass(frozen=True)
class Repeated:
    """One recipe and its repetitions on each split, by fold and seed.

    Attributes:
        is_beaten: it was not repeated as often as the others: the race (study/search/race.py) found it worse.
        altered: as `test`, on altered copies of its photos.
    """

    trial: int
    recipe: Mapping[str, Any]
    val: Mapping[Place, float]
    test: Mapping[Place, float]
    cost: Mapping[str, float]
    is_beaten: bool = False
    altered: Mapping[Alteration, Mapping[Place, float]] = field(default_factory=dict)


def repeated_recipes(study: StudyEvidence) -> list[Repeated]:
    """The recipes of the study's repetitions, the best on validation first (study/search/ranking.py, as in MLflow)."""
    is_maximized = study.definition.objective.is_maximized
    spare_rounds = None if study.is_confirming else 0
    ranked = rank_recipes(study.repetitions, _has_value, is_maximized=is_maximized, spare_rounds=spare_rounds)
    return [_repeated(one, study) for one in ranked]


def _has_value(repetition: TrialEvidence) -> bool:
    return repetition.state is TrialState.COMPLETE and repetition.value is not None


def confirmed_recipes(study: StudyEvidence) -> list[ConfirmedRecipe]:
    """Each repeated recipe with its role, the winner (the best mean on validation: test is for telling, not choosing) first."""
    repeated = repeated_recipes(study)
    baseline = baseline_of(study, repeated)
    ratio = ratio_of(study)
    recipes = []
    for place, one in enumerate(repeated):
        role = WINNER if place == 0 else BASELINE if one.trial == baseline else RUNNER_UP if place == 1 else ""
        val, val_sd = _summary(one.val, ratio)
        test, test_sd = _summary(one.test, ratio)
        recipes.append(
            ConfirmedRecipe(one.trial, role, one.recipe, val, val_sd, test, test_sd, one.cost, study.name, one.is_beaten)
        )
    if repeated and len(repeated) > 2 and repeated[1].trial == baseline:
        recipes[2] = replace(recipes[2], role=RUNNER_UP)
    return recipes


def baseline_of(study: StudyEvidence, repeated: Sequence[Repeated]) -> int | None:
    """The repeated recipe that the definition itself has: its fixed values, else the first point to be tried."""
    definition = study.definition
    fixed = definition.fixed_values
    points = [{key: fixed.get(key) for key in definition.space.parameters}, *definition.search.enqueue[:1]]
    for point in points:
        for one in repeated:
            own = {key: value for key, value in one.recipe.items() if key not in BLOCKS}
            if own and all(key in point and point[key] == value for key, value in own.items()):
                return one.trial
    return None


def paired_comparisons(study: StudyEvidence, unit: Unit) -> list[PairedComparison]:
    """Winner, runner-up and baseline against each other on the test split; corrected for their number (Holm)."""
    recipes = {one.trial: one for one in repeated_recipes(study)}
    roles = [one.trial for one in confirmed_recipes(study) if one.role]
    ratio = ratio_of(study)
    pairs = [(first, second) for place, first in enumerate(roles) for second in roles[place + 1 :]]
    found = [(pair, *_paired(recipes[pair[0]], recipes[pair[1]], ratio)) for pair in pairs]
    told = [(pair, difference, p_value) for pair, difference, p_value in found if difference is not None]
    shown = [corrected < SIGNIFICANT for corrected in holm([p_value for *_, p_value in told])]
    compared = [
        PairedComparison(*pair, difference, p_value, is_shown, "", study.name, len(told))
        for (pair, difference, p_value), is_shown in zip(told, shown, strict=True)
    ]
    return [replace(one, sentence=_sentence(one, unit)) for one in compared]


def recommended_recipe(recipes: Sequence[ConfirmedRecipe], pairs: Sequence[PairedComparison]) -> ConfirmedRecipe | None:
    """The winner, or the cheapest of those that no shown difference sets apart from it; None where it has no interval."""
    if not recipes or recipes[0].test is None:
        return None
    winner, own = recipes[0], equals_of(recipes, pairs)
    name = cost_known_of([one.cost for one in own])
    if name is None:
        return winner
    cheapest = min(own, key=lambda one: one.cost[name])
    return cheapest if is_cheaper(name, cheapest.cost, winner.cost) else winner


def equals_of(recipes: Sequence[ConfirmedRecipe], pairs: Sequence[PairedComparison]) -> list[ConfirmedRecipe]:
    """The winner, and those that no shown difference sets apart from it; `recipes` and `pairs` of one study."""
    equals = {one.second for one in pairs if one.first == recipes[0].trial and not one.is_shown}
    return [recipes[0], *(one for one in recipes[1:] if one.trial in equals and not one.is_beaten)]


def ratio_of(study: StudyEvidence) -> float:
    """Photos held out a fold as a share of those trained on, in the study's data."""
    return held_out_ratio(study.definition.data.split.folds)


def estimate_of(found: MeanInterval) -> Estimate:
    """As findings have it."""
    return Estimate(found.mean, found.low, found.high, found.n)


def _summary(values: Mapping[Place, float], ratio: float) -> tuple[Estimate | None, float | None]:
    found = mean_interval(values, ratio)
    return (estimate_of(found) if found else None), (stdev(values.values()) if len(values) > 1 else None)


def _paired(first: Repeated, second: Repeated, ratio: float) -> tuple[Estimate | None, float]:
    shared = first.test.keys() & second.test.keys()
    found = mean_interval({place: first.test[place] - second.test[place] for place in sorted(shared)}, ratio)
    return (estimate_of(found), found.p_value) if found else (None, 1.0)


def _sentence(pair: PairedComparison, unit: Unit) -> str:
    if not pair.is_shown:
        told = f"{unit.difference(pair.difference)}{pair.alone}"
        return f"no significant difference between trials {pair.first} and {pair.second} on test: {told}"
    is_first_better, better = unit.better_by(pair.difference)
    names = (pair.first, pair.second) if is_first_better else (pair.second, pair.first)
    return f"trial {names[0]} beats trial {names[1]} on test by {unit.number(better.value)}{unit.name} {unit.interval(better)}"


def _repeated(ranked: RankedRecipe[TrialEvidence], study: StudyEvidence) -> Repeated:
    group, metric = sorted(ranked.trials, key=lambda one: one.number), study.definition.objective.metric
    places = [(int(one.recipe.get("fold", 0)), int(one.recipe.get("seed") or 0)) for one in group]
    val = {place: one.value for place, one in zip(places, group, strict=True) if one.value is not None}
    confirm = study.definition.confirm
    altered = {
        alteration: _told_of(group, places, f"{prefix_of(alteration)}_{metric}")
        for alteration in (confirm.altered_tests if confirm is not None else ())
    }
    test = _told_of(group, places, f"{prefix_of()}_{metric}")
    trial = _confirmed_trial(ranked.recipe, study)
    return Repeated(trial, ranked.recipe, val, test, _mean_cost(group), ranked.is_beaten, altered)


def _told_of(group: Sequence[TrialEvidence], places: Sequence[Place], metric: str) -> dict[Place, float]:
    return {place: one.metrics[metric] for place, one in zip(places, group, strict=True) if metric in one.metrics}


def _confirmed_trial(recipe: Mapping[str, Any], study: StudyEvidence) -> int:
    """The trial that stands for the recipe: the best of its trials in the search; -1 where the search has none."""
    objective = study.definition.objective
    own = [one for one in study.trials if key_of(one.searched) == key_of(recipe) and is_answer(one, objective)]
    return next((one.number for one in best_first(own, is_maximized=objective.is_maximized)), -1)


def _mean_cost(group: Sequence[TrialEvidence]) -> dict[str, float]:
    costs = [{**one.costs, **({} if one.seconds is None else {"seconds": one.seconds})} for one in group]
    names = set.intersection(*(set(cost) for cost in costs))
    return {name: fmean(cost[name] for cost in costs) for name in sorted(names)}
