"""Which recipe is the best: one rule, for a search and for the repetitions of its best recipes, whoever asks.

A recipe that was tried on several folds or with several seeds is worth its mean over them; of its trials, the best one stands
for it. The luckiest single trial is mostly one of an easy fold: of a recipe at 0.80 on each of five folds and one at 0.70 on
four and 0.85 on the fifth, the first is the better.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from statistics import fmean
from typing import Any, Generic, Protocol, TypeVar

from study.definition import StudyDefinition
from study.search.outcomes import Outcome, is_candidate
from study.search.recipes import recipe_of
from study.search_definition import StopDefinition
from study.trial import REPETITION_KEYS, TrialState

TRIED = (TrialState.COMPLETE, TrialState.FAIL)  # a pruned repetition is not one that its recipe is beaten or broken by


class Tried(Protocol):
    """A trial that ended: an `Outcome`, or what an analysis read of one."""

    @property
    def number(self) -> int:
        """Within its study."""

    @property
    def state(self) -> TrialState:
        """How it ended."""

    @property
    def searched(self) -> Mapping[str, Any]:
        """The values that the sampler chose."""

    @property
    def value(self) -> float | None:
        """The objective."""


TrialT = TypeVar("TrialT", bound=Tried)
Spot = tuple[Any, ...]  # a repetition's searched seed and fold; None for what is not searched


@dataclass(frozen=True)
class RankedRecipe(Generic[TrialT]):
    """A recipe among the others of its study.

    Attributes:
        recipe: its searched values, without seed and fold.
        trials: those that may be the answer, the best value first: that one stands for the recipe, wherever one trial must.
        mean: of the objective, over the seeds and folds that all recipes in the comparison have; over its own where they share
            none.
        num_repetitions: seeds and folds that the mean is over; 1 where the search repeats nothing.
        is_beaten: a race (study/search/race.py) did not repeat it as often as the others: its mean may be of easier folds.
        is_compared: it is not beaten, and no more than half of its repetitions failed or were over a limit.
    """

    recipe: Mapping[str, Any]
    trials: Sequence[TrialT]
    mean: float
    num_repetitions: int
    is_beaten: bool
    is_compared: bool


def rank_recipes(
    trials: Iterable[TrialT], is_answer: Callable[[TrialT], bool], *, is_maximized: bool, spare_rounds: int | None
) -> list[RankedRecipe[TrialT]]:
    """Every recipe with a trial that may be the answer, the best first, and the earlier of equals.

    A repetition that failed says nothing of its recipe: its seed and fold count for nobody.

    Args:
        spare_rounds: rounds of a race that a recipe may lack without being beaten; None where there was no race.
    """
    groups: dict[str, list[TrialT]] = {}
    for trial in trials:
        groups.setdefault(key_of(trial.searched), []).append(trial)
    most = max((_num_tried(group) for group in groups.values()), default=0)
    needed = 0 if spare_rounds is None else most - spare_rounds
    found = [_group_of(group, is_answer, is_maximized, needed) for group in groups.values()]
    answered = [one for one in found if one.trials]
    compared = [set(one.values) for one in answered if one.is_compared] or [set(one.values) for one in answered]
    shared = set.intersection(*compared) if compared else set()
    ranked = [one.among(shared) for one in answered]
    sign = -1 if is_maximized else 1
    return sorted(ranked, key=lambda one: (not one.is_compared, sign * one.mean, min(trial.number for trial in one.trials)))


def ranked_outcomes(outcomes: Iterable[Outcome], definition: StudyDefinition) -> list[RankedRecipe[Outcome]]:
    """The recipes of a study, of its search or of its repetitions."""
    is_maximized = definition.objective.is_maximized
    return rank_recipes(outcomes, is_candidate, is_maximized=is_maximized, spare_rounds=spare_rounds_of(definition))


def best_first(trials: Iterable[TrialT], *, is_maximized: bool) -> list[TrialT]:
    """Trials that have a value, by it; the earlier of equals first."""
    sign = -1 if is_maximized else 1
    return sorted(trials, key=lambda trial: (sign * (trial.value or 0.0), trial.number))


def key_of(searched: Mapping[str, Any]) -> str:
    """What the trials of one recipe have in common, whatever order their values come in."""
    return repr(sorted(recipe_of(searched).items()))


def is_planned(definition: StudyDefinition) -> bool:
    """Whether every recipe of the search was to be tried on every fold and with every seed that it has for it."""
    search = definition.search
    if len(search.enqueue) >= definition.num_trials:
        return True
    return search.sampler.is_exhaustive and (search.trials is None or not _is_cut(definition))


def _is_cut(definition: StudyDefinition) -> bool:
    """Whether the grid has more recipes than the search has trials."""
    recipes = definition.space.combinations(definition.fixed_values)
    return next(islice(recipes, definition.num_trials, None), None) is not None


def is_repeated(definition: StudyDefinition) -> bool:
    """Whether the search itself tries a recipe on several folds or with several seeds."""
    return any(key in definition.space.parameters for key in REPETITION_KEYS)


def spare_rounds_of(definition: StudyDefinition) -> int | None:
    """Of `rank_recipes`: a stop rule may end a race in the middle of a round.

    Who lacks rounds was beaten only where all were planned: a sampler, and a grid that is cut short, try recipes as often as it
    happens.
    """
    if definition.search.pruner.name != "wilcoxon" or not is_repeated(definition) or not is_planned(definition):
        return None
    return 0 if definition.search.stop == StopDefinition() else 1


@dataclass(frozen=True)
class _Group(Generic[TrialT]):
    """The trials of one recipe, and what they came to."""

    trials: Sequence[TrialT]
    values: Mapping[Spot, float]
    is_beaten: bool
    is_compared: bool

    def among(self, shared: Set[Spot]) -> RankedRecipe[TrialT]:
        values = [value for spot, value in self.values.items() if spot in shared] or list(self.values.values())
        recipe = recipe_of(self.trials[0].searched)
        return RankedRecipe(recipe, self.trials, fmean(values), len(values), self.is_beaten, self.is_compared)


def _group_of(
    group: Sequence[TrialT], is_answer: Callable[[TrialT], bool], is_maximized: bool, num_needed: int
) -> _Group[TrialT]:
    answers = [trial for trial in group if is_answer(trial)]
    values = {spot_of(trial.searched): trial.value for trial in answers if trial.value is not None}
    num_tried = _num_tried(group)
    is_beaten = num_tried < num_needed
    is_compared = not is_beaten and 2 * len(answers) >= num_tried
    return _Group(best_first(answers, is_maximized=is_maximized), values, is_beaten, is_compared)


def spot_of(searched: Mapping[str, Any]) -> Spot:
    """Where a recipe was tried: its seed and fold, as far as they are searched."""
    return tuple(searched.get(key) for key in REPETITION_KEYS)


def _num_tried(group: Sequence[Tried]) -> int:
    return sum(trial.state in TRIED for trial in group)
