"""torchvision's classifiers as an ordered list of named stages, at whose boundaries a network can be frozen.

A new family is one more line of `FAMILIES`: which names, how to cut, the smallest photo.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torchvision
from torch import nn
from torchvision.models.squeezenet import Fire

from study.errors import ModelError, nearest

# Every torchvision classifier tells ImageNet's classes apart. Source: Russakovsky et al. 2015, "ImageNet Large Scale Visual
# Recognition Challenge".
NUM_IMAGENET_CLASSES = 1000


@dataclass(frozen=True, eq=False)
class Backbone:
    """A classifier in pieces that share its parameters.

    Attributes:
        stages: by name, input first; the first takes float [num_images, 3, height, width].
        pool: makes [num_images, num_features] of the last stage's output, where a new head reads it; has no parameters.
        logits: the original last layers, from the last stage's output to [num_images, 1000].
        num_features: what a new head reads.
        dropout: probability of the dropout in front of the original last layer; 0 where there is none.
    """

    stages: dict[str, nn.Module]
    pool: nn.Module
    logits: nn.Module
    num_features: int
    dropout: float


@dataclass(frozen=True)
class BackboneFamily:
    """Architectures that are cut alike.

    Attributes:
        pattern: regular expression that a torchvision name must match as a whole.
        cut: takes the family's torchvision module.
        min_image_px: below it a feature map has no pixel left. Source: `min_size` in the metadata of torchvision's weights.
    """

    pattern: str
    cut: Callable[[Any], Backbone]
    min_image_px: int


def known_backbones() -> tuple[str, ...]:
    """Names that a trial's `backbone` may have, sorted."""
    names = torchvision.models.list_models(module=torchvision.models)
    return tuple(sorted(name for name in names if _family_of(name) is not None))


def check_backbone(name: str, image_size: int) -> None:
    """Returns if `name` is supported and takes photos of `image_size` pixels.

    Raises:
        ModelError: for an unknown name (with the nearest known one), or photos that are too small for it.
    """
    smallest_px = _known_family_of(name).min_image_px
    if image_size < smallest_px:
        raise ModelError(
            f"`{name}` takes photos of at least {smallest_px} px, but image_size={image_size}. "
            f"Raise image_size in [data], or choose another backbone."
        )


def make_network(name: str) -> nn.Module:
    """torchvision's module for `name`; its weights are drawn from torch's global generator.

    Raises:
        ModelError: for an unknown name.
    """
    _known_family_of(name)
    network: nn.Module = torchvision.models.get_model(name, weights=None)
    return network


def cut(name: str, network: nn.Module) -> Backbone:
    """`network`, made by `make_network(name)`, in pieces.

    Raises:
        ModelError: for an unknown name.
    """
    return _known_family_of(name).cut(network)


def _family_of(name: str) -> BackboneFamily | None:
    return next((family for family in FAMILIES if re.fullmatch(family.pattern, name)), None)


def _known_family_of(name: str) -> BackboneFamily:
    known = known_backbones()
    family = _family_of(name) if name in known else None
    if family is None:
        raise ModelError(f"`backbone` must be a supported torchvision classifier, but is `{name}`. {nearest(name, known)}")
    return family


def _cut_alexnet(network: Any) -> Backbone:
    """Stages conv1 … conv5, fc6, fc7: the paper's names. Source: Krizhevsky et al. 2012, section 3.5."""
    dropout6, linear6, relu6, dropout7, linear7, relu7, linear8 = network.classifier
    stages: dict[str, nn.Module] = {
        f"conv{number}": nn.Sequential(*layers)
        for number, layers in enumerate(_starting_with(network.features, (nn.Conv2d,)), start=1)
    }
    stages["fc6"] = nn.Sequential(network.avgpool, nn.Flatten(), dropout6, linear6, relu6)
    stages["fc7"] = nn.Sequential(dropout7, linear7, relu7)
    return Backbone(stages, nn.Identity(), linear8, linear8.in_features, dropout=0.0)


def _cut_vgg(network: Any) -> Backbone:
    """Stages block1 … block5 (each ends with its max pooling), fc6, fc7. A dropout goes with the layer that reads through it,
    so that a frozen fc7 leaves the head's dropout on."""
    linear6, relu6, dropout6, linear7, relu7, dropout7, linear8 = network.classifier
    stages: dict[str, nn.Module] = {
        f"block{number}": nn.Sequential(*layers)
        for number, layers in enumerate(_ending_with(network.features, nn.MaxPool2d), start=1)
    }
    stages["fc6"] = nn.Sequential(network.avgpool, nn.Flatten(), linear6, relu6)
    stages["fc7"] = nn.Sequential(dropout6, linear7, relu7)
    logits = nn.Sequential(dropout7, linear8)
    return Backbone(stages, nn.Identity(), logits, linear8.in_features, dropout=dropout7.p)


def _cut_resnet(network: Any) -> Backbone:
    """Stages stem, layer1 … layer4; layer4 ends with the global average."""
    stages: dict[str, nn.Module] = {
        "stem": nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool),
        "layer1": network.layer1,
        "layer2": network.layer2,
        "layer3": network.layer3,
        "layer4": nn.Sequential(network.layer4, network.avgpool, nn.Flatten()),
    }
    return Backbone(stages, nn.Identity(), network.fc, network.fc.in_features, dropout=0.0)


def _cut_squeezenet(network: Any) -> Backbone:
    """Stages conv1, fire2 … fire9: the paper's names. Source: Iandola et al. 2016, table 1.

    Its last layer is a 1×1 convolution, a ReLU and the global average. A new head averages first and is linear: without that
    ReLU (which would keep logits from going below 0) both orders give the same result.
    """
    dropout, convolution, _, average = network.classifier
    groups = _starting_with(network.features, (nn.Conv2d, Fire))
    names = ("conv1", *(f"fire{number}" for number in range(2, 10)))
    stages: dict[str, nn.Module] = {name: nn.Sequential(*layers) for name, layers in zip(names, groups, strict=True)}
    pool = nn.Sequential(average, nn.Flatten())
    logits = nn.Sequential(*network.classifier, nn.Flatten())
    return Backbone(stages, pool, logits, convolution.in_channels, dropout=dropout.p)


def _starting_with(layers: Iterable[nn.Module], kinds: tuple[type[nn.Module], ...]) -> list[list[nn.Module]]:
    """`layers` in groups, each of which begins with a layer of one of `kinds`."""
    groups: list[list[nn.Module]] = []
    for layer in layers:
        if isinstance(layer, kinds):
            groups.append([])
        groups[-1].append(layer)
    return groups


def _ending_with(layers: Iterable[nn.Module], kind: type[nn.Module]) -> list[list[nn.Module]]:
    """`layers` in groups, each of which ends with a layer of `kind`."""
    groups: list[list[nn.Module]] = [[]]
    for layer in layers:
        groups[-1].append(layer)
        if isinstance(layer, kind):
            groups.append([])
    return groups[:-1]


FAMILIES = (
    BackboneFamily(r"alexnet", _cut_alexnet, min_image_px=63),
    BackboneFamily(r"vgg(11|13|16|19)(_bn)?", _cut_vgg, min_image_px=32),
    BackboneFamily(r"(wide_)?res(net|next)\d+(_\d+x\d+d|_\d+)?", _cut_resnet, min_image_px=1),
    BackboneFamily(r"squeezenet1_0", _cut_squeezenet, min_image_px=21),
    BackboneFamily(r"squeezenet1_1", _cut_squeezenet, min_image_px=17),
)
