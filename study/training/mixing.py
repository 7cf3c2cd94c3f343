"""Two examples blended into one that is partly of either class: mixup and cutmix."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from study.models.devices import send
from study.trial import AugmentationConfig


@dataclass(frozen=True, eq=False)
class Mixed:
    """What a batch of n examples was blended with.

    Attributes:
        partner: position in the batch of the example that was blended into each, int64 [n], on the batch's device.
        share: what is left of the example itself, in [0, 1]; the partner's label weighs the rest.
    """

    partner: Tensor
    share: float


@dataclass(frozen=True, eq=False)
class Mixture:
    """How one batch is blended.

    Attributes:
        partner: see `Mixed`, but on the CPU.
        share: likewise.
        box: cutmix: which pixels are the partner's (top, bottom, left, right; the ends are not in it); mixup: None.
    """

    partner: Tensor
    share: float
    box: tuple[int, int, int, int] | None = None


def draw_mixture(config: AugmentationConfig, num_examples: int, size: int, generator: torch.Generator) -> Mixture:
    """One share, one box and a random order of partners for the whole batch.

    Args:
        config: with `mixing` of "mixup" or "cutmix".
        size: side of the photos in pixels.
        generator: on the CPU.
    Source: Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization"; Yun et al. 2019, "CutMix"; torchvision's
        transforms.v2.MixUp and CutMix, which agree but for the order of partners (theirs is the batch moved on by one).
    """
    partner = torch.randperm(num_examples, generator=generator)
    # numpy's: torch has a Beta distribution, but none that draws from a generator.
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    random = np.random.default_rng(seed)
    share = float(random.beta(config.mixing_alpha, config.mixing_alpha))
    if config.mixing == "mixup":
        return Mixture(partner, share)
    half = int(0.5 * math.sqrt(1 - share) * size)
    (top, bottom), (left, right) = (
        (max(middle - half, 0), min(middle + half, size)) for middle in random.integers(size, size=2)
    )
    # A box that reaches beyond the edge covers less than was drawn.
    return Mixture(partner, 1 - (bottom - top) * (right - left) / size**2, (int(top), int(bottom), int(left), int(right)))


def mix(images: Tensor, mixture: Mixture, num_views: int) -> tuple[Tensor, Mixed]:
    """The blended images, and what a loss has to know of it; a view is blended with the same view of the partner.

    Args:
        images: normalised, float [n * num_views, 3, size, size].
    """
    photos = images.permute(0, 2, 3, 1)  # channels are last in memory, and stay so
    others = send((mixture.partner[:, None] * num_views + torch.arange(num_views)).flatten(), images.device)
    if mixture.box is None:
        mixed = torch.lerp(photos.index_select(0, others), photos, mixture.share)
    else:
        top, bottom, left, right = mixture.box
        mixed = photos.clone()
        mixed[:, top:bottom, left:right] = photos[:, top:bottom, left:right].index_select(0, others)
    return mixed.permute(0, 3, 1, 2), Mixed(send(mixture.partner, images.device), mixture.share)
