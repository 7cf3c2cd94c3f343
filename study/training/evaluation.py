"""A classifier measured on some of the photos."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from study.data.study_data import StudyData
from study.models.classifier import Classifier
from study.models.normalization import make_normalizer
from study.training.batches import ImageInputs, Indices, Inputs
from study.training.metrics import count_confusions, summarize
from study.trial import ConfusionMatrix, Normalization


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a classifier reached.

    Attributes:
        metrics: `loss` (mean cross-entropy, no class weighted) and those of `study.training.metrics.summarize`.
        confusion: rows are classes, columns what their photos were called.
        predictions: class indices in the order of the photos asked for, int64 [num_photos].
    """

    metrics: dict[str, float]
    confusion: ConfusionMatrix
    predictions: npt.NDArray[np.int64]

    def named(self, split: str) -> dict[str, float]:
        """The metrics under their recorded names: `val_loss`, `val_recall.<class>` …"""
        return {f"{split}_{name}": value for name, value in self.metrics.items()}


def evaluate(
    model: Classifier,
    data: StudyData,
    indices: Indices,
    *,
    normalization: Normalization,
    device: torch.device,
    batch_size: int = 64,
) -> Evaluation:
    """What `model` reaches on the photos at `indices`, read anew (no cache). Leaves the model on `device`, in evaluation.

    Raises:
        ValueError: if `indices` is empty.
    """
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    inputs = ImageInputs(data.images, make_normalizer(normalization, data.statistics), model, device)
    labels = torch.tensor(data.labels, device=device)
    return evaluate_inputs(model, inputs, labels, indices, data.classes, batch_size)


def evaluate_inputs(
    model: Classifier, inputs: Inputs, labels: Tensor, indices: Indices, classes: tuple[str, ...], batch_size: int
) -> Evaluation:
    """As `evaluate`, from inputs that are open already.

    Args:
        labels: of all photos, int64 [num_photos], on the model's device.
    """
    if len(indices) == 0:
        raise ValueError("an evaluation needs at least one photo, but `indices` is empty")
    model.eval()
    starts = range(0, len(indices), batch_size)
    with torch.no_grad():
        logits = torch.cat([model.suffix(inputs.batch(indices[start : start + batch_size])) for start in starts])
    expected = labels[torch.tensor(indices, device=labels.device)]
    predictions = logits.argmax(dim=1)
    counts = count_confusions(expected, predictions, len(classes))
    loss = functional.cross_entropy(logits, expected).item()
    return Evaluation(
        metrics={"loss": loss, **summarize(counts, classes)},
        confusion=ConfusionMatrix(counts=tuple(tuple(row) for row in counts.tolist())),
        predictions=predictions.cpu().numpy(),
    )
