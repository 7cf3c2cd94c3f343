"""Probabilities that mean what they say: one temperature for all scores, fitted on the validation split and on no other."""

import math
from dataclasses import dataclass

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional

from study.data.examples import Examples, examples_of
from study.data.study_data import StudyData
from study.models.classifier import Classifier
from study.models.normalization import make_normalizer
from study.training.batches import ImageInputs
from study.training.evaluation import outputs_of
from study.training.metrics import expected_calibration_error
from study.training.photo_reading import open_reader
from study.trial import ColourMode, Normalization

# A network of modern depth is overconfident by 1 to 3 (Guo et al. 2017, table 1 and figure 7): ten times that, either way.
LOWEST, HIGHEST = 0.05, 20.0
DECIMALS = 3  # about a tenth of the standard error with 10,000 examples; and a model that is fitted twice stays the same
BATCH_SIZE = 64


@dataclass(frozen=True)
class Calibration:
    """A temperature, and what it did on the examples that it was fitted on.

    Attributes:
        temperature: what scores are divided by; above 1 where the model was too sure of itself.
        error_before, error_after: expected calibration error, in [0, 1].
        loss_before, loss_after: mean cross-entropy.
    """

    temperature: float
    error_before: float
    error_after: float
    loss_before: float
    loss_after: float

    @property
    def metrics(self) -> dict[str, float]:
        """By the names under which a version records them."""
        return {
            "temperature": self.temperature,
            "val_calibration_error_before": self.error_before,
            "val_calibration_error_after": self.error_after,
            "val_loss_before": self.loss_before,
            "val_loss_after": self.loss_after,
        }


def calibrate(
    model: Classifier,
    data: StudyData,
    normalization: Normalization,
    device: torch.device,
    image_size: int | None = None,
    colour_mode: ColourMode = "rgb",
) -> Calibration:
    """The model's temperature on the validation split; no other split is read.

    Args:
        image_size: side of the photos that the model was trained on; None: as they are packed.
        colour_mode: that the model was trained in.
    Raises:
        ValueError: if the split is empty, or the target is a number.
    """
    if data.values is not None:
        raise ValueError("only probabilities can be calibrated, but the target is a number")
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    examples = examples_of(data)
    inputs = ImageInputs(
        data.images,
        make_normalizer(normalization, data.statistics, colour_mode),
        model,
        device,
        photos=examples.photos,
        reader=open_reader(data.images, examples.photos[examples.val].reshape(-1), device),
        image_size=image_size,
        colour_mode=colour_mode,
    )
    outputs, labels = _validation_outputs(inputs, examples)
    return calibration_of(outputs, labels)


def calibration_of(outputs: Tensor, labels: Tensor) -> Calibration:
    """The temperature under which the labels are likeliest.

    Where no example is wrong, likelihood has no optimum: it only grows as the temperature falls, and tells nothing of how often
    the model will be wrong. Then it is never below 1.

    Args:
        outputs: scores before the softmax, float [num_examples, num_classes].
        labels: class positions, int64 [num_examples].
    Raises:
        ValueError: if there is no example.
    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2, temperature scaling.
    """
    if len(labels) == 0:
        raise ValueError("a temperature needs at least one example, but there is none")
    outputs, labels = outputs.detach().cpu().double(), labels.cpu()
    has_errors = bool((outputs.argmax(dim=1) != labels).any())
    # In the inverse temperature the loss is convex, and monotonous transforms keep one valley: a bounded search finds it.
    bounds = (math.log(LOWEST if has_errors else 1.0), math.log(HIGHEST))
    found = minimize_scalar(
        lambda logarithm: _loss(outputs, labels, math.exp(logarithm)), bounds=bounds, method="bounded", options={"xatol": 1e-5}
    )
    temperature = round(math.exp(float(found.x)), DECIMALS)
    if _loss(outputs, labels, temperature) >= _loss(outputs, labels, 1.0):
        temperature = 1.0
    return Calibration(
        temperature,
        _error(outputs, labels, 1.0),
        _error(outputs, labels, temperature),
        _loss(outputs, labels, 1.0),
        _loss(outputs, labels, temperature),
    )


def _loss(outputs: Tensor, labels: Tensor, temperature: float) -> float:
    return float(functional.cross_entropy(outputs / temperature, labels))


def _error(outputs: Tensor, labels: Tensor, temperature: float) -> float:
    return float(expected_calibration_error((outputs / temperature).softmax(dim=1).float(), labels))


def _validation_outputs(inputs: ImageInputs, examples: Examples) -> tuple[Tensor, Tensor]:
    """Scores [num_examples, num_classes] and labels of the validation split. Leaves the model in evaluation."""
    positions = examples.val
    if len(positions) == 0:
        raise ValueError("a temperature needs at least one example, but the validation split is empty")
    return outputs_of(inputs.model, inputs, positions, BATCH_SIZE).float(), torch.tensor(examples.labels[positions])
