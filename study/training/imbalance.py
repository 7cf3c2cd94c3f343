"""What is done about unequal class sizes: which photos an epoch shows, and what each class weighs in the loss.

Every strategy only chooses positions, so that photos and cached activations are read alike.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from study.training.batches import Indices
from study.trial import Imbalance

Weights = npt.NDArray[np.float32]


class Strategy(Protocol):
    """One way to treat unequal class sizes."""

    @property
    def class_weights(self) -> Weights | None:
        """Factors of the classes' losses, float32 [num_classes]; None if all weigh the same."""

    @property
    def num_shown(self) -> int:
        """How many photos an epoch shows."""

    def epoch_order(self, epoch: int) -> Indices:
        """Positions of the photos that the 1-based `epoch` shows, in their order; the same for the same seed."""


@dataclass(frozen=True, eq=False)
class _Shuffled:
    """Each of `indices` once an epoch."""

    indices: Indices
    seed: int
    class_weights: Weights | None = None

    @property
    def num_shown(self) -> int:
        return len(self.indices)

    def epoch_order(self, epoch: int) -> Indices:
        return _generator(self.seed, epoch).permutation(self.indices)


@dataclass(frozen=True, eq=False)
class _Drawn:
    """As many draws with replacement as there are `indices`, each drawn with its `probabilities`."""

    indices: Indices
    probabilities: npt.NDArray[np.float64]
    seed: int
    class_weights: Weights | None = None

    @property
    def num_shown(self) -> int:
        return len(self.indices)

    def epoch_order(self, epoch: int) -> Indices:
        return _generator(self.seed, epoch).choice(self.indices, size=len(self.indices), p=self.probabilities)


def make_strategy(kind: Imbalance, indices: Indices, labels: npt.NDArray[np.int64], num_classes: int, seed: int) -> Strategy:
    """The strategy for the photos at `indices`.

    Args:
        indices: of the training split.
        labels: of all photos, int64 [num_photos].
    """
    if kind == "none":  # also of numbers, which have no labels
        return _Shuffled(indices, seed)
    counts = np.bincount(labels[indices], minlength=num_classes)
    match kind:
        case "weighted_loss":
            return _Shuffled(indices, seed, class_weights=inverse_frequencies(counts).astype(np.float32))
        case "balanced_subset":
            return _Shuffled(_balanced_subset(indices, labels, counts, seed), seed)
        case "weighted_sampling":
            weights = inverse_frequencies(counts)[labels[indices]]
            return _Drawn(indices, weights / weights.sum(), seed)


def inverse_frequencies(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """w_c = (1/n_c) / Σ_j (1/n_j), float64 [num_classes]: sums to 1, larger for rarer classes.

    Args:
        counts: photos of each class, [num_classes]; a class without any gets 0 and is left out of the sum.
    """
    present = counts > 0
    inverse: npt.NDArray[np.float64] = np.where(present, 1 / np.maximum(counts, 1), 0.0)
    inverse /= inverse.sum()
    return inverse


def _balanced_subset(indices: Indices, labels: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], seed: int) -> Indices:
    """As many photos of each class as the rarest has, drawn once: every epoch shows the same ones."""
    num_kept = counts[counts > 0].min()
    generator = _generator(seed, epoch=0)  # epochs begin at 1
    of_class = [indices[labels[indices] == label] for label in np.flatnonzero(counts)]
    return np.sort(np.concatenate([generator.choice(members, size=num_kept, replace=False) for members in of_class]))


def _generator(seed: int, epoch: int) -> np.random.Generator:
    """Apart for each epoch, so that epoch k is the same whether or not epochs before it were run in this process."""
    return np.random.default_rng([seed, epoch])
