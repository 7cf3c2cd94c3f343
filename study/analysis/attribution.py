"""Two other answers to where a network looked, for comparison with occlusion: Grad-CAM and integrated gradients, by captum."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from captum.attr import IntegratedGradients, LayerAttribution, LayerGradCam  # type: ignore[import-untyped]
from torch import Tensor, nn

from study.analysis.activation import Activation, Unit, device_of, network_input, with_fixed_statistics
from study.data.images import Pixels
from study.errors import ModelError
from study.models.colour_modes import as_seen
from study.models.exported import ExportedModel

Maps = npt.NDArray[np.float32]

# Of the integral. With 32 the attributions of SqueezeNet's class scores on real photos sum to the change of the score within
# a few percent; Sundararajan et al. 2017, section 5, advise 20 to 300.
INTEGRATION_STEPS = 32
STEPS_AT_ONCE = 8  # photos in memory at once, with all that their gradients need


def grad_cam(model: ExportedModel, pixels: Pixels, unit: Unit) -> Maps:
    """Where the last maps of features speak for the unit, at the photo's size; float32 [num_views, size, size], ≥ 0.

    Args:
        pixels: one example as the model sees it, uint8 [num_views, size, size, 3].
    Raises:
        ModelError: if no layer of the network is a map of places, as in vision transformers.
    Source: Selvaraju et al. 2017, "Grad-CAM", eq. 1 and 2.
    """
    size_px = model.contract.image_size
    images = network_input(model.contract, pixels, device_of(model)).requires_grad_()
    layer = last_map(model, images.detach(), unit)
    with torch.enable_grad():
        coarse = LayerGradCam(Activation(model, unit), layer).attribute(images, relu_attributions=True)
    maps: Tensor = LayerAttribution.interpolate(coarse.detach(), (size_px, size_px), "bilinear")
    return maps[:, 0].cpu().numpy()


def integrated_gradients(model: ExportedModel, pixels: Pixels, unit: Unit, steps: int = INTEGRATION_STEPS) -> Maps:
    """What each pixel added to the unit on the way from a photo of nothing; float32 [num_views, size, size], with sign.

    The photo of nothing has the colour that photos are padded with, normalised by the photo's own statistics where these are
    used. All pixels together add up to the activation less that of the photo of nothing.

    Args:
        pixels: one example as the model sees it, uint8 [num_views, size, size, 3].
    Source: Sundararajan, Taly and Yan 2017, "Axiomatic Attribution for Deep Networks", eq. 1 and 3.
    """
    images = network_input(model.contract, pixels, device_of(model))
    activation = Activation(model, unit)

    def of_example(views: Tensor) -> Tensor:
        return activation(views.reshape(-1, *images.shape[1:]))

    # captum takes an example as one row: all its views next to each other.
    row, nothing = (values.reshape(1, -1, *images.shape[2:]) for values in (images, _nothing(model, pixels)))
    with torch.enable_grad():
        added = IntegratedGradients(of_example).attribute(
            row.requires_grad_(), nothing, n_steps=steps, internal_batch_size=STEPS_AT_ONCE
        )
    maps: npt.NDArray[np.float32] = added.detach().view(images.shape).sum(dim=1).float().cpu().numpy()
    return maps


def last_map(model: ExportedModel, images: Tensor, unit: Unit) -> nn.Module:
    """The last layer in front of the unit whose output is a map, [n, channels, side, side] of more than one place.

    Raises:
        ModelError: if there is none.
    """
    found: list[nn.Module] = []

    def note(layer: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] == output.shape[3] > 1:
            found.append(layer)

    hooks = [layer.register_forward_hook(note) for layer in _layers_of(model.module.stages)]
    try:
        with torch.no_grad():
            Activation(model, unit)(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise ModelError(
            f"Grad-CAM needs a layer of feature maps, but `{model.contract.backbone}` has none: its layers hold tokens. "
            f"Use --method occlusion or integrated_gradients."
        )
    return found[-1]


def _nothing(model: ExportedModel, pixels: Pixels) -> Tensor:
    """As `network_input` of photos in the padding's colour, with each photo's own statistics where these are used."""
    device = device_of(model)
    size_px = model.contract.image_size
    padding = torch.tensor(model.contract.padding, dtype=torch.uint8, device=device).expand(1, size_px, size_px, 3)
    colour = as_seen(padding, model.contract.colour_mode)
    return torch.cat([with_fixed_statistics(model.contract.normalization, view)(colour) for view in pixels])


def _layers_of(module: nn.Module) -> Iterator[nn.Module]:
    """The layers of chains within chains, in the order in which they compute."""
    for child in module.children():
        if type(child) is nn.Sequential:
            yield from _layers_of(child)
        else:
            yield child
