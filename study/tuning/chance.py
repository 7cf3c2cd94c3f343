"""What can be reached without looking at a photo: the line above which a study's figures begin to mean something."""

import numpy as np
import numpy.typing as npt

from study.data.examples import Examples
from study.definition import Metric

TOP = 5


def chance_level(metric: Metric, examples: Examples, *, is_log: bool = False) -> float:
    """The metric on the validation split of a model that says the same of every photo.

    Of classes, it always calls the split's commonest (for the loss: gives each its share); of numbers, the mean of the training
    split, on the scale that is learnt.

    Args:
        is_log: the target's values are natural logarithms.
    """
    if examples.values is not None:
        return _number_chance(metric, examples.values[examples.train], examples.values[examples.val], is_log=is_log)
    return class_chance(metric, np.bincount(examples.labels[examples.val]))


def class_chance(metric: Metric, counts: npt.NDArray[np.int64]) -> float:
    """As `chance_level`, for classes.

    Args:
        counts: examples of each class in the split, [num_classes].
    """
    shares = counts / counts.sum()
    shares = shares[shares > 0]
    match metric:
        case "accuracy":
            return float(shares.max())
        case "balanced_accuracy":
            return 1 / len(shares)
        case "macro_f1":
            # Precision is the commonest class's share p, recall 1, so F1 = 2p / (1 + p); every other class has 0.
            return float(2 * shares.max() / (1 + shares.max()) / len(shares))
        case "top5_accuracy":
            return float(np.sort(shares)[-TOP:].sum())
        case "loss":
            return float(-(shares * np.log(shares)).sum())
        case "calibration_error":
            return 0.0  # it is as sure of the commonest class as that class is common
        case "mae" | "r2":
            raise AssertionError(f"{metric} is for numbers")


def _number_chance(metric: Metric, train: npt.NDArray[np.float32], val: npt.NDArray[np.float32], *, is_log: bool) -> float:
    guess, values = float(train.mean()), val.astype(np.float64)
    match metric:
        case "mae":
            in_units = np.exp if is_log else np.asarray
            return float(np.abs(in_units(values) - in_units(guess)).mean())
        case "r2":
            return float(1 - ((values - guess) ** 2).sum() / ((values - values.mean()) ** 2).sum())
        case "loss":
            return float(((values - guess) ** 2).mean() / float(train.var()))
        case _:
            raise AssertionError(f"{metric} is for classes")
