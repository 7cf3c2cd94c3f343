"""Learning curves with a known optimum, noise, and ranks that cross: what a search is tried on where nothing was recorded."""

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from study.search.simulator.curves import Recorded
from study.space import Choices, Distribution, Range, SearchSpace

NUM_SEEDS = 5
CHANCE, CEILING = 0.1, 0.92


class SyntheticCurves:
    """Accuracies of a made-up task over any search space; two tasks of the same seed and other `shift`s are related.

    A category costs a fixed part of the height, a number the square of its distance from a hidden optimum; the optimum of the
    first logarithmic range (a learning rate) depends on the first category. A recipe far from the best on one side rises
    slowly, and the best rise at middling speed: ranks at the first epochs mislead.
    """

    def __init__(self, space: SearchSpace, num_epochs: int, seed: int, noise: float = 0.01, shift: float = 0.0) -> None:
        """Args:
        noise: standard deviation between seeds, and again between the epochs of one seed.
        shift: how far the optima of numbers lie from those of the same seed without it, in shares of their ranges.
        """
        self._keys, self._num_epochs, self._seed, self._noise = list(space.items()), num_epochs, seed, noise
        rng = np.random.default_rng(seed)
        self._category_losses = {key: rng.permutation(np.linspace(0.0, rng.uniform(0.02, 0.12), 8)) for key, _ in self._keys}
        self._optima = {key: rng.uniform(0.2, 0.8) for key, _ in self._keys}
        self._steepness = {key: rng.uniform(0.02, 0.3) for key, _ in self._keys}
        self._slowness = {key: rng.uniform(-1.0, 1.0) for key, _ in self._keys}
        self._optima = {key: float(np.clip(optimum + shift, 0.05, 0.95)) for key, optimum in self._optima.items()}
        self._rate = next(
            (key for key, distribution in self._keys if isinstance(distribution, Range) and distribution.log), None
        )
        self._switch = next((key for key, distribution in self._keys if isinstance(distribution, Choices)), None)
        self.best_quality = CEILING

    def of(self, searched: Mapping[str, Any]) -> Recorded:
        """The recipe's curves."""
        height, slowness = CEILING, 2.0
        for key, distribution in self._keys:
            if key in searched:
                offset = self._offset(key, distribution, searched)
                height -= self._loss(key, distribution, searched[key], offset)
                slowness += self._slowness[key] * offset
        recipe_seed = zlib.crc32(repr((self._seed, sorted(searched.items()))).encode())
        costs = {"parameters_m": 5 + 40 * float(np.clip(height, 0, 1)) ** 2}
        mean_curve = self._mean_curve(height, max(0.3, slowness))
        return Recorded(self._noisy(mean_curve, recipe_seed), float(mean_curve.max()), 1.0, costs)

    def _offset(self, key: str, distribution: Distribution, searched: Mapping[str, Any]) -> float:
        """How far a number lies from its optimum, in shares of its range."""
        if isinstance(distribution, Choices):
            return 0.0
        optimum = self._optima[key]
        if key == self._rate and self._switch is not None:
            optimum += 0.15 * (zlib.crc32(str(searched[self._switch]).encode()) % 3 - 1)
        return _share(distribution, searched[key]) - optimum

    def _loss(self, key: str, distribution: Distribution, value: Any, offset: float) -> float:
        if isinstance(distribution, Choices):
            losses = self._category_losses[key][: len(distribution.choices)]
            return float(losses[distribution.choices.index(value)] - losses.min())
        steepness = 1.2 if key == self._rate else self._steepness[key]
        return steepness * offset**2

    def _mean_curve(self, height: float, slowness: float) -> np.ndarray:
        """Float [num_epochs]."""
        rise = 1 - np.exp(-np.arange(1, self._num_epochs + 1) / slowness)
        return np.asarray(CHANCE + (max(height, CHANCE) - CHANCE) * rise)

    def _noisy(self, mean_curve: np.ndarray, seed: int) -> np.ndarray:
        """Float [NUM_SEEDS, num_epochs]."""
        rng = np.random.default_rng(seed)
        noise = rng.normal(0, self._noise, (NUM_SEEDS, 1)) + rng.normal(0, self._noise, (NUM_SEEDS, self._num_epochs))
        return np.clip(mean_curve + noise, 0, 1)


def _share(distribution: Range, value: float) -> float:
    low, high = float(distribution.low), float(distribution.high)
    if distribution.log:
        low, high, value = np.log(low), np.log(high), np.log(value)
    return (value - low) / (high - low)
