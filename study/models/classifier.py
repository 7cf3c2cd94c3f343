"""A backbone with a head for our classes; its first stages frozen."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Self

import torch
from torch import Tensor, nn

from study.models.backbones import NUM_IMAGENET_CLASSES, Backbone, cut
from study.models.weights import ResolvedWeights, load_network
from study.trial import Head, TrialConfig


class Classifier(nn.Module):
    """Stages from the input on, then a head that is always trained.

    The frozen stages are a fixed function: no gradient, no dropout, and batch norm with its running statistics, in training
    as well. So what they make of a photo can be computed once.

    Attributes:
        stages: by name, the first `num_frozen` of them frozen.
        head: the last stage's output → logits [num_images, num_classes].
        num_frozen: in [0, number of stages].
    """

    def __init__(self, stages: Mapping[str, nn.Module], head: nn.Module, num_frozen: int) -> None:
        super().__init__()
        self.stages = nn.Sequential(OrderedDict(stages))
        self.head = head
        self.num_frozen = num_frozen
        for stage in self.frozen_stages:
            stage.requires_grad_(False)
        self.train()

    @property
    def frozen_stages(self) -> list[nn.Module]:
        """The stages that stay as they are, input first."""
        return list(self.stages)[: self.num_frozen]

    def trainable_parameters(self) -> Iterator[nn.Parameter]:
        """What an optimizer may change."""
        return (parameter for parameter in self.parameters() if parameter.requires_grad)

    def train(self, mode: bool = True) -> Self:
        """As `nn.Module.train`, but the frozen stages stay in evaluation."""
        super().train(mode)
        for stage in self.frozen_stages:
            stage.eval()
        return self

    def prefix(self, images: Tensor) -> Tensor:
        """What the frozen stages make of normalised images [n, 3, height, width], without gradient."""
        with torch.no_grad():
            for stage in self.frozen_stages:
                images = stage(images)
        return images

    def suffix(self, activations: Tensor) -> Tensor:
        """Logits [n, num_classes] from what `prefix` returned."""
        for stage in list(self.stages)[self.num_frozen :]:
            activations = stage(activations)
        logits: Tensor = self.head(activations)
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, num_classes] of normalised images [n, 3, height, width]."""
        return self.suffix(self.prefix(images))


def build_classifier(config: TrialConfig, num_classes: int, weights: ResolvedWeights, seed: int) -> Classifier:
    """The classifier that a trial begins with; the same arguments give the same parameters.

    Args:
        weights: of `config.backbone`, as `resolve_weights` returned them.
        seed: of the head, and of the backbone where its weights are random. torch's global generator is left as it was.
    Raises:
        ModelError: if the weights' file is not there, or does not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        backbone = cut(config.backbone, load_network(config.backbone, weights))
        return attach_head(backbone, config.head, num_classes, config.freeze_depth)


def attach_head(backbone: Backbone, head: Head, num_classes: int, freeze_depth: float) -> Classifier:
    """The backbone's stages with a head of torch's default initialisation.

    Args:
        head: "replace": a linear layer instead of the original last layers, behind the same dropout; "append": a linear layer
            after them, which makes them the backbone's last stage.
        freeze_depth: share of the stages, from the input, that is frozen: `round(freeze_depth * number of stages)` of them
            (Python's rounding: half to even).
    """
    stages = dict(backbone.stages)
    if head == "append":
        stages["logits"] = backbone.logits
        num_features, dropout = NUM_IMAGENET_CLASSES, 0.0
    else:
        if not isinstance(backbone.pool, nn.Identity):
            last = next(reversed(stages))
            stages[last] = nn.Sequential(stages[last], backbone.pool)
        num_features, dropout = backbone.num_features, backbone.dropout
    linear = nn.Linear(num_features, num_classes)
    layers: OrderedDict[str, nn.Module] = OrderedDict(dropout=nn.Dropout(dropout), linear=linear)
    return Classifier(stages, nn.Sequential(layers), num_frozen=round(freeze_depth * len(stages)))
