"""Small random moves of images: what excites a network only at one exact place, angle and size is no feature of it."""

import math

import torch
from torch import Tensor
from torch.nn import functional

# Source: `standard_transforms` in lucid/optvis/transform.py: two jitters of 8 and 4 px (crops: up to half of that to each
# side), 11 scales from 0.9 to 1.1, whole degrees from −10 to 10 with five more chances of none; 0.5 around the image.
JITTER_PX = (8 + 4) / 2
JITTERED_SIZE_PX = 128  # lucid's images; on other sizes the jitter is the same share of the side
SCALES = tuple(1 + (step - 5) / 50 for step in range(11))
DEGREES = (*range(-10, 11), *(0,) * 5)
SURROUNDING = 0.5


def moved(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image shifted, rotated and scaled by draws of its own, in one bilinear resampling; differentiable.

    Args:
        images: float [n, 3, size, size] in [0, 1]; what comes in from outside is grey.
    """
    grid = functional.affine_grid(_drawn(len(images), generator).to(images.device), list(images.shape), align_corners=False)
    return functional.grid_sample(images - SURROUNDING, grid, align_corners=False) + SURROUNDING


def _drawn(num_images: int, generator: torch.Generator) -> Tensor:
    """Affine maps from places in the result to places in the image, in half sides, [num_images, 2, 3]."""
    angles = torch.tensor(DEGREES)[torch.randint(len(DEGREES), (num_images,), generator=generator)] * (math.pi / 180)
    scales = torch.tensor(SCALES)[torch.randint(len(SCALES), (num_images,), generator=generator)]
    shifts = (2 * torch.rand(num_images, 2, generator=generator) - 1) * (2 * JITTER_PX / JITTERED_SIZE_PX)
    cosines, sines = angles.cos() / scales, angles.sin() / scales
    rows = torch.stack([cosines, -sines, shifts[:, 0], sines, cosines, shifts[:, 1]], dim=1)
    return rows.view(num_images, 2, 3)
