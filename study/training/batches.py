"""What a training step reads: photos, normalised and through the frozen stages, or what these stages once made of them."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from study.models.classifier import Classifier
from study.models.normalization import Normalizer

Indices = npt.NDArray[np.int64]


class Inputs(Protocol):
    """Where the trainable part of a classifier gets its input from."""

    def batch(self, indices: Indices) -> Tensor:
        """What `Classifier.suffix` takes for the photos at `indices`, float32 [len(indices), …] on the training's device."""


@dataclass(frozen=True, eq=False)
class ImageInputs:
    """Packed photos, normalised and sent through the frozen stages at each step.

    Attributes:
        images: uint8 [num_photos, size, size, 3]; may be a memory map.
        device: where `model` is.
    """

    images: npt.NDArray[np.uint8]
    normalizer: Normalizer
    model: Classifier
    device: torch.device

    def batch(self, indices: Indices) -> Tensor:
        """See `Inputs.batch`."""
        # Four times fewer bytes cross to the device as uint8 than after normalisation.
        pixels = torch.from_numpy(self.images[indices]).to(self.device)
        return self.model.prefix(self.normalizer(pixels))


def split_batches(order: Indices, batch_size: int) -> list[Indices]:
    """`order` in pieces of `batch_size`, all of it.

    A last piece of one photo joins the piece before it: batch norm has no variance of a single value, and such a step would
    be `batch_size` times as noisy as the others. Data smaller than a batch are one batch.
    """
    starts = list(range(0, len(order), batch_size))
    if len(starts) > 1 and len(order) - starts[-1] == 1:
        starts.pop()
    ends = [*starts[1:], len(order)]
    return [order[start:end] for start, end in zip(starts, ends, strict=True)]
