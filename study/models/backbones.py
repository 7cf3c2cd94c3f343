"""Every backbone by its name: how it is built for photos of a size, and cut into an ordered list of named stages.

A new torchvision family is one more line of `FAMILIES`: which names, how to cut, which photos it takes.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torchvision
from torch import nn

from study.errors import ModelError, nearest
from study.models import stage_rules, timm_models, timm_stages
from study.models.backbone import Backbone, starting_with
from study.models.classic_stages import cut_alexnet, cut_resnet, cut_squeezenet, cut_vgg
from study.models.normalization import HALF, ChannelScale, Renormalize
from study.models.vision_transformer import cut_vision_transformer

# What torchvision's own weights were trained at, most of them: a network whose parameters depend on the size has these shapes.
DEFAULT_IMAGE_SIZE = 224


@dataclass(frozen=True)
class BackboneFamily:
    """Architectures that are cut alike.

    Attributes:
        pattern: regular expression that a torchvision name must match as a whole.
        cut: takes the family's torchvision module.
        min_image_px: below it a feature map has no pixel left, found by running each family at 1 to 99 px.
        multiple_px: the side must be a multiple of it.
        scale: of the pixels that its ImageNet weights were trained on, where that is not ImageNet's.
            Source: `transform_input` in torchvision's googlenet.py and inception.py; `transforms` of EfficientNet_V2_L_Weights.
        options: image size → what torchvision's builder is told.
    """

    pattern: str
    cut: Callable[[Any], Backbone]
    min_image_px: int = 1
    multiple_px: int = 1
    scale: ChannelScale | None = None
    options: Callable[[int], dict[str, Any]] = lambda image_size: {}


def known_backbones() -> tuple[str, ...]:
    """torchvision's names that a trial's `backbone` may have, sorted; `timm/NAME` are known beside them."""
    names = torchvision.models.list_models(module=torchvision.models)
    return tuple(sorted(name for name in names if _family_of(name) is not None))


def check_backbone(name: str, image_size: int) -> None:
    """Returns if `name` is supported and takes photos of `image_size` pixels. A timm model is run once to find out.

    Raises:
        ModelError: for an unknown name (with the nearest known one), or photos of a size that it does not take.
    """
    if timm_models.is_timm(name):
        timm_stages.check(name, image_size)
    else:
        _check_size(name, _known_family_of(name), image_size)


def make_network(name: str, image_size: int = DEFAULT_IMAGE_SIZE) -> nn.Module:
    """The library's module for photos of `image_size` pixels; its weights are drawn from torch's global generator.

    Auxiliary classifiers (GoogLeNet, Inception) are left out: they serve a training from scratch.

    Raises:
        ModelError: for an unknown name, or photos of a size that it does not take.
    """
    if timm_models.is_timm(name):
        return timm_models.make(name, image_size)
    family = _known_family_of(name)
    _check_size(name, family, image_size)
    network: nn.Module = torchvision.models.get_model(name, weights=None, **family.options(image_size))
    return network


def cut(name: str, network: nn.Module) -> Backbone:
    """`network`, made by `make_network(name, …)`, in pieces, the first of which takes photos normalised as for ImageNet.

    Raises:
        ModelError: for an unknown name, or a timm model that is no chain of stages.
    """
    if timm_models.is_timm(name):
        return timm_stages.cut(name, network)
    family = _known_family_of(name)
    backbone = family.cut(network)
    return backbone if family.scale is None else starting_with(Renormalize(family.scale), backbone)


def _family_of(name: str) -> BackboneFamily | None:
    return next((family for family in FAMILIES if re.fullmatch(family.pattern, name)), None)


def _known_family_of(name: str) -> BackboneFamily:
    known = known_backbones()
    family = _family_of(name) if name in known else None
    if family is None:
        raise ModelError(f"`backbone` must be a torchvision classifier or timm/NAME, but is `{name}`. {nearest(name, known)}")
    return family


def _check_size(name: str, family: BackboneFamily, image_size: int) -> None:
    if image_size < family.min_image_px:
        raise ModelError(
            f"`{name}` takes photos of at least {family.min_image_px} px, but image_size={image_size}. "
            f"Raise image_size, or choose another backbone."
        )
    below, rest = divmod(image_size, family.multiple_px)
    if rest:
        fitting = [number * family.multiple_px for number in (below, below + 1) if number]
        raise ModelError(
            f"`{name}` takes photos of a multiple of {family.multiple_px} px, but image_size={image_size}. "
            f"Set image_size to {' or '.join(map(str, fitting))}, or choose another backbone."
        )


def _without_auxiliary(image_size: int) -> dict[str, Any]:
    # init_weights: as without it, but torchvision then warns that it will change its mind.
    return {"aux_logits": False, "init_weights": True}


def _of_size(image_size: int) -> dict[str, Any]:
    return {"image_size": image_size}


def _of_sides(image_size: int) -> dict[str, Any]:
    return {"input_size": (image_size, image_size)}


FAMILIES = (
    BackboneFamily(r"alexnet", cut_alexnet, min_image_px=63),
    BackboneFamily(r"vgg(11|13|16|19)(_bn)?", cut_vgg, min_image_px=32),
    BackboneFamily(r"(wide_)?res(net|next)\d+(_\d+x\d+d|_\d+)?", cut_resnet),
    BackboneFamily(r"squeezenet1_0", cut_squeezenet, min_image_px=21),
    BackboneFamily(r"squeezenet1_1", cut_squeezenet, min_image_px=17),
    BackboneFamily(r"densenet\d+", stage_rules.DENSENET, min_image_px=29),
    BackboneFamily(r"googlenet", stage_rules.GOOGLENET, min_image_px=15, scale=HALF, options=_without_auxiliary),
    BackboneFamily(r"inception_v3", stage_rules.INCEPTION, min_image_px=75, scale=HALF, options=_without_auxiliary),
    BackboneFamily(r"mnasnet\d_\d+", stage_rules.MNASNET),
    BackboneFamily(r"mobilenet_v2", stage_rules.MOBILENET_V2),
    BackboneFamily(r"mobilenet_v3_small", stage_rules.MOBILENET_V3_SMALL),
    BackboneFamily(r"mobilenet_v3_large", stage_rules.MOBILENET_V3_LARGE),
    BackboneFamily(r"efficientnet_v2_l", stage_rules.EFFICIENTNET, scale=HALF),
    BackboneFamily(r"efficientnet_(b\d|v2_s|v2_m)", stage_rules.EFFICIENTNET),
    BackboneFamily(r"convnext_\w+", stage_rules.CONVNEXT, min_image_px=32),
    BackboneFamily(r"regnet_[xy]_\w+", stage_rules.REGNET),
    BackboneFamily(r"shufflenet_v2_x\d_\d", stage_rules.SHUFFLENET),
    BackboneFamily(r"swin_(v2_)?[tsb]", stage_rules.SWIN, min_image_px=4),
    # Its attention divides each of four feature maps, of 1/4 to 1/32 of the side, in windows of 7.
    BackboneFamily(r"maxvit_t", stage_rules.MAXVIT, multiple_px=224, options=_of_sides),
    BackboneFamily(r"vit_[bl]_16", cut_vision_transformer, multiple_px=16, options=_of_size),
    BackboneFamily(r"vit_[bl]_32", cut_vision_transformer, multiple_px=32, options=_of_size),
    BackboneFamily(r"vit_h_14", cut_vision_transformer, multiple_px=14, options=_of_size),
)
