"""Stages of AlexNet, VGG, ResNet and SqueezeNet, where layers have papers' names and dropouts need care."""

from collections.abc import Iterable
from typing import Any

from torch import nn
from torchvision.models.squeezenet import Fire

from study.models.backbone import Backbone, joined


def cut_alexnet(network: Any) -> Backbone:
    """Stages conv1 … conv5, fc6, fc7: the paper's names. Source: Krizhevsky et al. 2012, section 3.5."""
    dropout6, linear6, relu6, dropout7, linear7, relu7, linear8 = network.classifier
    stages: dict[str, nn.Module] = {
        f"conv{number}": nn.Sequential(*layers)
        for number, layers in enumerate(_starting_with(network.features, (nn.Conv2d,)), start=1)
    }
    stages["fc6"] = nn.Sequential(network.avgpool, nn.Flatten(), dropout6, linear6, relu6)
    stages["fc7"] = nn.Sequential(dropout7, linear7, relu7)
    return joined(stages, linear8)


def cut_vgg(network: Any) -> Backbone:
    """Stages block1 … block5 (each ends with its max pooling), fc6, fc7. A dropout goes with the layer that reads through it,
    so that a frozen fc7 leaves the head's dropout on."""
    linear6, relu6, dropout6, linear7, relu7, dropout7, linear8 = network.classifier
    stages: dict[str, nn.Module] = {
        f"block{number}": nn.Sequential(*layers)
        for number, layers in enumerate(_ending_with(network.features, nn.MaxPool2d), start=1)
    }
    stages["fc6"] = nn.Sequential(network.avgpool, nn.Flatten(), linear6, relu6)
    stages["fc7"] = nn.Sequential(dropout6, linear7, relu7)
    return joined(stages, linear8, dropout7.p)


def cut_resnet(network: Any) -> Backbone:
    """Stages stem, layer1 … layer4; layer4 ends with the global average."""
    stages: dict[str, nn.Module] = {
        "stem": nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool),
        "layer1": network.layer1,
        "layer2": network.layer2,
        "layer3": network.layer3,
        "layer4": nn.Sequential(network.layer4, network.avgpool, nn.Flatten()),
    }
    return joined(stages, network.fc)


def cut_squeezenet(network: Any) -> Backbone:
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
