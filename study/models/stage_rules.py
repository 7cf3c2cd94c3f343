"""Stages by rule: for the many networks that are one chain of layers, a row that says where each stage begins."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from torch import nn

from study.models.backbone import Backbone, joined

POOLED: tuple[Callable[[], nn.Module], ...] = (lambda: nn.AdaptiveAvgPool2d(1), nn.Flatten)


@dataclass(frozen=True)
class StageRule:
    """How a network whose layers compute in the order in which they are registered is cut.

    Attributes:
        opened: children that are taken apart; a layer of theirs is called `child.layer`.
        starts: pattern of a layer's whole name → name of the stage that begins there, in which \\1 is the pattern's group.
            A layer that matches none belongs to the stage before it; of several matches the first counts.
        last: pattern of the first of the original last layers: a dropout or nothing, and the linear layer.
        between: layer's name → what torchvision computes in front of it without a module; belongs to the stage before it.
    """

    opened: tuple[str, ...]
    starts: Mapping[str, str]
    last: str
    between: Mapping[str, tuple[Callable[[], nn.Module], ...]] = field(default_factory=dict)

    def __call__(self, network: nn.Module) -> Backbone:
        """`network` in pieces."""
        groups: dict[str, list[nn.Module]] = {}
        last_layers: list[nn.Module] = []
        current = last_layers  # replaced at the first layer, which begins a stage
        for name, layer in _layers_of(network, self.opened):
            current.extend(make() for make in self.between.get(name, ()))
            if re.fullmatch(self.last, name):
                current = last_layers
            elif (stage := self._stage_at(name)) is not None:
                current = groups.setdefault(stage, [])
            current.append(layer)
        stages = {name: layers[0] if len(layers) == 1 else nn.Sequential(*layers) for name, layers in groups.items()}
        *dropouts, linear = last_layers
        assert isinstance(linear, nn.Linear), f"the last layers are {last_layers}"
        return joined(stages, linear, next((layer.p for layer in dropouts if isinstance(layer, nn.Dropout)), 0.0))

    def _stage_at(self, layer: str) -> str | None:
        matches = ((re.fullmatch(pattern, layer), name) for pattern, name in self.starts.items())
        return next((found.expand(name) for found, name in matches if found), None)


def _layers_of(network: nn.Module, opened: tuple[str, ...]) -> Iterator[tuple[str, nn.Module]]:
    for name, child in network.named_children():
        if name in opened:
            yield from ((f"{name}.{inner}", layer) for inner, layer in child.named_children())
        else:
            yield name, child


# Stage names are those of the network's own attributes, or else the paper's, counted from 1. A last 1×1 convolution is a stage
# of its own: in small networks it holds up to a third of the backbone's parameters (mobilenet_v2: 0.41 of 2.2 million).
DENSENET = StageRule(
    opened=("features",),
    starts={r"features\.conv0": "stem", r"features\.dense(block\d)": r"\1"},  # a transition belongs to the block before it
    last="classifier",
    between={"classifier": (nn.ReLU, *POOLED)},
)
GOOGLENET = StageRule(
    opened=(),
    starts={"conv1": "stem", r"(inception\d\w)": r"\1"},
    last="dropout",
    between={"dropout": (nn.Flatten,)},
)
INCEPTION = StageRule(
    opened=(),
    starts={"Conv2d_1a_3x3": "stem", r"(Mixed_\d\w)": r"\1"},
    last="dropout",
    between={"dropout": (nn.Flatten,)},
)
MNASNET = StageRule(
    opened=("layers", "classifier"),
    starts={
        r"layers\.0": "stem",
        r"layers\.8": "stack1",
        r"layers\.9": "stack2",
        r"layers\.10": "stack3",
        r"layers\.11": "stack4",
        r"layers\.12": "stack5",
        r"layers\.13": "stack6",
        r"layers\.14": "last_conv",
    },
    last=r"classifier\.0",
    between={"classifier.0": POOLED},
)
MOBILENET_V2 = StageRule(
    opened=("features", "classifier"),
    starts={r"features\.0": "stem", r"features\.18": "last_conv", r"features\.(\d+)": r"block\1"},
    last=r"classifier\.0",
    between={"classifier.0": POOLED},
)


def _mobilenet_v3(last_conv: int) -> StageRule:
    return StageRule(
        opened=("features", "classifier"),
        starts={
            r"features\.0": "stem",
            rf"features\.{last_conv}": "last_conv",
            r"features\.(\d+)": r"block\1",
            r"classifier\.0": "pre_logits",
        },
        last=r"classifier\.2",
        between={"classifier.0": (nn.Flatten,)},
    )


MOBILENET_V3_SMALL = _mobilenet_v3(12)
MOBILENET_V3_LARGE = _mobilenet_v3(16)
EFFICIENTNET = StageRule(
    opened=("features", "classifier"),
    starts={r"features\.0": "stem", r"features\.(\d+)": r"stage\1"},  # the last of them is the 1×1 convolution
    last=r"classifier\.0",
    between={"classifier.0": (nn.Flatten,)},
)
# Both come as: stem, stage, downsampling, stage, …; a downsampling goes with the stage behind it.
_PYRAMID = {
    r"features\.0": "stem",
    r"features\.1": "stage1",
    r"features\.2": "stage2",
    r"features\.4": "stage3",
    r"features\.6": "stage4",
}
CONVNEXT = StageRule(opened=("features", "classifier"), starts=_PYRAMID, last=r"classifier\.2")
SWIN = StageRule(opened=("features",), starts=_PYRAMID, last="head")
REGNET = StageRule(
    opened=("trunk_output",),
    starts={"stem": "stem", r"trunk_output\.(block\d)": r"\1"},
    last="fc",
    between={"fc": (nn.Flatten,)},
)
SHUFFLENET = StageRule(
    opened=(),
    starts={"conv1": "stem", r"(stage\d)": r"\1", "conv5": "last_conv"},
    last="fc",
    between={"fc": POOLED},
)
MAXVIT = StageRule(
    opened=("blocks", "classifier"),
    starts={
        "stem": "stem",
        r"blocks\.0": "block1",
        r"blocks\.1": "block2",
        r"blocks\.2": "block3",
        r"blocks\.3": "block4",
        r"classifier\.0": "pre_logits",
    },
    last=r"classifier\.5",
)
