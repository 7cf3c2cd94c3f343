"""What pruned trials would have reached: drawn several times from a model of all curves.

A pruner looks only at what a trial has shown so far, so the curves themselves tell why some of them end early, and a model of
them that is fitted to every measured epoch need not know the pruner (ignorable dropout; Little & Rubin 2019, "Statistical
Analysis with Missing Data", ch. 6 and 10). Each curve is a sum of a constant and three exponentials, whose coefficients are
normal around what the recipe's factors make of them; factors are shrunk towards no effect, as far as the curves agree. The
rest of each pruned curve is drawn from the posterior (Gibbs sampling), noise of the single epochs included.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NUM_DRAWS = 30
NUM_WARM_UP = 150  # sweeps of the sampler before the first draw; bench_coverage.py gives the same coverage with 600
SWEEPS_A_DRAW = 8
MIN_FINISHED = 3  # completed trials, without which nobody knows how a curve goes on
NUM_TERMS = 4  # a constant and three paces: 1 epoch, half of all epochs, and the geometric mean of both
PRIOR_SHARE = 0.1  # of the variance of all values, that curves are thought to differ by before they are seen


@dataclass
class _Sample:
    """The model's unknowns in one sweep.

    Attributes:
        terms: each curve's coefficients, float [num_trials, NUM_TERMS].
        effects: of the factors on the coefficients, float [num_columns, NUM_TERMS].
        spread: covariance of the coefficients between recipes of the same factors, float [NUM_TERMS, NUM_TERMS].
        noise: variance of a single epoch.
        reach: prior variance of the effects, in shares of `spread`.
    """

    terms: np.ndarray
    effects: np.ndarray
    spread: np.ndarray
    noise: float
    reach: float


def draw_endings(
    curves: Sequence[Sequence[float]],
    is_complete: np.ndarray,
    horizons: np.ndarray,
    factors: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """The best epoch's value of each trial had it run to its end, float [num_trials, NUM_DRAWS]; higher is better.

    Args:
        curves: the objective after each epoch, as far as it was measured; at least one epoch each.
        is_complete: bool [num_trials]; at least MIN_FINISHED of them.
        horizons: epochs that each trial would have had, int [num_trials].
        factors: numbers that tell the recipes apart, float [num_trials, num_columns].
    """
    model = _CurveModel(curves, int(horizons.max()), factors, rng)
    best = np.array([max(curve) for curve in curves])
    lengths = np.array([len(curve) for curve in curves])
    epochs = np.arange(1, int(horizons.max()) + 1)
    is_open = (epochs > lengths[:, None]) & (epochs <= horizons[:, None]) & ~is_complete[:, None]
    found = np.empty((len(curves), NUM_DRAWS))
    for draw in range(NUM_DRAWS):
        for _ in range(SWEEPS_A_DRAW if draw else NUM_WARM_UP):
            model.sweep()
        found[:, draw] = np.maximum(best, np.where(is_open, model.predicted(), -np.inf).max(axis=1))
    return found


def exponentials(num_epochs: int) -> np.ndarray:
    """The terms of a curve, orthonormal over the epochs, float [num_epochs, up to NUM_TERMS]; the first is constant."""
    epochs = np.arange(1, num_epochs + 1)
    paces = np.geomspace(1.0, max(num_epochs / 2, 2.0), NUM_TERMS - 1)
    columns = np.stack([np.ones(num_epochs), *(np.exp(-epochs / pace) for pace in paces)], axis=1)
    basis: np.ndarray = np.linalg.qr(columns[:, :num_epochs])[0]
    return basis


class _CurveModel:
    """Curves around what their factors make of them: conjugate, so that each unknown is drawn given all others."""

    def __init__(
        self, curves: Sequence[Sequence[float]], num_epochs: int, factors: np.ndarray, rng: np.random.Generator
    ) -> None:
        self._rng = rng
        self._basis = exponentials(num_epochs)
        num_terms = self._basis.shape[1]
        lengths = np.array([len(curve) for curve in curves])
        known, self._group = np.unique(lengths, return_inverse=True)
        self._grams = np.stack([self._basis[:length].T @ self._basis[:length] for length in known])
        flat = np.concatenate([np.asarray(curve, dtype=float) for curve in curves])
        self._mean = float(flat.mean())
        centred = [np.asarray(curve, dtype=float) - self._mean for curve in curves]
        self._projected = np.stack([self._basis[: len(curve)].T @ curve for curve in centred])
        self._squares = float(sum((curve**2).sum() for curve in centred))
        self._num_values = len(flat)
        self._columns = np.hstack([np.ones((len(curves), 1)), factors - factors.mean(axis=0)])
        self._gram = self._columns.T @ self._columns
        variance = max(float(flat.var()), 1e-12)
        # A constant of height v has the coefficient v times the root of the number of epochs in an orthonormal basis.
        self._prior_spread = PRIOR_SHARE * variance * num_epochs * np.eye(num_terms) / num_terms
        self._prior_noise = 1e-3 * variance
        self._sample = _Sample(
            terms=np.zeros((len(curves), num_terms)),
            effects=np.zeros((self._columns.shape[1], num_terms)),
            spread=self._prior_spread * 10,
            noise=0.1 * variance,
            reach=0.1,
        )

    def sweep(self) -> None:
        """Draws every unknown once."""
        self._draw_terms()
        self._draw_noise()
        self._draw_effects()
        self._draw_spread()

    def predicted(self) -> np.ndarray:
        """New measurements of every curve at every epoch, float [num_trials, num_epochs]."""
        curves: np.ndarray = self._mean + self._sample.terms @ self._basis.T
        curves += np.sqrt(self._sample.noise) * self._rng.standard_normal(curves.shape)
        return curves

    def _draw_terms(self) -> None:
        sample = self._sample
        precision = np.linalg.inv(sample.spread)
        covariances = np.linalg.inv(precision + self._grams / sample.noise)
        roots = np.linalg.cholesky(covariances)
        pulled = self._columns @ sample.effects @ precision + self._projected / sample.noise
        means = np.einsum("nij,nj->ni", covariances[self._group], pulled)
        sample.terms = means + np.einsum("nij,nj->ni", roots[self._group], self._rng.standard_normal(means.shape))

    def _draw_noise(self) -> None:
        terms = self._sample.terms
        fitted = np.einsum("ni,nij,nj->", terms, self._grams[self._group], terms)
        misfit = self._squares - 2 * float((terms * self._projected).sum()) + float(fitted)
        self._sample.noise = (misfit + self._prior_noise) / float(self._rng.chisquare(self._num_values + 1))

    def _draw_effects(self) -> None:
        sample = self._sample
        prior = np.full(len(self._gram), 1 / sample.reach)
        prior[0] = 1e-6  # the mean curve is the data's own
        covariance = np.linalg.inv(self._gram + np.diag(prior))
        mean = covariance @ self._columns.T @ sample.terms
        draws = self._rng.standard_normal(mean.shape)
        sample.effects = mean + np.linalg.cholesky(covariance) @ draws @ np.linalg.cholesky(sample.spread).T
        own = sample.effects[1:]
        size = float(np.einsum("ij,jk,ik->", own, np.linalg.inv(sample.spread), own))
        sample.reach = (size + 0.1) / float(self._rng.chisquare(own.size + 1))

    def _draw_spread(self) -> None:
        sample = self._sample
        rest = sample.terms - self._columns @ sample.effects
        own = sample.effects[1:]
        scale = self._prior_spread + rest.T @ rest + own.T @ own / sample.reach
        num_terms = len(scale)
        degrees = num_terms + 2 + len(rest) + len(own)
        # An inverse Wishart draw: the inverse of the sum of `degrees` outer products of normal vectors (Bartlett 1933).
        root = np.linalg.cholesky(np.linalg.inv(scale))
        lower = np.tril(self._rng.standard_normal((num_terms, num_terms)), -1)
        lower += np.diag(np.sqrt(self._rng.chisquare(degrees - np.arange(num_terms))))
        factor = root @ lower
        sample.spread = np.linalg.inv(factor @ factor.T)
