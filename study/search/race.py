"""Recipes that are repeated with other seeds and folds race: one that the best has beaten is not repeated any more.

A repetition is a trial, and what it reached is one value; so here a step of Optuna's Wilcoxon pruner is a repetition's seed
and fold, as its documentation means it, and not an epoch. All recipes get the same seeds and folds, and are compared in pairs.

It is decided only after a round (a seed on a fold) that every recipe in the race has ended, whatever the order in which
workers end their trials: any number of workers, and a driver that takes the study up again, come to the same end.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.study import StudyDirection

from study.search.first_points import Plan, Point
from study.search.outcomes import Outcome
from study.search.recipes import recipe_of
from study.trial import REPETITION_KEYS, TrialState

Recipe = frozenset[tuple[str, Any]]
Round = tuple[Any, ...]


class Race(Plan):
    """Which of the planned repetitions are still worth running."""

    is_race = True

    def __init__(self, points: Sequence[Point], pruner: BasePruner, is_maximized: bool = True) -> None:
        """Args:
        points: every repetition. They are run round by round, in their order within each: a grid comes shuffled.
        pruner: judges a recipe whose values, one a round, are those of a trial at its steps.
        """
        super().__init__(points)
        self._rounds = list(dict.fromkeys(_round(point) for point in points))
        place_of = {round_: place for place, round_ in enumerate(self._rounds)}
        in_rounds = sorted(points, key=lambda point: place_of[_round(point)])  # stable
        self._left = {frozenset(point.items()): point for point in in_rounds}
        self._racing = list(dict.fromkeys(_recipe(point) for point in points))
        self._planned = {(_recipe(point), _round(point)) for point in points}
        self._values: dict[tuple[Recipe, Round], float | None] = {}
        self._num_judged = 0
        self._pruner, self._is_maximized = pruner, is_maximized

    @property
    def is_over(self) -> bool:
        """Whether every repetition was begun whose recipe is not beaten."""
        return self.next_point(0) is None

    def next_point(self, number: int) -> Point | None:
        """The next repetition of a recipe that is not beaten."""
        return next((point for point in self._left.values() if _recipe(point) in self._racing), None)

    def begin(self, searched: Mapping[str, Any]) -> None:
        """A repetition is not begun twice."""
        self._left.pop(frozenset(searched.items()), None)

    def add(self, outcome: Outcome) -> None:
        """A repetition ended. One that failed says nothing about its recipe: its round does not count for anybody."""
        value = outcome.value if outcome.state is TrialState.COMPLETE else None
        recipe = _recipe(outcome.searched)
        if outcome.state is TrialState.COMPLETE and not outcome.is_feasible and recipe in self._racing:
            self._racing.remove(recipe)  # it can never be the answer, so it must not beat one that can
        self._values[_recipe(outcome.searched), _round(outcome.searched)] = value
        while len(rounds := self._ended_rounds()) > self._num_judged:
            self._num_judged += 1
            self._judge(rounds[: self._num_judged])

    def is_beaten(self, searched: Mapping[str, Any]) -> bool:
        """Whether the best recipe has beaten this one."""
        return _recipe(searched) not in self._racing

    def _ended_rounds(self) -> list[Round]:
        """From the first on, those that every recipe in the race has ended."""
        ended = list[Round]()
        for round_ in self._rounds:
            planned = ((recipe, round_) for recipe in self._racing if (recipe, round_) in self._planned)
            if not all(key in self._values for key in planned):
                break
            ended.append(round_)
        return ended

    def _judge(self, rounds: Sequence[Round]) -> None:
        """Holds every recipe in the race against the best of them, over the rounds that all have completed."""
        rows = [[self._values.get((recipe, round_)) for recipe in self._racing] for round_ in rounds]
        columns = list(zip(*(row for row in rows if None not in row), strict=True))
        if not columns:
            return
        sign = 1 if self._is_maximized else -1
        best = max(columns, key=lambda column: sign * sum(column))
        values_of = zip(self._racing, columns, strict=True)
        self._racing = [recipe for recipe, values in values_of if values is best or not self._is_worse(values, best)]

    def _is_worse(self, values: Sequence[float], best: Sequence[float]) -> bool:
        """The pruner's word on a recipe, as on a trial beside the best completed one."""
        direction = StudyDirection.MAXIMIZE if self._is_maximized else StudyDirection.MINIMIZE
        study = optuna.create_study(direction=direction)
        steps = dict(enumerate(best))
        study.add_trial(optuna.trial.create_trial(value=sum(best) / len(best), intermediate_values=steps))
        trial = study.ask()
        for step, value in enumerate(values):
            trial.report(value, step)
        return self._pruner.prune(study, study.trials[trial.number])


def _recipe(searched: Mapping[str, Any]) -> Recipe:
    return frozenset(recipe_of(searched).items())


def _round(searched: Mapping[str, Any]) -> Round:
    return tuple(searched.get(key) for key in REPETITION_KEYS)
