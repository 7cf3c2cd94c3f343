"""What is learnt of each example: its class, or a number. The loss of a training step, and the evaluation of outputs."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from study.data.examples import Examples
from study.errors import DataError
from study.training.metrics import Evaluation, measure_classes, measure_numbers
from study.training.mixing import Mixed


class Targets(Protocol):
    """The targets of all examples, on the training's device. `positions`: int64 [n], of examples, on the same."""

    @property
    def num_outputs(self) -> int:
        """Outputs of the model for one example."""

    def total_weight(self, positions: Tensor) -> Tensor:
        """What a batch's `loss_sum` is divided by to make it the batch's loss: float32 []."""

    def loss_sum(self, outputs: Tensor, positions: Tensor, mixed: Mixed | None = None) -> Tensor:
        """Sum of the examples' losses, float32 []; those of micro-batches add up to their batch's.

        Args:
            outputs: float [n, num_outputs].
            mixed: how examples were blended: `share` of the loss is against their own target, the rest against their partner's.
                Partners are a permutation of the micro-batch, so that `total_weight` is the same for both.
        """

    def evaluate(self, outputs: Tensor, positions: Tensor) -> Evaluation:
        """What outputs [n, num_outputs] are worth: no class weighted, no label smoothed.

        Raises:
            ValueError: if there is no example.
        """


@dataclass(frozen=True, eq=False)
class ClassTargets:
    """One class of several for each example, learnt by cross-entropy.

    Attributes:
        labels: int64 [num_examples], positions in `classes`; -1 for examples in no split, which must not be asked for.
        classes: names.
        class_weights: factors of the classes' losses, float32 [num_classes]; None if all weigh the same. Their common scale
            does not matter: a batch's loss is divided by the weights' sum.
        label_smoothing: share of each label spread over all classes, in [0, 1).
    Raises:
        DataError: if a label is no position in `classes`.
    Source: torch.nn.CrossEntropyLoss, whose weighted, smoothed mean `loss_sum / total_weight` is.
    """

    labels: Tensor
    classes: tuple[str, ...]
    class_weights: Tensor | None = None
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        wrong = (self.labels < -1) | (self.labels >= len(self.classes))
        if wrong.any():
            raise _wrong_label(self.labels, int(wrong.nonzero()[0, 0]), len(self.classes))

    @property
    def num_outputs(self) -> int:
        """See `Targets`."""
        return len(self.classes)

    def total_weight(self, positions: Tensor) -> Tensor:
        """See `Targets`."""
        if self.class_weights is None:
            return torch.full((), float(len(positions)), device=self.labels.device)
        return self.class_weights[self.labels[positions]].sum()

    def loss_sum(self, outputs: Tensor, positions: Tensor, mixed: Mixed | None = None) -> Tensor:
        """See `Targets`."""
        labels = self.labels[positions]
        if mixed is None:
            return self._cross_entropy(outputs, labels)
        own, other = self._cross_entropy(outputs, labels), self._cross_entropy(outputs, labels[mixed.partner])
        return mixed.share * own + (1 - mixed.share) * other

    def evaluate(self, outputs: Tensor, positions: Tensor) -> Evaluation:
        """See `Targets`, and `measure_classes`."""
        return measure_classes(outputs, self.labels[positions], self.classes)

    def _cross_entropy(self, outputs: Tensor, labels: Tensor) -> Tensor:
        # As float32: half-precision logits lose the small probabilities, on which the loss of a mistake depends.
        return functional.cross_entropy(
            outputs.float(), labels, weight=self.class_weights, label_smoothing=self.label_smoothing, reduction="sum"
        )


@dataclass(frozen=True, eq=False)
class NumberTargets:
    """One number for each example, learnt by squared error once it is standardised.

    Attributes:
        values: float32 [num_examples], on the scale that is learnt; NaN for examples in no split, which must not be asked for.
        mean: of the training split's values.
        std: likewise, above 0.
        is_log: the values are natural logarithms of the target.
    """

    values: Tensor
    mean: float
    std: float
    is_log: bool = False
    _standardised: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_standardised", ((self.values.double() - self.mean) / self.std).float())

    @property
    def num_outputs(self) -> int:
        """See `Targets`."""
        return 1

    def total_weight(self, positions: Tensor) -> Tensor:
        """See `Targets`."""
        return torch.full((), float(len(positions)), device=self.values.device)

    def loss_sum(self, outputs: Tensor, positions: Tensor, mixed: Mixed | None = None) -> Tensor:
        """See `Targets`. With `mixed`, the gradient is that of the squared error against the blended number."""
        predicted, expected = outputs.float().squeeze(1), self._standardised[positions]
        own = functional.mse_loss(predicted, expected, reduction="sum")
        if mixed is None:
            return own
        other = functional.mse_loss(predicted, expected[mixed.partner], reduction="sum")
        return mixed.share * own + (1 - mixed.share) * other

    def evaluate(self, outputs: Tensor, positions: Tensor) -> Evaluation:
        """See `Targets`, and `measure_numbers`."""
        expected = self.values[positions]
        return measure_numbers(outputs.squeeze(1), expected, mean=self.mean, std=self.std, is_log=self.is_log)


def make_targets(
    examples: Examples,
    classes: tuple[str, ...],
    *,
    device: torch.device,
    class_weights: npt.NDArray[np.float32] | None = None,
    label_smoothing: float = 0.0,
    is_log: bool = False,
) -> Targets:
    """The targets of all examples: numbers where they have values, else classes. Every example of a split is checked.

    Args:
        class_weights: float32 [num_classes], of a `Strategy`; classes only, as `label_smoothing`.
        is_log: the values are natural logarithms; numbers only.
    Raises:
        DataError: if an example of a split has no class of `classes` or no finite number, or all training numbers are equal.
    """
    if examples.values is not None:
        mean, std = training_moments(examples)
        return NumberTargets(torch.tensor(examples.values, device=device), mean, std, is_log)
    _check_labels(examples, len(classes))
    weights = None if class_weights is None else torch.tensor(class_weights, device=device)
    return ClassTargets(torch.tensor(examples.labels, device=device), classes, weights, label_smoothing)


def _splits(examples: Examples) -> dict[str, npt.NDArray[np.int64]]:
    return {"training": examples.train, "validation": examples.val, "test": examples.test}


def _check_labels(examples: Examples, num_classes: int) -> None:
    for split, positions in _splits(examples).items():
        labels = examples.labels[positions]
        (wrong,) = np.nonzero((labels < 0) | (labels >= num_classes))
        if len(wrong):
            raise _wrong_label(examples.labels, int(positions[wrong[0]]), num_classes, f" of the {split} split")


def _wrong_label(labels: Tensor | npt.NDArray[np.int64], position: int, num_classes: int, split: str = "") -> DataError:
    return DataError(
        f"a label must be in [0, {num_classes - 1}], the position of one of {num_classes} classes, but example "
        f"{position}{split} has {int(labels[position])}. Prepare the data anew."
    )


def training_moments(examples: Examples) -> tuple[float, float]:
    """Mean and standard deviation of the training split's numbers; those of all splits are checked.

    Raises:
        DataError: if one is not finite, or all training numbers are equal.
    """
    values = examples.values
    assert values is not None, "the target is a number"
    for split, positions in _splits(examples).items():
        (wrong,) = np.nonzero(~np.isfinite(values[positions]))
        if len(wrong):
            position = positions[wrong[0]]
            raise DataError(
                f"a number to learn must be finite, but example {position} of the {split} split has {values[position]}. "
                f"Mend or remove its row in the table."
            )
    training = values[examples.train].astype(np.float64)
    if training.min() == training.max():  # the standard deviation of equal numbers may be a rounding error
        raise DataError(
            f"numbers to learn must differ, but all {len(training)} of the training split are {training[0]:g}. "
            f"Name another target in [data]."
        )
    return float(training.mean()), float(training.std())
