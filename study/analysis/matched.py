"""Differences between levels, matched on all other factors: a linear model, and intervals that hold under unequal noise.

Where the levels were drawn at random or crossed in full, a factor's coefficients in the model of main effects are its effects
averaged over the other factors, whether or not the factors interact; HC2 keeps the intervals right where noise differs
between recipes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from scipy.stats import t as student_t

from study.analysis.factors import Factor
from study.analysis.findings import Estimate

CONFIDENCE = 0.95
MAX_LEVERAGE = 1 - 1e-6  # an observation that the model must fit exactly tells nothing of its own noise
TOLERANCE = 1e-8
RANK_TOLERANCE = 1e-10
MAX_EXACT = 300  # trials


@dataclass(frozen=True)
class Design:
    """The columns of a linear model.

    Attributes:
        columns: float [num_trials, num_columns]; the first is 1.
        slices: where each factor's levels lie; the first observed level of each has no column.
    """

    columns: np.ndarray
    factors: Sequence[Factor]
    slices: Sequence[slice]

    @classmethod
    def of(cls, factors: Sequence[Factor], extra: np.ndarray | None = None) -> Self:
        """A column for each observed level but the first, of each factor.

        Args:
            extra: further columns, float [num_trials, num_extra].
        """
        num_trials = len(factors[0].codes)
        blocks, slices, start = [np.ones((num_trials, 1))], [], 1
        for factor in factors:
            block = np.stack([factor.codes == level for level in factor.observed[1:]], axis=1) if factor.observed[1:] else None
            width = 0 if block is None else block.shape[1]
            blocks += [] if block is None else [block.astype(float)]
            slices.append(slice(start, start + width))
            start += width
        return cls(np.hstack([*blocks, *([] if extra is None else [extra])]), factors, slices)

    def contrast(self, factor: int, level: int, reference: int) -> np.ndarray:
        """The row that takes `level` minus `reference` of a factor from the coefficients, float [num_columns]."""
        row = np.zeros(self.columns.shape[1])
        place, observed = self.slices[factor], self.factors[factor].observed
        for sign, one in ((1.0, level), (-1.0, reference)):
            index = observed.index(one)
            if index:
                row[place.start + index - 1] += sign
        return row

    def marginal(self, factor: int, level: int) -> np.ndarray:
        """The row of the mean at a level, all else being as in the trials on average, float [num_columns]."""
        row: np.ndarray = self.columns.mean(axis=0)
        place, index = self.slices[factor], self.factors[factor].observed.index(level)
        row[place] = 0.0
        if index:
            row[place.start + index - 1] = 1.0
        return row

    @cached_property
    def fit(self) -> "Fit":
        """What the columns make of any values."""
        return Fit.of(self.columns)


@dataclass(frozen=True)
class Estimates:
    """Linear combinations of coefficients; NaN where the trials do not tell them. Each float [num_rows]."""

    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p_values: np.ndarray

    def at(self, index: int, n: int) -> Estimate:
        """One of them, which rests on `n` trials."""
        return Estimate(float(self.values[index]), float(self.low[index]), float(self.high[index]), n)

    def is_known(self, index: int) -> bool:
        """Whether it has an interval."""
        return bool(np.isfinite(self.low[index]) and self.high[index] > self.low[index])


@dataclass(frozen=True)
class Fit:
    """Least squares on some columns, whatever the values.

    Attributes:
        inverse: takes values to coefficients, float [num_columns, num_trials].
        leverage: how far each trial decides its own fitted value, 0 to 1, float [num_trials].
    """

    columns: np.ndarray
    inverse: np.ndarray
    leverage: np.ndarray

    @classmethod
    def of(cls, columns: np.ndarray) -> Self:
        """By the pseudo-inverse: what the trials do not tell apart may stay so.

        Args:
            columns: float [num_trials, num_columns].
        """
        gram = columns.T @ columns
        inverse = np.linalg.pinv(gram, rcond=RANK_TOLERANCE, hermitian=True) @ columns.T
        return cls(columns, inverse, np.einsum("ij,ji->i", columns, inverse))

    @property
    def rank(self) -> int:
        """How many coefficients the trials tell apart."""
        return round(float(self.leverage.sum()))

    def estimate(self, rows: np.ndarray, values: np.ndarray, degrees_between: float = np.inf) -> Estimates:
        """Linear combinations of coefficients with HC2 intervals; several draws of the values are pooled by Rubin's rules.

        Args:
            rows: float [num_rows, num_columns].
            values: the objective, float [num_trials, num_draws]; a trial that was measured has the same value in each draw.
            degrees_between: of freedom of what the draws were made from; the draws' own number bounds it.
        Source: HC2: MacKinnon & White 1985; its degrees of freedom: Bell & McCaffrey 2002; pooling: Rubin 1987.
        """
        influence = rows @ self.inverse
        is_fitted_exactly = self.leverage > MAX_LEVERAGE
        is_told = np.abs(influence @ self.columns - rows).max(axis=1) < TOLERANCE
        is_told &= ~(np.abs(influence[:, is_fitted_exactly]) > TOLERANCE).any(axis=1)
        residuals = values - self.columns @ (self.inverse @ values)
        weights = influence**2 / np.where(is_fitted_exactly, 1.0, 1 - self.leverage)
        degrees = self._degrees_of_freedom(weights)
        within = weights @ residuals**2
        scale = float(np.abs(values).max(initial=0.0))
        is_told &= (degrees > 1 - TOLERANCE) & (within.mean(axis=1) > (TOLERANCE * scale) ** 2)
        return _pooled(influence @ values, within, degrees, degrees_between, is_told)

    def _degrees_of_freedom(self, weights: np.ndarray) -> np.ndarray:
        """Of each variance that `weights` of the squared residuals estimate, float [num_rows].

        A level that few trials have is judged by their few residuals: its interval is that of few, however many trials there
        are. Past `MAX_EXACT` trials all that is left over is counted instead, which agrees within a few per cent of a width.

        Args:
            weights: float [num_rows, num_trials].
        """
        num_trials = len(self.columns)
        if num_trials > MAX_EXACT:
            return np.full(len(weights), num_trials - float(self.leverage.sum()))
        rest = np.eye(num_trials) - self.columns @ self.inverse
        means = weights @ np.diag(rest)
        spreads = np.einsum("ri,ri->r", weights @ rest**2, weights)
        degrees: np.ndarray = np.divide(means**2, spreads, out=np.zeros(len(weights)), where=spreads > 0)
        return degrees


def _pooled(
    found: np.ndarray, within: np.ndarray, degrees: np.ndarray, degrees_between: float, is_told: np.ndarray
) -> Estimates:
    """Rubin's rules, each part of the variance with its own degrees of freedom.

    Args:
        found, within: the estimate and its variance in each draw, float [num_rows, num_draws].
        degrees: of freedom of `within`, float [num_rows].
    Source: Rubin 1987; the degrees of freedom of a sum of variances: Satterthwaite 1946.
    """
    num_draws = found.shape[1]
    mean, inner = found.mean(axis=1), within.mean(axis=1)
    between = found.var(axis=1, ddof=1) * (1 + 1 / num_draws) if num_draws > 1 else np.zeros(len(mean))
    variance = inner + between
    uncertain = inner**2 / np.maximum(degrees, 1.0) + between**2 / max(min(degrees_between, num_draws - 1), 1.0)
    freedom = np.divide(variance**2, uncertain, out=np.ones(len(mean)), where=uncertain > 0)
    error = np.where(is_told & (variance > 0), np.sqrt(variance), np.nan)
    half = student_t.ppf((1 + CONFIDENCE) / 2, freedom) * error
    with np.errstate(invalid="ignore"):
        p_values = 2 * student_t.sf(np.abs(mean) / error, freedom)
    return Estimates(np.where(is_told, mean, np.nan), mean - half, mean + half, p_values)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number: the chance of even one false finding among all stays below the level.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(order), 0, -1)
    corrected = np.minimum(np.maximum.accumulate(np.asarray(p_values)[order] * factors), 1.0)
    found = np.empty(len(order))
    found[order] = corrected
    return [float(value) for value in found]
