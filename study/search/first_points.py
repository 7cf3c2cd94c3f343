"""The recipes that are tried before the sampler is asked: a whole grid, or what the definition or earlier studies name."""

import random
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from study.definition import StudyDefinition
from study.search.outcomes import Outcome
from study.space import Scalar

Point = Mapping[str, Scalar]


class Plan:
    """Values to try first, a trial each; after them, the sampler is asked."""

    is_race = False  # whether the pruner judges whole trials, and not their epochs

    def __init__(self, points: Sequence[Point]) -> None:
        self._points = points

    @property
    def is_over(self) -> bool:
        """Whether no more trials are worth beginning."""
        return False

    def next_point(self, number: int) -> Point | None:
        """Values for a new trial of this number; None where they are the sampler's to choose."""
        return self._points[number] if number < len(self._points) else None

    def is_beaten(self, searched: Mapping[str, Any]) -> bool:
        """Whether trials of this recipe are not worth beginning any more."""
        return False

    def begin(self, searched: Mapping[str, Any]) -> None:
        """A trial was begun, by this driver or an earlier one."""

    def add(self, outcome: Outcome) -> None:
        """A trial ended."""


def first_points(definition: StudyDefinition, earlier: Sequence[Point] = ()) -> Sequence[Point]:
    """Values to try first, by trial number: the definition's own points, those of earlier studies, then its baseline.

    A grid comes in a seeded random order, so that a study stopped halfway is still a fair sample of it; recipes that one of
    these points describes come first.

    Args:
        earlier: as they were when the study began, so that every driver of the study has the same list.
    """
    points = [*definition.search.enqueue, *earlier]
    points += [point for point in _baseline(definition) if point not in points]
    if not definition.search.sampler.is_exhaustive:
        return points
    recipes = list(definition.space.combinations(definition.fixed_values))
    random.Random(definition.search.seed).shuffle(recipes)
    recipes.sort(key=lambda recipe: _place(recipe, points))  # stable
    return list(islice(recipes, definition.num_trials))


def _baseline(definition: StudyDefinition) -> Sequence[Point]:
    """What [trial] says of the searched keys, as far as it lies in the space: the recipe of somebody who searches nothing.

    It is most often a fair one, and what every other is to be held against. Only for samplers that go by results: the trials
    of others are a fair sample of the space, and stay one.
    """
    if not (definition.search.baseline and definition.search.sampler.is_adaptive):
        return []
    fixed, point = definition.fixed_values, dict[str, Scalar]()
    values = dict(fixed)
    for key, distribution in definition.space.items():
        values.pop(key, None)
        fitting = distribution.fit(fixed[key])
        if fitting is not None and definition.space.is_active(key, values):
            values[key] = point[key] = fitting
    return [point] if point else []


def _place(recipe: Point, points: Sequence[Point]) -> int:
    """The first point that describes the recipe; after all of them where none does."""
    matching = (place for place, point in enumerate(points) if point.items() <= recipe.items())
    return next(matching, len(points))
