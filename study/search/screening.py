"""Heads first: freeze depth as a fidelity.

With a frozen backbone, a trial is a head on cached features and nearly free. So the first trials of a search with
`[search.screening]` are heads; the best of them are tried at the other freeze depths, and then the sampler goes on over the
whole space. Ranks among heads need not be those of unfrozen trials: some of the promoted are drawn by lot, and how far the
ranks agreed is told with the answer (study/analysis/depths.py).
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from study.definition import StudyDefinition
from study.freeze_depths import DEPTH, depths_of
from study.search.first_points import Plan, Point
from study.search.outcomes import Outcome, is_candidate
from study.search.recipes import recipe_of


class Screening(Plan):
    """Which recipes are tried at which freeze depth, from what the heads reached so far.

    Nobody waits: where no head has ended yet, the sampler is asked. A driver that takes the study up again is told all its
    trials (`begin`) and their ends (`add`), and goes on where the last one stood.
    """

    def __init__(self, points: Sequence[Point], definition: StudyDefinition) -> None:
        """Args:
        points: that are tried before the heads.
        """
        super().__init__(points)
        asked = definition.search.screening
        assert asked is not None, "the definition has [search.screening]"
        self._asked, self._definition = asked, definition
        self._deepest, *self._others = depths_of(definition.space.parameters[DEPTH])
        self._last = len(points) + asked.heads  # the first trial that is no head
        self._heads: dict[int, Outcome] = {}
        self._ended: set[int] = set()
        self._deeper = list[frozenset[tuple[str, Any]]]()
        self._is_done = False

    def next_point(self, number: int) -> Point | None:
        """The frozen depth for a head, a promoted recipe after them; None where the sampler is to choose everything."""
        if number < len(self._points):
            return super().next_point(number)
        return {DEPTH: self._deepest} if number < self._last else self._next_promoted()

    def begin(self, searched: Mapping[str, Any]) -> None:
        """A recipe that is tried unfrozen is not promoted again."""
        if not self._is_done and searched.get(DEPTH) != self._deepest:
            self._deeper.append(frozenset(searched.items()))

    def add(self, outcome: Outcome) -> None:
        """A trial ended: a head is worth promoting if it may be the answer, and no other had its recipe."""
        if outcome.number >= self._last:
            return
        self._ended.add(outcome.number)
        others = (recipe_of(head.searched) for head in self._heads.values())
        if is_candidate(outcome) and outcome.searched.get(DEPTH) == self._deepest and recipe_of(outcome.searched) not in others:
            self._heads[outcome.number] = outcome

    def _next_promoted(self) -> Point | None:
        if self._is_done:
            return None
        promoted = self._promoted()
        for head in promoted:
            left = [point for point in (self._at(head, depth) for depth in self._others) if not self._is_tried(point)]
            if left:
                return left[0]
        rest = [head for head in self._heads.values() if head not in promoted]
        if len(promoted) < self._asked.promote and rest:
            return self._at(self._pick(rest, len(promoted)), self._others[0])
        self._is_done = len(promoted) >= self._asked.promote or len(self._ended) >= self._last
        return None

    def _promoted(self) -> list[Outcome]:
        """The heads whose recipe was tried deeper, in that order: no more than were to be, the others are the sampler's."""
        first_tried: dict[int, int] = {}
        for head in self._heads.values():
            points = [self._at(head, depth) for depth in self._others]
            places = [place for place, recipe in enumerate(self._deeper) if any(point.items() <= recipe for point in points)]
            if places:
                first_tried[head.number] = places[0]
        numbers = sorted(first_tried, key=lambda number: first_tried[number])
        return [self._heads[number] for number in numbers[: self._asked.promote]]

    def _pick(self, heads: Sequence[Outcome], place: int) -> Outcome:
        """The best of what is left; the last ones by lot."""
        if place >= self._asked.promote - self._asked.num_by_lot:
            return random.Random(f"{self._definition.search.seed}/{place}").choice(heads)
        sign = 1 if self._definition.objective.is_maximized else -1
        return max(heads, key=lambda head: (sign * (head.value or 0.0), -head.number))

    def _at(self, head: Outcome, depth: float) -> Point:
        """A head's recipe at another depth, its seed and fold included; keys that are searched only there are the sampler's."""
        space, values = self._definition.space, dict(self._definition.fixed_values)
        known = {**head.searched, DEPTH: depth}
        point: dict[str, Any] = {}
        for key, _ in space.items():
            values.pop(key, None)
            if key in known and space.is_active(key, values | point):
                point[key] = known[key]
        return point

    def _is_tried(self, point: Point) -> bool:
        return any(point.items() <= recipe for recipe in self._deeper)
