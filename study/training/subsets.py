"""A share of the training examples, for learning curves: would more photos help?"""

import numpy as np

from study.training.batches import Indices


def draw_share(indices: Indices, labels: Indices, rows: Indices, share: float, seed: int) -> Indices:
    """Some of `indices`, ascending: of each class the share `share`, whole rows, at least one.

    With the same seed a smaller share is a part of every larger one, so that a learning curve moves by what is added alone.

    Args:
        indices: of the training split.
        labels: of all examples, int64 [num_examples]; all equal where the target is a number.
        rows: of all examples, int64 [num_examples]; those of one row show one thing, and come together.
        share: in (0, 1].
    """
    if share == 1:
        return indices
    parts = [
        _first_rows(indices[labels[indices] == label], rows, share, seed, int(label)) for label in np.unique(labels[indices])
    ]
    return np.sort(np.concatenate(parts))


def _first_rows(members: Indices, rows: Indices, share: float, seed: int, label: int) -> Indices:
    """The members whose rows come first in an order that the seed and the class alone decide."""
    order = np.random.default_rng([seed, label + 1]).permutation(np.unique(rows[members]))
    num_kept = max(1, round(share * len(order)))
    return members[np.isin(rows[members], order[:num_kept])]
