"""What repeating a recipe with other seeds and folds shows: a mean, and how far to trust it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from study.confirm_definition import Alteration
from study.intervals import Place, held_out_ratio, mean_interval


@dataclass(frozen=True)
class Interval:
    """A mean over repetitions.

    Attributes:
        low, high: 95 % confidence interval of the mean (study/intervals.py).
    """

    mean: float
    sd: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Confirmed:
    """One recipe, repeated.

    Attributes:
        trial: of the search, that had the recipe.
        val, test: the objective's metric on either split.
        altered: likewise on altered copies of the test split.
    """

    trial: int
    searched: Mapping[str, Any]
    val: Interval
    test: Interval
    altered: Mapping[Alteration, Interval] = field(default_factory=dict)


def interval_of(values: Mapping[Place, float], num_folds: int) -> Interval | None:
    """Mean, standard deviation and interval; None for fewer than two values that differ in fold (or, without folds, seed)."""
    found = mean_interval(values, held_out_ratio(num_folds))
    return None if found is None else Interval(found.mean, found.sd, found.low, found.high, found.n)
