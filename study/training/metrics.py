"""What a classifier reached on one split, all of it from one confusion matrix."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Counts = npt.NDArray[np.int64]


def count_confusions(labels: Tensor, predictions: Tensor, num_classes: int) -> Counts:
    """Photos by class (rows) and by what they were called (columns), int64 [num_classes, num_classes].

    Args:
        labels: class indices, int64 [num_photos].
        predictions: likewise.
    """
    cells = torch.bincount(labels * num_classes + predictions, minlength=num_classes**2)
    counts: Counts = cells.reshape(num_classes, num_classes).cpu().numpy()
    return counts


def summarize(counts: Counts, classes: Sequence[str]) -> dict[str, float]:
    """Shares in [0, 1]: `accuracy`, `balanced_accuracy`, `macro_f1`, and `recall.<class>` of each class that has photos.

    Balanced accuracy is the mean recall of the classes that have photos; macro-F1 the mean F1 of those that have photos or
    were predicted.

    Args:
        counts: as `count_confusions` returns them, at least one photo.
    Raises:
        ValueError: if there is no photo.
    Source: scikit-learn's balanced_accuracy_score and f1_score(average="macro", zero_division=0), which agree.
    """
    num_photos = int(counts.sum())
    if num_photos == 0:
        raise ValueError("metrics need at least one photo, but the confusion matrix is empty")
    correct, actual, predicted = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    present = actual > 0
    recalls = correct[present] / actual[present]
    occurs = (actual + predicted) > 0
    # F1 = 2 TP / (2 TP + FP + FN), and the denominator is what was there plus what was predicted.
    f1 = 2 * correct[occurs] / (actual + predicted)[occurs]
    return {
        "accuracy": float(correct.sum() / num_photos),
        "balanced_accuracy": float(recalls.mean()),
        "macro_f1": float(f1.mean()),
        **{
            f"recall.{classes[label]}": float(correct[label] / actual[label]) for label in range(len(classes)) if present[label]
        },
    }
