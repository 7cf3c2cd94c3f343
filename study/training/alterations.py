"""Copies of test photos in other colours: does the answer hang on colour?

What a model loses on them is what it took from colour, and what it loses because it has never seen such photos. So they are
looked at beside a target that colour says nothing about, where the first is nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from study.confirm_definition import Alteration
from study.models.colour_modes import without_colour
from study.training.batches import Entered, ImageInputs, Indices

HALF_CIRCLE = 0.5  # of hues: each becomes the opposite one, brown becomes blue
# Hues are turned in float32, through five tensors of a batch's size: of 16 photos of 224 px, 50 MB.
AT_ONCE = 16


@dataclass(frozen=True, eq=False)
class AlteredInputs:
    """Photos as `ImageInputs` has them, altered before the model sees them; for measuring, not for training."""

    inputs: ImageInputs
    alteration: Alteration

    @property
    def num_views(self) -> int:
        """See `Inputs.num_views`."""
        return self.inputs.num_views

    def read(self, batches: Sequence[Indices]) -> Iterator[Tensor]:
        """See `Inputs.read`."""
        return self.inputs.read(batches)

    def enter(self, raw: Tensor, generator: torch.Generator | None) -> Entered:
        """See `Inputs.enter`."""
        return self.inputs.enter(altered(raw, self.alteration), generator)


def altered(pixels: Tensor, alteration: Alteration) -> Tensor:
    """The photos as bytes again, on their device.

    Args:
        pixels: uint8 [n, height, width, 3], left as they are.
        alteration: "greyscale": luma in all three channels, as `colour_mode = "greyscale"` trains on: what colour told is
            gone. "hue_shift": each hue becomes the opposite one, saturation and lightest channel stay: what colour tells is
            now wrong.
    """
    change = CHANGES[alteration]
    return torch.cat([change(part) for part in torch.split(pixels, AT_ONCE)]).contiguous()


def _in_opposite_hues(pixels: Tensor) -> Tensor:
    turned: Tensor = functional.adjust_hue(pixels.permute(0, 3, 1, 2), HALF_CIRCLE)
    return turned.permute(0, 2, 3, 1)


CHANGES: Mapping[Alteration, Callable[[Tensor], Tensor]] = {
    "greyscale": without_colour,
    "hue_shift": _in_opposite_hues,
}
