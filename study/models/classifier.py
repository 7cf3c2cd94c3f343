"""A backbone with a head for our classes or our number; its first stages frozen."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from itertools import chain
from typing import Self

import torch
from torch import Tensor, nn

from study.models.backbone import Backbone
from study.models.backbones import cut, make_network
from study.models.heads import HeadPlan, make_head, stages_under
from study.models.loaded_networks import LoadedNetworks
from study.models.weights import ResolvedWeights, load_network
from study.trial import TrialConfig


class Classifier(nn.Module):
    """Stages from the input on, then a head that is always trained.

    The frozen stages are a fixed function: no gradient, no dropout, and batch norm with its running statistics, in training
    as well. So what they make of a photo can be computed once.

    Attributes:
        stages: by name, the first `num_frozen` of them frozen.
        head: the last stage's output → outputs [num_examples, num_outputs].
        num_frozen: in [0, number of stages].
        num_views: photos of an example; a batch of n examples is n * num_views photos, an example's next to each other.
    """

    def __init__(
        self,
        stages: Mapping[str, nn.Module],
        head: nn.Module,
        num_frozen: int,
        num_views: int = 1,
        *,
        is_sharing: bool = False,
    ) -> None:
        """Freezes the first stages.

        Args:
            is_sharing: other classifiers may hold the same frozen stages.
        """
        super().__init__()
        self.stages = nn.Sequential(OrderedDict(stages))
        self.head = head
        self.num_frozen = num_frozen
        self.num_views = num_views
        self._is_sharing = is_sharing
        for stage in self.frozen_stages:
            stage.requires_grad_(False)
        self.train()

    @property
    def frozen_stages(self) -> list[nn.Module]:
        """The stages that stay as they are, input first."""
        return list(self.stages)[: self.num_frozen]

    @property
    def trainable_stages(self) -> list[nn.Module]:
        """The stages behind them; with the head's, their parameters are all that is trained."""
        return list(self.stages)[self.num_frozen :]

    def trainable_parameters(self) -> Iterator[nn.Parameter]:
        """What an optimizer may change."""
        return (parameter for parameter in self.parameters() if parameter.requires_grad)

    def train(self, mode: bool = True) -> Self:
        """As `nn.Module.train`, but the frozen stages stay in evaluation."""
        self.training = self.stages.training = mode
        for module in (*self.trainable_stages, self.head):
            module.train(mode)
        for stage in self.frozen_stages:
            if stage.training:
                stage.eval()
        return self

    def prefix(self, images: Tensor) -> Tensor:
        """What the frozen stages make of normalised images [n * num_views, 3, height, width], without gradient."""
        with torch.no_grad():
            for stage in self.frozen_stages:
                images = stage(images)
        return images

    def suffix(self, activations: Tensor) -> Tensor:
        """Outputs [n, num_outputs] from what `prefix` returned, [n * num_views, …]."""
        for stage in self.trainable_stages:
            activations = stage(activations)
        outputs: Tensor = self.head(activations)
        return outputs

    def forward(self, images: Tensor) -> Tensor:
        """Outputs [n, num_outputs] of normalised images [n * num_views, 3, height, width]."""
        return self.suffix(self.prefix(images))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """What `to`, `half`, `cuda` … go through: a shared stage that would change is first made this classifier's own."""
        if self._is_sharing:
            for name, stage in list(self.stages.named_children())[: self.num_frozen]:
                if any(fn(value) is not value for value in chain(stage.parameters(), stage.buffers())):
                    setattr(self.stages, name, deepcopy(stage))
        applied: Self = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return applied


def build_classifier(
    config: TrialConfig,
    num_outputs: int,
    weights: ResolvedWeights,
    seed: int,
    *,
    image_size: int,
    num_views: int = 1,
    networks: LoadedNetworks | None = None,
) -> Classifier:
    """The classifier that a trial begins with; the same arguments give the same parameters.

    Args:
        num_outputs: the number of classes; 1 for a number.
        weights: of `config.backbone`, as `resolve_weights` returned them.
        seed: of the head, and of the backbone where its weights are random. torch's global generator is left as it was.
        image_size: side of the photos in pixels.
        num_views: photos of an example.
        networks: where this process keeps what it loaded; None reads the weights' file. Random weights are never kept.
    Raises:
        ModelError: if the weights' file is not there, or does not fit; if the backbone takes no photos of that size.
    """
    plan = HeadPlan(config.head, num_outputs, num_views, config.dropout)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if weights.path is None:
            return attach_head(cut(config.backbone, make_network(config.backbone, image_size)), plan, config.freeze_depth)
        if networks is None:
            backbone = cut(config.backbone, load_network(config.backbone, weights, image_size))
            torch.default_generator.manual_seed(seed)  # a head is drawn alike whether or not the network was built just now
            return attach_head(backbone, plan, config.freeze_depth)
        loaded = networks.backbone(config.backbone, weights, image_size, channels_last=config.compute.channels_last)
        torch.default_generator.manual_seed(seed)
        return attach_head(loaded.backbone, plan, config.freeze_depth, loaded.copy_of)


def attach_head(
    backbone: Backbone,
    plan: HeadPlan,
    freeze_depth: float,
    copy_of: Callable[[nn.Module], nn.Module] | None = None,
) -> Classifier:
    """The backbone's stages with a new head.

    Args:
        freeze_depth: share of the stages, from the input, that is frozen: `round(freeze_depth * number of stages)` of them
            (Python's rounding: half to even).
        copy_of: makes a stage of its own of one that is to be trained; None: the classifier is the only one to hold `backbone`.
    """
    stages = stages_under(backbone, plan.kind)
    num_frozen = round(freeze_depth * len(stages))
    if copy_of is not None:
        frozen = list(stages)[:num_frozen]
        stages = {name: stage if name in frozen else copy_of(stage) for name, stage in stages.items()}
    head = make_head(backbone, plan)
    return Classifier(stages, head, num_frozen, plan.num_views, is_sharing=copy_of is not None)
