"""When a search has found enough, or used up what it may."""

import math
from dataclasses import replace
from statistics import fmean

from study.definition import Objective
from study.search.front import Front
from study.search.outcomes import Outcome, is_candidate, losses_of
from study.search.ranking import Spot, key_of, spot_of
from study.search_definition import StopDefinition
from study.space import Choices, Distribution, SearchSpace
from study.trial import REPETITION_KEYS

HOUR_S = 3600.0


def num_repetitions(space: SearchSpace) -> int:
    """How often each recipe is tried where folds or seeds are searched: on each of them with each of these."""
    return math.prod(_count(space.parameters[key]) for key in REPETITION_KEYS if key in space.parameters)


def _count(distribution: Distribution) -> int:
    if isinstance(distribution, Choices):
        return len(distribution.choices)
    return int((distribution.high - distribution.low) / (distribution.step or 1)) + 1  # seeds may range over billions


class StopRules:
    """`[search.stop]` against what has happened so far; told of each trial as it ends.

    Where the search repeats its recipes, `target` and `patience` go by the means of those that have all their repetitions: a
    single trial is good by an easy fold.
    """

    def __init__(self, stop: StopDefinition, objective: Objective, num_repetitions: int = 1) -> None:
        """Args:
        num_repetitions: folds and seeds that a recipe's mean is over.
        """
        self._stop = stop
        self._objective = objective
        self._num_repetitions = num_repetitions
        self._values: dict[str, dict[Spot, float]] = {}
        self._front = Front[int]()
        self._best: float | None = None
        self._num_since_better = 0

    def add(self, outcome: Outcome) -> None:
        """A trial ended. With two objectives, a better one is one that joins the Pareto front."""
        self._num_since_better += 1
        if not is_candidate(outcome):
            return
        value = self._mean(outcome)
        if value is None:
            return
        if self._best is None or self._objective.is_better(value, self._best):
            self._best = value
        if self._front.add(losses_of(replace(outcome, value=value), self._objective), outcome.number):
            self._num_since_better = 0

    def reason(self, elapsed_s: float, worked_s: float) -> str | None:
        """The first rule that holds, in words; None while the search goes on.

        Args:
            elapsed_s: for which drivers have run the study, seconds.
            worked_s: of all trials together, seconds.
        """
        stop = self._stop
        if stop.target is not None and self._has_reached(stop.target):
            return f"{self._objective.key} {self._best:g} reached the target {stop.target:g}"
        if stop.patience is not None and self._best is not None and self._num_since_better >= stop.patience:
            return f"none of the last {self._num_since_better} trials was better than the best"
        if stop.hours is not None and elapsed_s >= stop.hours * HOUR_S:
            return f"it has run for {stop.hours:g} hours"
        if stop.gpu_hours is not None and worked_s >= stop.gpu_hours * HOUR_S:
            return f"its trials have used {stop.gpu_hours:g} GPU-hours"
        return None

    def _mean(self, outcome: Outcome) -> float | None:
        """Of the trial's recipe; None while some of its repetitions are still to come."""
        assert outcome.value is not None, "a candidate has a value"
        if self._num_repetitions == 1:
            return outcome.value
        values = self._values.setdefault(key_of(outcome.searched), {})
        values[spot_of(outcome.searched)] = outcome.value
        return fmean(values.values()) if len(values) >= self._num_repetitions else None

    def _has_reached(self, target: float) -> bool:
        return self._best is not None and not self._objective.is_better(target, self._best)
