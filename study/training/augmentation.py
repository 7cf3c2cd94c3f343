"""Training photos changed at random, each in its own way, a batch at a time on whatever device it is.

By torchvision.transforms.v2 all photos of a batched call would be turned, cut and coloured alike: it draws once a call.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from study.data.images import PADDING
from study.models.devices import send
from study.trial import AugmentationConfig


class Draws(NamedTuple):
    """What is left to chance, uniform in [0, 1): float32 [num_photos] each. All are drawn, whatever is switched on."""

    flip: Tensor
    angle: Tensor
    crop: Tensor
    left: Tensor
    top: Tensor
    brightness: Tensor
    contrast: Tensor
    saturation: Tensor
    blank_left: Tensor
    blank_top: Tensor


@dataclass(frozen=True)
class Augmentation:
    """A callable: the photos of a batch, each mirrored, turned, cut, coloured and blanked by its own draws.

    It comes before normalisation: colours are changed where black is 0 and white is 1, what is uncovered is filled with the
    colour that photos are padded with, and a photo that is normalised by its own mean is so as the model sees it.
    """

    config: AugmentationConfig

    def __call__(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """The photos anew, [n, size, size, 3]: as bytes if they were mirrored and blanked at most, else float32 in [0, 1].

        Args:
            pixels: uint8 [n, size, size, 3], left as they are.
            generator: on the CPU, so that a GPU sees the same photos. It draws photo after photo: two halves of a batch, one
                after the other, become what the whole batch becomes.
        """
        config, num_photos = self.config, len(pixels)
        if not (config.flip or config.changes_pixels):
            return pixels
        draws = Draws(*send(torch.rand((num_photos, len(Draws._fields)), generator=generator), pixels.device).unbind(1))
        if config.crop or config.rotation:
            pixels = warped(_as_floats(pixels), _placements(draws, config))
        elif config.flip:
            pixels = torch.where(_by_photo(draws.flip < config.flip), pixels.flip(2), pixels)
        if config.color_jitter:
            factors = (
                1 + config.color_jitter * (2 * draw - 1) for draw in (draws.brightness, draws.contrast, draws.saturation)
            )
            pixels = recoloured(_as_floats(pixels), *factors)
        if config.cutout:
            pixels = blanked(pixels, round(config.cutout * pixels.shape[1]), draws.blank_left, draws.blank_top)
        return pixels


def warped(pixels: Tensor, placements: Tensor) -> Tensor:
    """Photos moved as a whole, read between their pixels; where nothing was, there is `PADDING`.

    Args:
        pixels: float32 [n, size, size, 3] in [0, 1].
        placements: float32 [n, 2, 3], from a place in the new photo (x, y, 1), -1 to 1 from edge to edge, to one in the old.
    """
    images = pixels.permute(0, 3, 1, 2)
    grid = functional.affine_grid(placements, list(images.shape), align_corners=False)
    padding = _padding(pixels)
    # Outside a photo `grid_sample` reads 0: what it is given is the distance from the padding.
    distances = functional.grid_sample((pixels - padding).permute(0, 3, 1, 2), grid, align_corners=False)
    return distances.permute(0, 2, 3, 1).add(padding)


def recoloured(pixels: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """Photos with other brightness, then contrast, then saturation; a factor of 1 changes nothing.

    Args:
        pixels: float32 [n, size, size, 3] in [0, 1].
        brightness: a factor a photo, float32 [n]; the others likewise.
    Source: torchvision.transforms.v2.functional.adjust_brightness, adjust_contrast, adjust_saturation, which agree.
    """
    pixels = (pixels * _by_photo(brightness)).clamp_(0, 1)
    mean_grey = _grey(pixels).mean(dim=(1, 2, 3), keepdim=True)
    pixels = _blended(pixels, mean_grey, _by_photo(contrast))
    return _blended(pixels, _grey(pixels), _by_photo(saturation))


def blanked(pixels: Tensor, side_px: int, left: Tensor, top: Tensor) -> Tensor:
    """Photos with a square of `PADDING` somewhere, all of it inside the photo.

    Args:
        pixels: uint8, or float32 in [0, 1], [n, size, size, 3].
        left: where it begins, as a share of the places that it can begin at: float32 [n], in [0, 1); `top` likewise.
    """
    size = pixels.shape[1]
    places = torch.arange(size, device=pixels.device)
    from_top, from_left = (places - (share * (size - side_px + 1)).long()[:, None] for share in (top, left))
    rows, columns = ((distance >= 0) & (distance < side_px) for distance in (from_top, from_left))
    return torch.where((rows[:, :, None] & columns[:, None, :])[..., None], _padding(pixels), pixels)


def _placements(draws: Draws, config: AugmentationConfig) -> Tensor:
    """What `warped` takes: the photo is turned about its middle, then a window is cut from it, which is mirrored or not."""
    angle = (2 * draws.angle - 1) * math.radians(config.rotation)
    share = 1 - config.crop * draws.crop
    left, top = ((2 * draw - 1) * (1 - share) for draw in (draws.left, draws.top))  # of the window's middle
    cosine, sine = angle.cos(), angle.sin()
    mirror = torch.where(draws.flip < config.flip, -share, share)
    return torch.stack(
        (
            torch.stack((cosine * mirror, -sine * share, cosine * left - sine * top), dim=1),
            torch.stack((sine * mirror, cosine * share, sine * left + cosine * top), dim=1),
        ),
        dim=1,
    )


def _as_floats(pixels: Tensor) -> Tensor:
    return pixels.to(torch.float32).div_(255) if pixels.dtype == torch.uint8 else pixels


def _blended(pixels: Tensor, others: Tensor, factor: Tensor) -> Tensor:
    """`factor` of the pixels and the rest of the others, in place; beyond 0 and 1 are no colours."""
    return pixels.mul_(factor).add_(others.mul(1 - factor)).clamp_(0, 1)


def _grey(pixels: Tensor) -> Tensor:
    """Luma of [n, height, width, 3], the last dimension kept. Source: ITU-R BT.601, as Pillow and torchvision have it."""
    red, green, blue = pixels.unbind(dim=3)
    return torch.add(red * 0.2989, green, alpha=0.587).add_(blue, alpha=0.114)[..., None]


def _padding(pixels: Tensor) -> Tensor:
    """`PADDING` in the unit of these pixels, [3]."""
    padding = torch.tensor(PADDING, dtype=torch.uint8)
    return send(padding if pixels.dtype == torch.uint8 else padding / 255, pixels.device)


def _by_photo(values: Tensor) -> Tensor:
    """[n] → [n, 1, 1, 1]."""
    return values[:, None, None, None]
