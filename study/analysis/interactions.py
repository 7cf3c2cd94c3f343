"""Pairs of factors whose effects depend on each other: differences of differences."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from study.analysis.effects import LEVEL_OF_SIGNIFICANCE, matched_design
from study.analysis.factors import BLOCKS, Factor
from study.analysis.findings import Estimate, Interaction
from study.analysis.matched import Design, Fit, holm
from study.analysis.observations import Observations
from study.analysis.sentences import Unit, negated

MIN_IN_CELL = 3  # trials with both levels, else one lucky trial makes an interaction
MIN_DEGREES = 6

Levels = tuple[int, int, int, int]  # of the first factor two, of the second two


@dataclass(frozen=True)
class _Pair:
    """Two factors by their place among the observations' factors."""

    first: Factor
    second: Factor

    def count(self, level: int, other: int) -> int:
        """Trials with both levels."""
        return int(((self.first.codes == level) & (self.second.codes == other)).sum())

    def comparable(self) -> list[Levels]:
        """Pairs of levels of both factors, of which all four cells have enough trials."""
        return [
            (one, two, a, b)
            for one, two in combinations(self.first.observed, 2)
            for a, b in combinations(self.second.observed, 2)
            if min(self.count(level, other) for level in (one, two) for other in (a, b)) >= MIN_IN_CELL
        ]


def interactions(observations: Observations, unit: Unit) -> list[Interaction]:
    """Of each pair of factors of choices its clearest difference of differences, the clearest pair first.

    A pair's p-value is that of its clearest difference times the number of those looked at (Bonferroni), then corrected for
    the number of pairs (Holm).
    """
    if observations.is_constant:
        return []
    choices = [factor for factor in observations.factors if factor.is_choice and factor.key not in BLOCKS]
    found = [_interaction(_Pair(first, second), observations, unit) for first, second in combinations(choices, 2)]
    told = [one for one in found if one is not None]
    corrected = holm([one.p_corrected for one in told])
    told = [
        replace(one, p_corrected=p_value, is_shown=p_value < LEVEL_OF_SIGNIFICANCE)
        for one, p_value in zip(told, corrected, strict=True)
    ]
    return sorted(told, key=lambda one: one.p_corrected)


def _interaction(pair: _Pair, observations: Observations, unit: Unit) -> Interaction | None:
    """The clearest of one pair, its p-value corrected within the pair; None where the trials do not tell any."""
    comparable = pair.comparable()
    if not comparable:
        return None
    rows = np.flatnonzero((pair.first.codes >= 0) & (pair.second.codes >= 0))
    main = matched_design(observations, pair.first, rows, always=pair.second)
    first, second = pair.first.of(rows), pair.second.of(rows)
    columns = np.hstack([main.columns, _products(first, second)])
    fit = Fit.of(columns)
    if len(rows) - fit.rank < MIN_DEGREES:
        return None
    contrasted = _rows(comparable, first, second, main)
    found = fit.estimate(contrasted, observations.values[rows], observations.degrees_between)
    known = [index for index in range(len(comparable)) if found.is_known(index)]
    if not known:
        return None
    clearest = min(known, key=lambda index: found.p_values[index])
    levels = comparable[clearest]
    n = sum(pair.count(level, other) for level in levels[:2] for other in levels[2:])
    p_value = min(1.0, float(found.p_values[clearest]) * len(known))
    difference = found.at(clearest, n)
    sentence = _sentence(pair, levels, difference, unit)
    return Interaction((pair.first.key, pair.second.key), difference, p_value, False, sentence)


def _products(first: Factor, second: Factor) -> np.ndarray:
    """A column for each pair of levels but the first of either, float [num_trials, num_products]."""
    columns = [
        (first.codes == level) & (second.codes == other) for level in first.observed[1:] for other in second.observed[1:]
    ]
    return np.stack(columns, axis=1).astype(float)


def _rows(comparable: Sequence[Levels], first: Factor, second: Factor, main: Design) -> np.ndarray:
    """What takes (one - two at a) - (one - two at b) from the coefficients, float [num_comparable, num_columns]."""
    width = len(second.observed) - 1
    start = main.columns.shape[1]
    rows = np.zeros((len(comparable), start + (len(first.observed) - 1) * width))
    for row, (one, two, a, b) in zip(rows, comparable, strict=True):
        for sign, level, other in ((1, one, a), (-1, two, a), (-1, one, b), (1, two, b)):
            place, across = first.observed.index(level), second.observed.index(other)
            if place and across:
                row[start + (place - 1) * width + across - 1] += sign
    return rows


def _sentence(pair: _Pair, levels: Levels, difference: Estimate, unit: Unit) -> str:
    one, two = (pair.first.levels[level] for level in levels[:2])
    a, b = (pair.second.levels[level] for level in levels[2:])
    larger, smaller = (a, b) if difference.value > 0 else (b, a)
    found = difference if difference.value > 0 else negated(difference)
    return (
        f"{one} minus {two} ({pair.first.key}) is {unit.number(found.value)}{unit.name} higher with {larger} than with "
        f"{smaller} ({pair.second.key}) {unit.interval(found)}"
    )
