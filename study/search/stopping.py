"""When a search has found enough, or used up what it may."""

from study.definition import Objective
from study.search.front import Front
from study.search.outcomes import Outcome, is_candidate, losses_of
from study.search_definition import StopDefinition

HOUR_S = 3600.0


class StopRules:
    """`[search.stop]` against what has happened so far; told of each trial as it ends."""

    def __init__(self, stop: StopDefinition, objective: Objective) -> None:
        self._stop = stop
        self._objective = objective
        self._front = Front[int]()
        self._best: float | None = None
        self._num_since_better = 0

    def add(self, outcome: Outcome) -> None:
        """A trial ended. With two objectives, a better one is one that joins the Pareto front."""
        self._num_since_better += 1
        if not is_candidate(outcome):
            return
        assert outcome.value is not None, "a candidate has a value"
        if self._best is None or self._objective.is_better(outcome.value, self._best):
            self._best = outcome.value
        if self._front.add(losses_of(outcome, self._objective), outcome.number):
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

    def _has_reached(self, target: float) -> bool:
        return self._best is not None and not self._objective.is_better(target, self._best)
