"""Recorded curves without their noise in what a recipe is worth, for any recipe between those that were recorded.

A table alone is no fair judge of a search. Its best recipe is best by luck: of 3,000 means over three seeds that are each
0.008 off, the highest is 0.02 above what it is worth. Who looks up the most different recipes finds luck, and that is random
search. So a Gaussian process is fitted to the table: its mean is the recipe's curve, and the noise that recipes of the same
worth usually have is put on top of it for the search to see.
"""

import warnings
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern, WhiteKernel

from study.search.simulator.curves import CurveTable, Recorded
from study.space import Choices, SearchSpace

NUM_FITTED = 700  # recipes that the kernel's lengths are fitted to: the time is cubic in it
NUM_ALIKE = 101  # recipes of about the same worth
NUM_SEEDS = 5
NUM_SEARCHED = 20_000  # random recipes that the best is looked for among, before it is improved


def _usual(deviations: np.ndarray) -> np.ndarray:
    """The running median over recipes of about the same worth: a seed that diverged is an exception, and no noise."""
    half = NUM_ALIKE // 2
    windows = (deviations[max(0, place - half) : place + half + 1] for place in range(len(deviations)))
    return np.array([np.median(window, axis=0) for window in windows])


def _squared(features: np.ndarray) -> np.ndarray:
    """A constant, the features and their squares, float [num_places, 1 + 2 num_features]."""
    return np.hstack([np.ones((len(features), 1)), features, features**2])


class SmoothedCurves:
    """A table's curves as a smooth function of the recipe."""

    def __init__(self, table: CurveTable, space: SearchSpace, has_costs: bool = False) -> None:
        """Args:
        has_costs: an epoch takes as long as those of recipes like it were recorded to take; else 1 s.
        """
        self._table, self._has_costs = table, has_costs
        self._num_choices = [
            len(distribution.choices) if isinstance(distribution, Choices) else 0 for _, distribution in space.items()
        ]
        curves = table.curves.astype(float)
        self._mean_curves = curves.mean(axis=1)
        order = np.argsort(table.qualities)
        self._qualities = table.qualities[order]
        residuals = curves - self._mean_curves[:, None, :]
        by_seed = residuals.mean(axis=2)
        self._seed_sd = _usual(by_seed.std(axis=1, ddof=1)[order])
        self._epoch_sd = _usual((residuals - by_seed[:, :, None]).std(axis=1, ddof=1)[order])
        self._features = self._encoded(table.places)
        self._center = self._mean_curves.mean(axis=0)
        self._kernel, self._noise = self._fitted_kernel()
        covariance = self._kernel(self._features) + self._noise * np.eye(len(self._features))
        self._weights = np.linalg.solve(covariance, self._mean_curves - self._center)
        self._cost_weights = np.linalg.lstsq(_squared(self._features), np.log(table.epoch_s), rcond=None)[0]
        self.best_quality = self._best_quality()

    def of(self, searched: Mapping[str, Any]) -> Recorded:
        """The recipe's smooth curve, with the noise that recipes of its worth usually have: bad ones are noisier."""
        place = self._table.place(searched)
        mean_curve = self._predicted(place[None])[0]
        worth = float(mean_curve.max())
        level = min(int(np.searchsorted(self._qualities, worth)), len(self._qualities) - 1)
        rng = np.random.default_rng(zlib.crc32(place.tobytes()))
        by_seed = rng.normal(0, self._seed_sd[level], (NUM_SEEDS, 1))
        noise = by_seed + rng.normal(0, self._epoch_sd[level], (NUM_SEEDS, len(mean_curve)))
        return Recorded(np.clip(mean_curve + noise, 0, 1), worth, self.epoch_s(place) if self._has_costs else 1.0, {})

    def epoch_s(self, place: np.ndarray) -> float:
        """Seconds of an epoch of a recipe, as those like it took: a shared machine makes each alone an accident."""
        return float(np.exp((_squared(self._encoded(place[None])) @ self._cost_weights)[0]))

    def explained(self, share: float = 0.2) -> float:
        """R² of the best epoch on recipes that were left out."""
        num_left_out = int(share * len(self._features))
        kept = slice(num_left_out, None)
        covariance = self._kernel(self._features[kept])
        weights = np.linalg.solve(covariance + self._noise * np.eye(len(covariance)), self._mean_curves[kept] - self._center)
        predicted = self._kernel(self._features[:num_left_out], self._features[kept]) @ weights + self._center
        found, told = self._mean_curves[:num_left_out].max(axis=1), predicted.max(axis=1)
        return float(1 - ((found - told) ** 2).mean() / found.var())

    def _fitted_kernel(self) -> tuple[Any, float]:
        """The kernel with one length a feature, and the noise, by the likelihood of the best epoch.

        The roughest Matérn kernel: smoother ones swing past what can be reached, beside the cliff where trainings diverge.
        Of the 20,000 recipes that were not recorded, the ten that it held to be the best were predicted 0.727 and trained to
        0.716 (four seeds each); with the smoothest, 0.744.
        """
        kernel = Matern(np.full(self._features.shape[1], 1.0), (0.05, 200.0), nu=0.5) + WhiteKernel(0.1, (1e-3, 1.0))
        process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a length at its bound: the feature does not matter
            process.fit(self._features[:NUM_FITTED], self._mean_curves[:NUM_FITTED].max(axis=1))
        return process.kernel_.k1, float(process.kernel_.k2.noise_level)

    def _encoded(self, places: np.ndarray) -> np.ndarray:
        """Numbers as they are, in the middle where they are not searched; categories as one column each."""
        columns = []
        for column, num_choices in zip(places.T, self._num_choices, strict=True):
            if num_choices:
                columns += [(column == choice).astype(float) for choice in range(num_choices)]
            else:
                columns.append(np.where(np.isnan(column), 0.5, column))
        return np.stack(columns, axis=1)

    def _predicted(self, places: np.ndarray) -> np.ndarray:
        """Mean curves, float [num_places, num_epochs]."""
        return np.asarray(self._kernel(self._encoded(places), self._features) @ self._weights + self._center)

    def _best_quality(self) -> float:
        """Of many random recipes, and of the neighbours of the best of them."""
        rng = np.random.default_rng(0)
        places = self._table.places[rng.integers(len(self._table.places), size=NUM_SEARCHED)]
        is_number = ~self._table.is_category
        best = -np.inf
        for width in (0.5, 0.1, 0.03, 0.01):
            moved = places.copy()
            moved[:, is_number] = np.clip(moved[:, is_number] + rng.normal(0, width, moved[:, is_number].shape), 0, 1)
            qualities = np.concatenate([self._predicted(part).max(axis=1) for part in np.array_split(moved, 20)])
            best = max(best, float(qualities.max()))
            places = moved[np.argsort(qualities)[-20:]][rng.integers(20, size=NUM_SEARCHED // 4)]
        return best
