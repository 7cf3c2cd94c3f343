"""Recorded learning curves: what a trial would have shown, had it been trained."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from study.errors import DataError
from study.space import Choices, Distribution, Range, SearchSpace
from study.trial import flatten

# A recorded recipe with another category is further away than any difference of numbers: at most 1 a key.
CATEGORY_WEIGHT = 100.0
MIN_WEIGHT = 0.02  # of a number that explains nothing: between equals, the nearest all the same
NUM_BINS = 8


@dataclass(frozen=True)
class Recorded:
    """One recipe's curves.

    Attributes:
        curves: the objective after each epoch, float [num_seeds, num_epochs].
        quality: what the recipe is worth, as far as is known: the regret's measure, which no search sees.
        epoch_s: seconds of an epoch.
        costs: quantities of its model.
    """

    curves: np.ndarray
    quality: float
    epoch_s: float
    costs: Mapping[str, float]


class Curves(Protocol):
    """Something that knows every recipe's curves."""

    @property
    def best_quality(self) -> float:
        """The best recipe's quality."""

    def of(self, searched: Mapping[str, Any]) -> Recorded:
        """The curves of a recipe, or of the nearest one."""


def quality(curves: np.ndarray, is_maximized: bool = True) -> float:
    """What recorded curves say that a recipe is worth: its best epoch, mean over the seeds."""
    return float((curves.max(axis=1) if is_maximized else curves.min(axis=1)).mean())


class CurveTable:
    """Recorded recipes of one search space; a recipe that was not recorded is answered by the nearest that was.

    Nearest: the same categories if there are any such, then the smallest sum of differences of the numbers, each in shares of
    its range (of its logarithm's where the range is logarithmic) and weighted by how much of the recorded quality it explains.
    """

    def __init__(
        self,
        space: SearchSpace,
        recipes: Sequence[Mapping[str, Any]],
        curves: np.ndarray,
        epoch_s: np.ndarray,
        costs: Mapping[str, np.ndarray] | None = None,
        is_maximized: bool = True,
    ) -> None:
        """Args:
        recipes: searched values by dotted key, those whose condition does not hold left out.
        curves: the objective, float [num_recipes, num_seeds, num_epochs].
        epoch_s: seconds of one epoch, float [num_recipes].
        costs: quantities of the models, each float [num_recipes].
        """
        if not len(recipes) == len(curves) == len(epoch_s) > 0:
            raise DataError(
                f"a table of curves needs one curve and one duration a recipe, but has {len(recipes)} recipes, {len(curves)} "
                f"curves and {len(epoch_s)} durations. Record it again."
            )
        self.recipes = tuple(dict(recipe) for recipe in recipes)
        self.curves, self.epoch_s, self.costs = curves, epoch_s, dict(costs or {})
        self.is_maximized = is_maximized
        self._keys = list(space.items())
        self.places = np.array([self.place(recipe) for recipe in self.recipes])
        self.is_category = np.array([isinstance(distribution, Choices) for _, distribution in self._keys])
        self.qualities = qualities = np.array([quality(its_curves, is_maximized) for its_curves in curves])
        self.best_quality = float(qualities.max() if is_maximized else qualities.min())
        explained = np.array([_explained(column, qualities) for column in self.places.T])
        self._weights = np.where(self.is_category, CATEGORY_WEIGHT, MIN_WEIGHT + explained)

    def of(self, searched: Mapping[str, Any]) -> Recorded:
        """The curves of the nearest recorded recipe."""
        index = self.nearest(searched)
        costs = {quantity: float(values[index]) for quantity, values in self.costs.items()}
        return Recorded(self.curves[index], float(self.qualities[index]), float(self.epoch_s[index]), costs)

    def nearest(self, searched: Mapping[str, Any]) -> int:
        """The place of the nearest recorded recipe, the first of equals."""
        gaps = np.abs(self.places - self.place(searched))
        gaps = np.where(np.isnan(gaps), np.isnan(self.places) ^ np.isnan(self.place(searched)), gaps)
        return int((np.where(self.is_category, gaps > 0, gaps) * self._weights).sum(axis=1).argmin())

    def save(self, file: Path) -> None:
        """Writes the table as one .npz without pickled objects."""
        recipes = np.array(json.dumps(self.recipes))
        arrays: dict[str, Any] = {f"cost.{quantity}": values for quantity, values in self.costs.items()}
        arrays |= {"recipes": recipes, "curves": self.curves, "epoch_s": self.epoch_s, "is_maximized": self.is_maximized}
        np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, file: Path, space: SearchSpace) -> "CurveTable":
        """The table in a file.

        Raises:
            DataError: if the file is no such table.
        """
        try:
            with np.load(file, allow_pickle=False) as arrays:
                recipes = [flatten(recipe) for recipe in json.loads(str(arrays["recipes"]))]
                costs = {name.removeprefix("cost."): arrays[name] for name in arrays if name.startswith("cost.")}
                return cls(space, recipes, arrays["curves"], arrays["epoch_s"], costs, bool(arrays["is_maximized"]))
        except (OSError, KeyError, ValueError) as error:
            raise DataError(
                f"a table of curves must be an .npz that `CurveTable.save` wrote, but {file} is not: {error}. Record it again."
            ) from None

    def place(self, recipe: Mapping[str, Any]) -> np.ndarray:
        """Where a recipe lies: a category's number, a number's share of its range, NaN for a key that is not searched."""
        return np.array([_coordinate(distribution, recipe.get(key)) for key, distribution in self._keys])


def _explained(column: np.ndarray, qualities: np.ndarray) -> float:
    """The share of the qualities' variance that lies between bins of a number, in [0, 1] (the correlation ratio)."""
    is_searched = ~np.isnan(column)
    values, found = column[is_searched], qualities[is_searched]
    if len(found) < NUM_BINS or found.var() == 0:
        return 0.0
    bins = np.clip((values * NUM_BINS).astype(int), 0, NUM_BINS - 1)
    between = sum((bins == number).mean() * (found[bins == number].mean() - found.mean()) ** 2 for number in set(bins))
    return float(between / found.var())


def _coordinate(distribution: Distribution, value: Any) -> float:
    if value is None:
        return float("nan")
    if isinstance(distribution, Choices):
        return float(distribution.choices.index(value)) if value in distribution.choices else -1.0
    return _share(distribution, float(value))


def _share(distribution: Range, value: float) -> float:
    low, high = float(distribution.low), float(distribution.high)
    if distribution.log:
        low, high, value = np.log(low), np.log(high), np.log(value)
    return (value - low) / (high - low)
