"""Keeps only the weights that may still be wanted: forty VGG-16 are 20 GB, forty of their saved trainings with Adam 64 GB."""

import logging
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from study.definition import Objective, StudyDefinition
from study.errors import DefinitionError
from study.search.advisor import Outcome
from study.search.outcomes import is_candidate
from study.search.ranking import TRIED, best_first, is_repeated, key_of, rank_recipes, spare_rounds_of
from study.trial import TrialState
from study.tuning.ledger import TrialProgress
from study.tuning.shared_files import NOT_SHARED, SharedFiles
from study.tuning.trial_files import state_file, weights_file

NO_ANSWER = (TrialState.FAIL, TrialState.PRUNED)  # how a trial ends of which nothing is wanted any more

logger = logging.getLogger(__name__)

# Recipes whose best trial stays while an adaptive search goes on: the mean of one falls as its luck ends, and another rises.
NUM_RESERVED = 20


@dataclass(frozen=True)
class _Ended:
    """A trial that completed or failed.

    Attributes:
        value: None where it can never be the answer.
        key: of its recipe.
    """

    number: int
    state: TrialState
    searched: Mapping[str, Any]
    value: float | None
    key: str


class KeptWeights:
    """Listens to a ledger; deletes a completed trial's weights once nobody can want them any more, and all that others leave.

    What stays in the end are the best trials, and the best trial of each recipe that may be registered, confirmed and promoted
    (study/search/ranking.py). Where folds or seeds are searched, the best recipes are known only when their repetitions have
    ended: until `settle`, every recipe of a grid keeps its best trial, and of an adaptive search the best `NUM_RESERVED` do.
    """

    def __init__(
        self,
        output_folder: Path,
        definition: StudyDefinition,
        num_kept: int,
        earlier: Sequence[Outcome],
        shared: SharedFiles = NOT_SHARED,
    ) -> None:
        """Args:
        num_kept: how many of the best trials keep their weights, whatever their recipes.
        earlier: trials that ended before, in an earlier launch.
        shared: where the weights are, if not in the folder.
        """
        self._shared = shared
        self._output_folder = output_folder
        self._definition = definition
        self._num_kept = num_kept
        self._num_recipes = definition.confirm.top if definition.confirm else 1
        self._ended: dict[str, list[_Ended]] = {}  # by recipe
        self._first: dict[str, _Ended] = {}  # the best trial of each recipe
        self._kept: dict[int, _Ended] = {}  # trials whose weights are there
        self._recall(earlier)

    def trial_began(self, trial: TrialProgress) -> None:
        """Nothing."""

    def trial_measured(self, trial: TrialProgress) -> None:
        """Nothing."""

    def trial_ended(self, trial: TrialProgress) -> None:
        """Ranks a completed trial among the others, and lets the worst go."""
        if trial.state in NO_ANSWER:  # one may have come as far as its weights, and failed on the test split
            self._forget_all(trial.number)
        if trial.state not in TRIED or trial.repeats is not None:  # one that repeats another has no weights
            return
        ended = _Ended(trial.number, trial.state, trial.searched, self._value_of(trial), key_of(trial.searched))
        self._add(ended)
        if ended.value is not None:
            self._kept[trial.number] = ended
            self._let_go_all_but(self._best_trials() | self._best_of_recipes_so_far())
        elif trial.state is TrialState.COMPLETE:
            self._shared.forget(self._file(trial.number))

    def settle(self) -> None:
        """The search is over, and with it all repetitions: what is kept for recipes that are not among the best goes too."""
        self._let_go_all_but(self._best_trials() | self._best_of_recipes(self._ended.keys(), self._num_recipes))

    def _recall(self, earlier: Sequence[Outcome]) -> None:
        """The trials of earlier launches, and which of their weights are there."""
        present = self._present() if earlier else frozenset()
        for outcome in earlier:
            if outcome.state in TRIED:
                value = outcome.value if is_candidate(outcome) else None
                ended = _Ended(outcome.number, outcome.state, outcome.searched, value, key_of(outcome.searched))
                self._add(ended)
                if value is not None and self._file(outcome.number).name in present:
                    self._kept[outcome.number] = ended
            if outcome.state in NO_ANSWER:  # a dead driver did not come to it
                self._forget_all(outcome.number, present)

    def _value_of(self, trial: TrialProgress) -> float | None:
        """None for a trial that can never be the answer."""
        if trial.state is not TrialState.COMPLETE or trial.best is None or not keeps_limits(trial, self._definition.objective):
            return None
        return trial.best.metrics[self._definition.objective.key]

    def _add(self, ended: _Ended) -> None:
        self._ended.setdefault(ended.key, []).append(ended)
        if ended.value is not None:
            first = self._first.get(ended.key, ended)
            self._first[ended.key] = best_first([first, ended], is_maximized=self._definition.objective.is_maximized)[0]

    def _best_trials(self) -> set[int]:
        """The best of all that have weights, whatever their recipes."""
        ranked = best_first(self._kept.values(), is_maximized=self._definition.objective.is_maximized)
        return {one.number for one in ranked[: self._num_kept]}

    def _best_of_recipes_so_far(self) -> set[int]:
        """The best trial of each recipe that may still be among the best in the end."""
        keys = {one.key for one in self._kept.values()}
        if not is_repeated(self._definition):
            return self._best_of_recipes(keys, self._num_recipes)
        reserve = max(NUM_RESERVED, self._num_recipes)
        if self._definition.search.sampler.is_exhaustive or len(keys) <= reserve:
            return {self._first[key].number for key in keys}
        return self._best_of_recipes(keys, reserve)

    def _best_of_recipes(self, keys: Set[str], num_recipes: int) -> set[int]:
        """The best trial of each of the best of these recipes."""
        ranked = rank_recipes(
            chain.from_iterable(self._ended[key] for key in keys),
            lambda one: one.value is not None,
            is_maximized=self._definition.objective.is_maximized,
            spare_rounds=spare_rounds_of(self._definition),
        )
        return {recipe.trials[0].number for recipe in ranked[:num_recipes]}

    def _let_go_all_but(self, wanted: Set[int]) -> None:
        for number in self._kept.keys() - wanted:
            del self._kept[number]
            self._shared.forget(self._file(number))

    def _present(self) -> frozenset[str]:
        """Names of what earlier launches left; none where that cannot be listed: then nothing of theirs is deleted."""
        try:
            return self._shared.names(weights_file(self._output_folder, 0).parent)
        except DefinitionError as error:
            logger.warning("weights of earlier trials stay where they are, wanted or not: %s", error)
            return frozenset()

    def _file(self, number: int) -> Path:
        return weights_file(self._output_folder, number)

    def _forget_all(self, number: int, present: Set[str] | None = None) -> None:
        """Deletes what a trial leaves; of what is known to be present, where that is given: each deletion is a request."""
        for file in (weights_file(self._output_folder, number), state_file(self._output_folder, number)):
            if present is None or file.name in present:
                self._shared.forget(file)


def keeps_limits(trial: TrialProgress, objective: Objective) -> bool:
    """Whether every quantity that the trial told of is within its limit."""
    told = trial.facts
    return all(limit.violation(float(told[limit.quantity])) <= 0 for limit in objective.limits if limit.quantity in told)
