"""What a model reached on some examples: of classes, most of it from one confusion matrix; or of numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from study.trial import ConfusionMatrix

Counts = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

NUM_BINS = 15  # of confidence. Source: Guo et al. 2017, section 5
FLOAT32_MAX = float(np.finfo(np.float32).max)
TOP = 5  # Source: Russakovsky et al. 2015, "ImageNet Large Scale Visual Recognition Challenge", section 4.1


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a classifier reached.

    Attributes:
        metrics: those of `measure_classes` or `measure_numbers`.
        confusion: rows are classes, columns what their examples were called; None where the target is a number.
        predictions: in the order of the examples asked for: class positions, int64 [num_examples], or numbers in the target's
            unit, float32 [num_examples].
    """

    metrics: dict[str, float]
    confusion: ConfusionMatrix | None
    predictions: npt.NDArray[np.int64] | npt.NDArray[np.float32]

    def named(self, split: str) -> dict[str, float]:
        """The metrics under their recorded names: `val_loss`, `val_recall.<class>` …"""
        return {f"{split}_{name}": value for name, value in self.metrics.items()}


def measure_classes(logits: Tensor, labels: Tensor, classes: Sequence[str]) -> Evaluation:
    """Metrics of a classifier: those of `summarize`, and

    `loss`, the mean cross-entropy, no class weighted; `calibration_error`; `top5_accuracy`, the share of examples whose class
    is among the 5 most probable, where there are more than 5 classes.

    Args:
        logits: float [num_examples, num_classes], on any device.
        labels: class positions, int64 [num_examples], on the same.
    Raises:
        ValueError: if there is no example.
    """
    num_classes = len(classes)
    logits = logits.float()
    log_probs = logits.log_softmax(dim=1)
    predictions = logits.argmax(dim=1)
    parts = [
        -log_probs.gather(1, labels[:, None]).double().mean().reshape(1),
        expected_calibration_error(log_probs.exp(), labels).reshape(1),
        _top_accuracy(logits, labels).reshape(1),
        _count(labels, predictions, num_classes).double(),
        predictions.double(),
    ]
    # Counts and positions are exact in float64, and a GPU is waited for once.
    (loss, calibration_error, top_accuracy), cells, called = _split(torch.cat(parts), 3, num_classes**2)
    counts = cells.astype(np.int64).reshape(num_classes, num_classes)
    metrics = {"loss": float(loss), **summarize(counts, classes), "calibration_error": float(calibration_error)}
    if num_classes > TOP:
        metrics[f"top{TOP}_accuracy"] = float(top_accuracy)
    return Evaluation(metrics, ConfusionMatrix(counts=tuple(map(tuple, counts.tolist()))), called.astype(np.int64))


def measure_numbers(predicted: Tensor, expected: Tensor, *, mean: float, std: float, is_log: bool) -> Evaluation:
    """Metrics of predicted numbers.

    `loss` is the mean squared error of the standardised target (1.0: no better than always the training's mean); `mae` the mean
    absolute error in the target's own unit; `r2` the share of variance explained, on the scale that is learnt. Where all
    expected values are the same, r2 is 1 if they are met and else 0.

    Args:
        predicted: standardised, float [num_examples], on any device.
        expected: on the scale that is learnt, float [num_examples], on the same.
        mean: what the target was standardised with, as `std`.
        is_log: the target is learnt as its natural logarithm; predictions and `mae` are of the target itself.
    Raises:
        ValueError: if there is no example.
    Source: scikit-learn's mean_absolute_error and r2_score, which agree.
    """
    _require_examples(len(expected))
    predicted, expected = predicted.double() * std + mean, expected.double()
    residual, spread = (predicted - expected).square().sum(), (expected - expected.mean()).square().sum()
    unit_of = _from_logarithm if is_log else torch.Tensor.double
    numbers = unit_of(predicted)
    mae = (numbers - unit_of(expected)).abs().mean()
    packed = torch.cat([torch.stack([residual, spread, mae]), numbers])
    (squares, variance, error), values = _split(packed, 3)
    is_met = float(squares == 0)
    metrics = {
        "loss": float(squares) / len(expected) / std**2,
        "mae": float(error),
        "r2": 1 - float(squares / variance) if variance > 0 else is_met,
    }
    return Evaluation(metrics, None, values.clip(-FLOAT32_MAX, FLOAT32_MAX).astype(np.float32))


def expected_calibration_error(probs: Tensor, labels: Tensor, num_bins: int = NUM_BINS) -> Tensor:
    """Weighted mean gap between confidence and accuracy, in [0, 1]; 0 is calibrated.

    Args:
        probs: class probabilities, float [num_examples, num_classes], rows sum to 1.
        labels: class positions, int64 [num_examples].
        num_bins: of equal width; a confidence on an edge belongs to the bin below.
    Returns:
        float64 [], on the device of `probs`.
    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", eq. 3.
    """
    confidences, predictions = probs.max(dim=1)
    edges = torch.linspace(0, 1, num_bins + 1, device=probs.device)[1:-1]
    bins = torch.bucketize(confidences, edges)
    gaps = (predictions == labels).double() - confidences.double()
    # |B|/n · |acc(B) - conf(B)| is |Σ gaps of B| / n. By a product, since a GPU's scattered sums differ from run to run.
    members = bins == torch.arange(num_bins, device=probs.device)[:, None]
    return (members.double() @ gaps).abs().sum() / len(labels)


def count_confusions(labels: Tensor, predictions: Tensor, num_classes: int) -> Counts:
    """Examples by class (rows) and by what they were called (columns), int64 [num_classes, num_classes].

    Args:
        labels: class positions, int64 [num_examples].
        predictions: likewise.
    """
    counts: Counts = _count(labels, predictions, num_classes).reshape(num_classes, num_classes).cpu().numpy()
    return counts


def summarize(counts: Counts, classes: Sequence[str]) -> dict[str, float]:
    """Shares in [0, 1]: `accuracy`, `balanced_accuracy`, `macro_f1`, and `recall.<class>` and `precision.<class>`.

    Balanced accuracy is the mean recall of the classes that have examples; macro-F1 the mean F1 of those that have examples or
    were predicted. Recall and precision are of the classes that have examples: the same names in each epoch; the precision of
    a class that was never predicted is 0.

    Args:
        counts: as `count_confusions` returns them, at least one example.
    Raises:
        ValueError: if there is no example.
    Source: scikit-learn's balanced_accuracy_score, recall_score, and precision_score and f1_score(average="macro") with
        zero_division=0, which agree.
    """
    _require_examples(num_examples := int(counts.sum()))
    correct, actual, predicted = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    present = np.flatnonzero(actual)
    names = [classes[label] for label in present.tolist()]
    recalls = correct[present] / actual[present]
    precisions = correct[present] / np.maximum(predicted[present], 1)
    occurs = (actual + predicted) > 0
    # F1 = 2 TP / (2 TP + FP + FN), and the denominator is what was there plus what was predicted.
    f1 = 2 * correct[occurs] / (actual + predicted)[occurs]
    return {
        "accuracy": float(correct.sum() / num_examples),
        "balanced_accuracy": float(recalls.mean()),
        "macro_f1": float(f1.mean()),
        **{f"recall.{name}": float(recall) for name, recall in zip(names, recalls, strict=True)},
        **{f"precision.{name}": float(precision) for name, precision in zip(names, precisions, strict=True)},
    }


def _require_examples(num_examples: int) -> None:
    if num_examples == 0:
        raise ValueError("metrics need at least one example, but there is none")


def _count(labels: Tensor, predictions: Tensor, num_classes: int) -> Tensor:
    """int64 [num_classes²]. Not by `bincount`, which waits for a GPU to learn the largest value."""
    cells = torch.zeros(num_classes**2, dtype=torch.int64, device=labels.device)
    return cells.scatter_add_(0, labels * num_classes + predictions, torch.ones_like(labels))


def _top_accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    most_probable = logits.topk(min(TOP, logits.shape[1]), dim=1).indices
    return (most_probable == labels[:, None]).any(dim=1).double().mean()


def _from_logarithm(values: Tensor) -> Tensor:
    """exp(), no larger than float32 can be: a diverging model may predict e^1000, which is as wrong and no number."""
    return values.clamp(max=math.log(FLOAT32_MAX)).exp()


def _split(packed: Tensor, *sizes: int) -> list[Values]:
    """A vector as arrays on the host: pieces of `sizes`, and the rest."""
    values: Values = packed.cpu().numpy()
    return np.split(values, np.cumsum(sizes))
