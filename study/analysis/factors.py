"""Searched keys as factors with levels: choices as they are, numbers as thirds of the searched range on its own scale."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from study.analysis.evidence import StudyEvidence, TrialEvidence
from study.space import Choices, Distribution, Range, Scalar
from study.trial import REPETITION_KEYS

NUM_RANGES = 3  # of a range of numbers: low, middle, high; more would leave too few trials to each in a study of 50
MAX_STEPS = 5  # a range of so many values or fewer is taken value by value
BLOCKS = REPETITION_KEYS  # adjusted for, never a factor


@dataclass(frozen=True)
class Factor:
    """One searched key over some trials.

    Attributes:
        codes: each trial's level, int [num_trials]; -1 where the key is not searched or its value lies outside.
        places: where in its range a number lies, -0.5 to 0.5, float [num_trials]; None for a factor of choices.
        outside: rows of the trials that have a value which is no level, with that value.
    """

    key: str
    levels: Sequence[str]
    codes: np.ndarray
    places: np.ndarray | None = None
    outside: Mapping[int, Any] = field(default_factory=dict)

    @property
    def is_choice(self) -> bool:
        """Whether its levels are values, not ranges of them."""
        return self.places is None

    @cached_property
    def observed(self) -> list[int]:
        """The levels that some trial has."""
        return [int(code) for code in np.unique(self.codes) if code >= 0]

    def of(self, rows: np.ndarray) -> "Factor":
        """The same for some of the trials.

        Args:
            rows: bool or int [num_trials].
        """
        return Factor(self.key, self.levels, self.codes[rows], None if self.places is None else self.places[rows])


def factors_of(studies: Sequence[StudyEvidence], trials: Sequence[TrialEvidence]) -> list[Factor]:
    """Every key that some study searches, blocks included, in the order of their first search space."""
    by_key: dict[str, list[Distribution]] = {}
    for study in studies:
        for key, distribution in study.definition.space.items():
            by_key.setdefault(key, []).append(distribution)
    searching = {study.name: frozenset(key for key, _ in study.definition.space.items()) for study in studies}
    return [_factor(key, _union(found), [_value(key, one, searching) for one in trials]) for key, found in by_key.items()]


def _value(key: str, trial: TrialEvidence, searching: Mapping[str, frozenset[str]]) -> Any:
    """A trial's value; None where its study searches the key, but not under this trial's other values."""
    return trial.searched.get(key) if key in searching[trial.study] else trial.recipe.get(key)


def _union(distributions: Sequence[Distribution]) -> Distribution:
    """One distribution that holds those of several studies, as far as they are of one kind.

    Choices of numbers beside a range are values of a wider range; choices of anything else cannot be.
    """
    if all(isinstance(one, Choices) for one in distributions):
        return Choices(choices=tuple(_distinct(choice for one in distributions for choice in one.grid())))
    values = [value for one in distributions for value in one.examples()]
    bounds = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    ranges = [one for one in distributions if isinstance(one, Range)]
    low, high = min(bounds), max(bounds)
    is_log = all(one.log for one in ranges) and low > 0
    whole = Range(low=low, high=high, log=is_log, step=None if is_log else _shared_step(distributions))
    # Where the studies' values lie on no common grid, all of them are numbers of a range without steps.
    holds_all = all(whole.fit(value) is not None for value in bounds)
    return whole if holds_all else Range(low=float(low), high=float(high), log=is_log)


def _distinct(choices: Iterable[Scalar]) -> list[Scalar]:
    """Each once: 1 and 1.0 are one, 1 and true are two."""
    return list({(choice, isinstance(choice, bool)): choice for choice in choices}.values())


def _shared_step(distributions: Sequence[Distribution]) -> float | None:
    """Of ranges that all have the same; None where one has none, or choices stand beside them."""
    steps = {one.step if isinstance(one, Range) else None for one in distributions}
    return next(iter(steps)) if len(steps) == 1 else None


def _factor(key: str, distribution: Distribution, values: Sequence[Any]) -> Factor:
    fitting = [None if value is None else distribution.fit(value) for value in values]
    outside = {row: value for row, value in enumerate(values) if value is not None and fitting[row] is None}
    return replace(_placed(key, distribution, fitting), outside=outside)


def _placed(key: str, distribution: Distribution, fitting: Sequence[Any]) -> Factor:
    if isinstance(distribution, Range) and (distribution.is_endless or len(distribution.grid()) > MAX_STEPS):
        return _ranged(key, distribution, fitting)
    codes = np.array([-1 if value is None else _index(value, distribution) for value in fitting], dtype=int)
    return Factor(key, tuple(map(format_value, distribution.grid())), codes)


def _index(value: Any, distribution: Distribution) -> int:
    """The place of a value on the grid; a fraction is as near to its step as floats are."""
    if isinstance(distribution, Range):
        steps: float = (value - distribution.low) / (distribution.step or 1)
        return round(steps)
    return next(index for index, choice in enumerate(distribution.choices) if choice is value or choice == value)


def _ranged(key: str, distribution: Range, values: Sequence[Any]) -> Factor:
    low, high = _scaled(distribution.low, distribution), _scaled(distribution.high, distribution)
    shares = np.array([np.nan if value is None else (_scaled(value, distribution) - low) / (high - low) for value in values])
    thirds = np.clip(np.nan_to_num(shares) * NUM_RANGES, 0, NUM_RANGES - 1e-9)
    codes = np.where(np.isnan(shares), -1, thirds.astype(int))
    bounds = [low + (high - low) * index / NUM_RANGES for index in range(NUM_RANGES + 1)]
    words = [format_value(_rounded(math.exp(bound) if distribution.log else bound)) for bound in bounds]
    names = tuple(f"{start} to {end}" for start, end in pairwise(words))
    return Factor(key, names, codes, np.where(np.isnan(shares), 0.0, thirds - codes - 0.5))


def _scaled(value: Any, distribution: Range) -> float:
    return math.log(value) if distribution.log else float(value)


def _rounded(value: float) -> float:
    """To two digits: the bounds of ranges are told, not used again."""
    return float(f"{value:.2g}")


def format_value(value: Any) -> str:
    """A value as people write it: 1e-4 instead of 0.0001, true as in the definition."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        if value == 0 or 1e-3 <= abs(value) < 1e6:
            return f"{value:g}"
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return str(value)
