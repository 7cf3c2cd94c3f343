"""What excites a unit most: images made from nothing by gradient ascent."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from study.analysis.activation import Activation, Unit, device_of, normalized
from study.analysis.fourier_images import images_of, start_spectrum
from study.analysis.image_transforms import moved
from study.data.images import Pixels
from study.models.colour_modes import images_without_colour
from study.models.exported import ExportedModel

LEARNING_RATE = 0.05  # of Adam. Source: `render_vis` in lucid/optvis/render.py, which takes 512 steps
DEFAULT_STEPS = 128  # more change little: on SqueezeNet the forms are there after 64
DEFAULT_IMAGES = 3


@dataclass(frozen=True, eq=False)
class Visualization:
    """Images that excite a unit.

    Attributes:
        pixels: uint8 [num_images, num_views, size, size, 3].
        activations: of each, by the model as it takes photos; float32 [num_images].
        starts: likewise of the grey images with a little noise that they were made from.
    """

    unit: Unit
    pixels: Pixels
    activations: npt.NDArray[np.float32]
    starts: npt.NDArray[np.float32]


def maximize_activation(
    model: ExportedModel, unit: Unit, num_images: int = DEFAULT_IMAGES, steps: int = DEFAULT_STEPS, seed: int = 0
) -> Visualization:
    """Images that excite the unit, whichever small move they are seen under.

    Args:
        unit: of a class, best the score: its probability has no gradient where it is 0 or 1.
        model: one that was trained without colour gets images without colour.
        num_images: made side by side from different draws; of a model of several views each has that many.
        seed: the same gives the same images on the same machine.
    """
    generator = torch.Generator().manual_seed(seed)
    size_px, num_views = model.contract.image_size, model.contract.num_views
    activation = Activation(model, unit)
    spectrum = start_spectrum(num_images * num_views, size_px, generator).to(device_of(model)).requires_grad_()
    starts = _as_photos(_images_of(spectrum.detach(), model))
    optimizer = torch.optim.Adam([spectrum], lr=LEARNING_RATE)
    for _ in range(steps):
        images = moved(_images_of(spectrum, model), generator)
        loss = -activation(normalized(images, model.contract.normalization)).sum()
        # The spectrum's gradient alone: `backward` would leave one on every weight.
        (spectrum.grad,) = torch.autograd.grad(loss, [spectrum])
        optimizer.step()
    pixels = _as_photos(_images_of(spectrum.detach(), model))
    first, last = (_activations(model, activation, photos) for photos in (starts, pixels))
    return Visualization(unit, pixels.reshape(num_images, num_views, size_px, size_px, 3), last, first)


def _images_of(spectrum: Tensor, model: ExportedModel) -> Tensor:
    images = images_of(spectrum, model.contract.image_size)
    return images if model.contract.colour_mode == "rgb" else images_without_colour(images)


def _as_photos(images: Tensor) -> Pixels:
    pixels: Pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return pixels


def _activations(model: ExportedModel, activation: Activation, pixels: Pixels) -> npt.NDArray[np.float32]:
    with torch.no_grad():
        photos = torch.tensor(pixels, device=device_of(model))
        found: npt.NDArray[np.float32] = activation(model.contract.network_input(photos)).cpu().numpy()
    return found
