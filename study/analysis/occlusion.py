"""Bubble occlusion: a white circle hides one place after the other, and what the network then says otherwise is mapped."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from study.analysis.activation import Activation, Unit, device_of, with_fixed_statistics
from study.data.images import Pixels
from study.errors import DefinitionError
from study.models.exported import ExportedModel

Maps = npt.NDArray[np.float32]

DEFAULT_RADIUS_PX = 15


@dataclass(frozen=True)
class Bubbles:
    """White circles on a grid of centres.

    Attributes:
        radius_px: of the photo as the model sees it (224 px, most models).
        stride_px: between centres; None: half the radius, which is 1,024 circles of 15 px on 224 px, each pixel under 14 or so.
    """

    radius_px: int = DEFAULT_RADIUS_PX
    stride_px: int | None = None

    def check(self, size_px: int) -> None:
        """Returns if the circles fit into a photo of that side, and leave no pixel out.

        Raises:
            DefinitionError: otherwise.
        """
        if self.radius_px < 1 or 2 * self.radius_px + 1 > size_px:
            largest = (size_px - 1) // 2
            raise DefinitionError(
                f"a circle must fit into the photo as the model sees it, {size_px} × {size_px} px, but --radius is "
                f"{self.radius_px} px. Give --radius from 1 to {largest}."
            )
        # Between four circles a pixel stays free if half the grid's diagonal is longer than the radius.
        widest = math.floor(self.radius_px * math.sqrt(2))
        if not 1 <= self._stride_px <= widest:
            raise DefinitionError(
                f"circles of radius {self.radius_px} px reach every pixel with a stride from 1 to {widest} px, but --stride is "
                f"{self._stride_px}. Give --stride {widest} or less, or a larger --radius."
            )

    @property
    def _stride_px(self) -> int:
        return max(1, self.radius_px // 2) if self.stride_px is None else self.stride_px

    def centres(self, size_px: int) -> Tensor:
        """Rows and columns, int64 [num_circles, 2]; the grid lies in the middle of the photo."""
        line = torch.arange((size_px - 1) % self._stride_px // 2, size_px, self._stride_px)
        return torch.cartesian_prod(line, line)

    def pixels(self, size_px: int) -> tuple[Tensor, Tensor]:
        """The places of each circle's pixels, row * size_px + column.

        Returns:
            int64 [num_circles, pixels of a whole circle], and bool of that shape: which of them lie in the photo. A place
            outside is replaced by the centre's, so that all of them can be painted.
        """
        reach = torch.arange(-self.radius_px, self.radius_px + 1)
        offsets = torch.cartesian_prod(reach, reach)
        offsets = offsets[offsets.square().sum(dim=1) <= self.radius_px**2]
        centres = self.centres(size_px)
        points = centres[:, None] + offsets
        is_inside = ((points >= 0) & (points < size_px)).all(dim=2)
        points = torch.where(is_inside[:, :, None], points, centres[:, None])
        return points[:, :, 0] * size_px + points[:, :, 1], is_inside


@dataclass(frozen=True, eq=False)
class Occlusion:
    """What hiding one place after the other did to a unit.

    Attributes:
        activation: a(X), of the photos as they are.
        changes: a(X′) − a(X) by view and circle, float32 [num_views, num_circles].
        maps: |a(X) − a(X′)|, at each pixel the mean over the circles that cover it, float32 [num_views, size, size].
    """

    activation: float
    changes: npt.NDArray[np.float32]
    maps: Maps

    @property
    def strongest(self) -> float:
        """The change of the circle that changed most, with its sign."""
        return float(self.changes.flat[np.abs(self.changes).argmax()])


def occlude(model: ExportedModel, pixels: Pixels, unit: Unit, bubbles: Bubbles, batch_size: int = 32) -> Occlusion:
    """Hides one place of an example after the other under a white circle.

    The circles are painted on the device where the network is. White, normalised, is one colour a photo, so painting it onto
    the normalised photo is what painting the bytes and then normalising is, with the photo's statistics kept as they were
    (see `with_fixed_statistics`).

    Args:
        pixels: one example as the model sees it, uint8 [num_views, size, size, 3]; of several views one is painted at a time.
        batch_size: examples at once.
    Raises:
        DefinitionError: if the circles do not fit into the photo, or leave pixels out.
    """
    size_px = model.contract.image_size
    bubbles.check(size_px)
    device = device_of(model)
    places, is_inside = (values.to(device) for values in bubbles.pixels(size_px))
    activation = Activation(model, unit)
    with torch.inference_mode():
        example, white = _normalized_with_white(model, pixels, device)
        before = activation(example.permute(0, 3, 1, 2))
        changes = torch.stack(
            [
                torch.cat([activation(images) - before for images in _painted(example, white, view, places, batch_size)])
                for view in range(len(pixels))
            ]
        )
        maps = torch.stack([_mean_over_circles(change.abs(), places, is_inside, size_px) for change in changes])
    return Occlusion(float(before), changes.cpu().numpy(), maps.cpu().numpy())


def _normalized_with_white(model: ExportedModel, pixels: Pixels, device: torch.device) -> tuple[Tensor, Tensor]:
    """Float32 [num_views, size, size, 3], and what white is in each view, [num_views, 3]."""
    views, whites = [], []
    for view in pixels:
        normalizer = with_fixed_statistics(model.contract.normalization, view)
        views.append(normalizer(torch.tensor(view[None], device=device)).permute(0, 2, 3, 1))
        whites.append(normalizer(torch.ones(1, 1, 1, 3, device=device)).view(1, 3))
    return torch.cat(views), torch.cat(whites)


def _painted(example: Tensor, white: Tensor, view: int, places: Tensor, batch_size: int) -> Iterator[Tensor]:
    """The example with a circle each on one view, a batch at a time, [n * num_views, 3, size, size], in the same memory."""
    size_px = example.shape[1]
    batch = example.new_empty(min(batch_size, len(places)), *example.shape)
    for painted in torch.split(places, batch_size):
        images = batch[: len(painted)]
        images.copy_(example)  # a network may have worked in place: 3 % of a bare SqueezeNet forward
        flat = images[:, view].view(len(painted), size_px * size_px, 3)
        flat[torch.arange(len(painted), device=flat.device)[:, None], painted] = white[view]
        yield images.view(-1, size_px, size_px, 3).permute(0, 3, 1, 2)


def _mean_over_circles(values: Tensor, places: Tensor, is_inside: Tensor, size_px: int) -> Tensor:
    """At each pixel the mean of the values of the circles that cover it, [size, size]."""
    covering = is_inside.to(values.dtype)
    sums, counts = (values.new_zeros(size_px * size_px) for _ in range(2))
    sums.index_add_(0, places.flatten(), (covering * values[:, None]).flatten())
    counts.index_add_(0, places.flatten(), covering.flatten())
    return (sums / counts).view(size_px, size_px)
