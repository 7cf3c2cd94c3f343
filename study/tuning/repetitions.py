"""What repeating a recipe with other seeds and folds shows: a mean, and how far to trust it."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import t as student_t

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over repetitions.

    Attributes:
        low, high: 95 % confidence interval of the mean, by Student's t with n - 1 degrees of freedom; repetitions share their
            test photos, so it tells how far seeds and folds move the figure, not how far other photos would.
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
    """

    trial: int
    searched: Mapping[str, Any]
    val: Interval
    test: Interval


def interval_of(values: Sequence[float]) -> Interval:
    """Mean, standard deviation and interval of two values or more."""
    mean, sd, n = statistics.fmean(values), statistics.stdev(values), len(values)
    half = float(student_t.ppf((1 + CONFIDENCE) / 2, n - 1)) * sd / n**0.5
    return Interval(mean, sd, mean - half, mean + half, n)
