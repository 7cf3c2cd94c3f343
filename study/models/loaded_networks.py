"""The networks that this process loaded last, for its next trials: reading AlexNet's weights takes longer than a trial may."""

from collections import OrderedDict
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from study.models.backbone import Backbone
from study.models.backbones import cut
from study.models.weights import ResolvedWeights, load_network

GIB = 2**30
# AlexNet (0.23 GiB), VGG-16 (0.52), ResNet-18 (0.04) and ResNet-50 (0.1) together, and a worker of a shared GPU
# holds as much there.
DEFAULT_BUDGET_BYTES = GIB


class NetworkKey(NamedTuple):
    """What a loaded network depends on."""

    name: str
    weights_digest: str
    image_size: int
    channels_last: bool


@dataclass(frozen=True, eq=False)
class LoadedBackbone:
    """A backbone as its weights file has it; nobody trains or changes it.

    Attributes:
        backbone: in evaluation, no parameter asks for a gradient.
        trained: the ids of those parameters that do ask for one in a training (a few of timm's never do).
    """

    backbone: Backbone
    trained: frozenset[int]

    def copy_of(self, stage: nn.Module) -> nn.Module:
        """A copy of one of its stages, to be trained."""
        copied = deepcopy(stage)
        for original, parameter in zip(stage.parameters(), copied.parameters(), strict=True):
            parameter.requires_grad_(id(original) in self.trained)
        return copied

    @property
    def num_bytes(self) -> int:
        """Memory of its tensors."""
        return sum(value.numel() * value.element_size() for piece in _pieces(self.backbone) for value in _tensors(piece))


class LoadedNetworks:
    """The last networks that were asked for, as their files have them, up to a budget.

    Classifiers share the stages that they freeze, and copy those that they train: a warm trial reads no file, and one that
    trains a head alone copies nothing. The network asked for last is kept even if it alone is over the budget.
    """

    def __init__(self, device: torch.device | None = None, budget_bytes: int = DEFAULT_BUDGET_BYTES) -> None:
        """None kept yet.

        Args:
            device: where trials run: what is kept lies there, and a trial's frozen stages need no transfer.
            budget_bytes: the longest unused are dropped above it.
        """
        self._device = device or torch.device("cpu")
        self._budget_bytes = budget_bytes
        self._kept: OrderedDict[NetworkKey, LoadedBackbone] = OrderedDict()

    def backbone(self, name: str, weights: ResolvedWeights, image_size: int, *, channels_last: bool) -> LoadedBackbone:
        """The backbone `name` with these weights, read from their file unless it is kept.

        Args:
            weights: not random ones: every seed has its own.
            channels_last: its layout in memory, part of what rounding depends on.
        Raises:
            ModelError: if the weights' file is not there, or does not fit.
        """
        key = NetworkKey(name, weights.digest, image_size, channels_last)
        if key not in self._kept:
            self._kept[key] = _pristine(cut(name, load_network(name, weights, image_size)), self._device, channels_last)
        self._kept.move_to_end(key)
        self._drop_unused()
        return self._kept[key]

    @property
    def kept(self) -> tuple[NetworkKey, ...]:
        """What is kept, the longest unused first."""
        return tuple(self._kept)

    def _drop_unused(self) -> None:
        sizes = {key: loaded.num_bytes for key, loaded in self._kept.items()}
        for key in list(self._kept)[:-1]:
            if sum(sizes.values()) <= self._budget_bytes:
                return
            del self._kept[key], sizes[key]


def _pristine(backbone: Backbone, device: torch.device, channels_last: bool) -> LoadedBackbone:
    pieces = nn.ModuleList(_pieces(backbone))
    trained = frozenset(id(parameter) for parameter in pieces.parameters() if parameter.requires_grad)
    if channels_last:
        pieces.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    else:
        pieces.to(device)
    pieces.requires_grad_(False).eval()
    return LoadedBackbone(backbone, trained)


def _pieces(backbone: Backbone) -> list[nn.Module]:
    return [*backbone.stages.values(), backbone.pool, *([backbone.logits] if backbone.logits else [])]


def _tensors(module: nn.Module) -> Iterable[torch.Tensor]:
    yield from module.parameters()
    yield from module.buffers()
