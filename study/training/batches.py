"""What a training step reads: photos, normalised and through the frozen stages, or what these stages once made of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from study.models.classifier import Classifier
from study.models.colour_modes import as_seen
from study.models.normalization import Normalizer
from study.models.resizing import resized
from study.training.augmentation import Augmentation
from study.training.mixing import Mixed, draw_mixture, mix
from study.training.photo_reading import PhotoReader, open_reader
from study.training.recycling import RecycledMemory
from study.trial import AugmentationConfig, ColourMode

Indices = npt.NDArray[np.int64]

UNCHANGED = AugmentationConfig()
# Photos of a batch, on a CPU: what is made of them on the way stays in its cache, and in memory that is not new. On one core,
# 64 photos of 224 px are turned, cut and coloured in 77 ms in place of 137.
AUGMENTED_AT_ONCE = 16


@dataclass(frozen=True, eq=False)
class Entered:
    """A batch of n examples at the point where the trainable part begins.

    Attributes:
        activations: what `Classifier.suffix` takes, float [n * num_views, …].
        mixed: how the examples were blended with each other; None if they were not.
    """

    activations: Tensor
    mixed: Mixed | None = None


class Inputs(Protocol):
    """Where the trainable part of a classifier gets its input from."""

    @property
    def num_views(self) -> int:
        """Photos of one example; in a batch they are next to each other."""
        ...

    def read(self, batches: Sequence[Indices]) -> Iterator[Tensor]:
        """What is stored of the examples at each of `batches` (their positions), on the training's device, in order.

        Returns:
            A tensor a batch: uint8 pixels [len(batch) * num_views, size, size, 3], or activations
            [len(batch) * num_views, …]. The next ones are on their way meanwhile; the caller may stop at any of them.
        """
        ...

    def enter(self, raw: Tensor, generator: torch.Generator | None) -> Entered:
        """What training continues with.

        Args:
            raw: a batch that `read` gave, or some examples of it that follow one another.
            generator: on the CPU; draws what is done to training examples. None: they are taken as they are.
        """
        ...


@dataclass(frozen=True, eq=False)
class ImageInputs:
    """Packed photos, augmented, normalised and sent through the frozen stages at each step.

    Attributes:
        images: uint8 [num_photos, size, size, 3]; may be a memory map.
        device: where `model` is.
        photos: of each example, positions in `images`, int64 [num_examples, num_views]; None: every photo is an example.
        augmentation: of the examples that are trained on.
        reader: reads `images`; None: one that is opened for all of `photos`.
        is_channels_last: how images lie in memory when the network gets them.
        image_size: side that the photos are resized to before anything else is done to them; None: as they are packed.
        colour_mode: whether their colour is left to them; it is taken before anything random is done to them.
    """

    images: npt.NDArray[np.uint8]
    normalizer: Normalizer
    model: Classifier
    device: torch.device
    photos: Indices | None = None
    augmentation: AugmentationConfig = UNCHANGED
    reader: PhotoReader | None = None
    is_channels_last: bool = True
    image_size: int | None = None
    colour_mode: ColourMode = "rgb"

    @property
    def num_views(self) -> int:
        """See `Inputs.num_views`."""
        return 1 if self.photos is None else int(self.photos.shape[1])

    def read(self, batches: Sequence[Indices]) -> Iterator[Tensor]:
        """See `Inputs.read`."""
        return self._reader.read([self._photos_of(examples) for examples in batches])

    def enter(self, raw: Tensor, generator: torch.Generator | None) -> Entered:
        """See `Inputs.enter`. The frozen stages compute in the precision that the caller's autocast asks for."""
        # Only they: in half precision, a place in a photo of 224 px would be a pixel off.
        with torch.autocast(self.device.type, enabled=False):
            sized = raw if self.image_size is None else resized(raw, self.image_size)
            entered = self._normalized(as_seen(sized, self.colour_mode), generator)
        return Entered(self.model.prefix(entered.activations), entered.mixed)

    def batch(self, indices: Indices) -> Tensor:
        """What `Classifier.suffix` takes for the examples at `indices`, as they are."""
        return self.enter(next(self.read([indices])), None).activations

    def _normalized(self, pixels: Tensor, generator: torch.Generator | None) -> Entered:
        images, mixed = self._mixed(self._augmented(pixels, generator), generator)
        return Entered(images if self.is_channels_last else images.contiguous(), mixed)

    def _augmented(self, pixels: Tensor, generator: torch.Generator | None) -> Tensor:
        augment = Augmentation(self.augmentation)
        if self.device.type != "cpu":  # its allocator keeps memory as it is
            return self.normalizer(pixels if generator is None else augment(pixels, generator))
        out = self._memory.take(tuple(pixels.shape))
        if generator is None or not self.augmentation.is_active:
            return self.normalizer(pixels, out)
        for start in range(0, len(pixels), AUGMENTED_AT_ONCE):
            part = slice(start, start + AUGMENTED_AT_ONCE)
            self.normalizer(augment(pixels[part], generator), out[part])
        return out.permute(0, 3, 1, 2)

    def _mixed(self, images: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Mixed | None]:
        if generator is None or self.augmentation.mixing == "none":
            return images, None
        mixture = draw_mixture(self.augmentation, len(images) // self.num_views, images.shape[-1], generator)
        return mix(images, mixture, self.num_views)

    def _photos_of(self, examples: Indices) -> Indices:
        return examples if self.photos is None else self.photos[examples].reshape(-1)

    @cached_property
    def _memory(self) -> RecycledMemory:
        return RecycledMemory()

    @cached_property
    def _reader(self) -> PhotoReader:
        if self.reader is not None:
            return self.reader
        used = np.arange(len(self.images)) if self.photos is None else self.photos.reshape(-1)
        return open_reader(self.images, used, self.device)


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
