"""Pixels as a backbone wants them: scaled, shifted, channels first; on whatever device they are."""

from typing import NamedTuple, Self

import torch
from pydantic import model_validator
from torch import Tensor, nn

from study.data.statistics import ChannelStatistics
from study.models.devices import send
from study.trial import ColourMode, Normalization, Plain

Channels = tuple[float, float, float]

# Red, green, blue of pixels in [0, 1]. Source: torchvision.transforms._presets.ImageClassification, which torchvision's
# ImageNet weights were evaluated with.
IMAGENET_MEAN: Channels = (0.485, 0.456, 0.406)
IMAGENET_STD: Channels = (0.229, 0.224, 0.225)
# One grey level: a flat channel becomes 0, and rounding noise is not blown up to contrast.
SMALLEST_STD = 1 / 255


class ChannelScale(NamedTuple):
    """What is subtracted from pixels in [0, 1], and what they are then divided by, per channel."""

    mean: Channels
    std: Channels


IMAGENET = ChannelScale(IMAGENET_MEAN, IMAGENET_STD)
HALF = ChannelScale(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


class Renormalize(nn.Module):
    """Photos normalised by ImageNet's statistics → as a network expects them that was trained on another scale.

    Part of such a backbone's first stage whatever its weights and whatever the trial's normalisation, so that all backbones
    are given the same photos.
    """

    factor: Tensor
    offset: Tensor

    def __init__(self, scale: ChannelScale) -> None:
        super().__init__()
        imagenet_mean, imagenet_std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        mean, std = torch.tensor(scale.mean), torch.tensor(scale.std)
        # Not persistent: they belong to the architecture, and weights files do not hold them.
        self.register_buffer("factor", (imagenet_std / std).view(3, 1, 1), persistent=False)
        self.register_buffer("offset", ((imagenet_mean - mean) / std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Float [n, 3, height, width] → the same shape."""
        return images * self.factor + self.offset


class Normalizer(Plain):
    """A callable: pixels [n, height, width, 3] → float32 [n, 3, height, width], channels last in memory.

    Attributes:
        kind: "imagenet" and "global" subtract `mean` and divide by `std`; "local" uses each photo's own, padding included.
        mean: per channel, of pixels in [0, 1]; None if local.
        std: likewise; nothing is divided by less than `SMALLEST_STD`.
    """

    kind: Normalization
    mean: Channels | None = None
    std: Channels | None = None

    @model_validator(mode="after")
    def _has_its_statistics(self) -> Self:
        is_local = self.kind == "local"
        if (self.mean is None) != is_local or (self.std is None) != is_local:
            raise ValueError(f"mean and std must be given unless local, but kind={self.kind}, mean={self.mean}, std={self.std}")
        return self

    def __call__(self, pixels: Tensor, out: Tensor | None = None) -> Tensor:
        """Normalised photos; the layout in memory stays that of `pixels`, which convolutions are fastest on.

        Args:
            pixels: [n, height, width, 3], uint8 or, in [0, 1], float32; left as they are.
            out: what the result is written to, float32 [n, height, width, 3], contiguous; None: new memory.
        """
        # Measured on one AVX-512 core at 224 px, batch 32: channels-last forward and backward is 1.5× (resnet18) and 1.3×
        # (squeezenet1_0) as fast as channels-first, forward alone 1.7× and 2.1×.
        num_photos, height, width, _ = pixels.shape
        white = 255.0 if pixels.dtype == torch.uint8 else 1.0
        result = torch.empty(pixels.shape, dtype=torch.float32, device=pixels.device) if out is None else out
        # A row of pixels is one long line to torch's vector loops, the channels' factors repeated along it. On one core 64
        # photos of 224 px take 1.7 ms, and 6 more where memory is new; channel by channel 18 ms. "local": 15 and 6, before 58.
        rows = result.view(num_photos, height, width * 3)
        rows.copy_(pixels.reshape(rows.shape))
        if self.mean is None or self.std is None:
            _normalize_by_own(rows, SMALLEST_STD * white)
        else:
            stds = [max(std, SMALLEST_STD) for std in self.std]
            scale = torch.tensor([1 / (std * white) for std in stds]).repeat(width)
            shift = torch.tensor([-mean / std for mean, std in zip(self.mean, stds, strict=True)]).repeat(width)
            torch.addcmul(send(shift, rows.device), rows, send(scale, rows.device), out=rows)
        return result.permute(0, 3, 1, 2)


def _normalize_by_own(rows: Tensor, smallest_std: float) -> None:
    """Gives each channel of each photo mean 0 and standard deviation 1, in place.

    Args:
        rows: float32 [n, height, width * 3].
        smallest_std: nothing is divided by less.
    """
    num_photos, height, length = rows.shape
    by_column = (num_photos, length // 3, 3)
    mean = rows.mean(dim=1).view(by_column).mean(dim=1)
    rows.sub_(mean.repeat(1, length // 3)[:, None])
    # Squares are summed down the columns without a copy of the photos.
    squares = torch.linalg.vector_norm(rows, dim=1).view(by_column).square_()
    std = squares.mean(dim=1).div_(height).sqrt_().clamp_(min=smallest_std)
    rows.mul_(std.reciprocal_().repeat(1, length // 3)[:, None])


def make_normalizer(kind: Normalization, statistics: ChannelStatistics, colour_mode: ColourMode = "rgb") -> Normalizer:
    """The normaliser of a trial.

    Args:
        statistics: of the training split; read only where `kind` is "global".
        colour_mode: in which the photos are seen: "global" has the statistics of what is seen. ImageNet's are those of its
            photos in colour, which is what the weights expect of each channel.
    """
    match kind:
        case "imagenet":
            return Normalizer(kind=kind, mean=IMAGENET_MEAN, std=IMAGENET_STD)
        case "global":
            seen = statistics if colour_mode == "rgb" else statistics.without_colour()
            return Normalizer(kind=kind, mean=seen.mean, std=seen.std)
        case "local":
            return Normalizer(kind=kind)
