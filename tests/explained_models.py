"""Models whose answers can be worked out by hand, and real backbones at random, as exported models."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import nn

from study.data.images import Pixels
from study.data.statistics import ChannelStatistics
from study.models.classifier import Classifier, build_classifier
from study.models.contract import ModelContract, TargetScale
from study.models.exported import ExportedModel
from study.models.heads import JoinViews
from study.models.normalization import make_normalizer
from study.models.weights import RANDOM_DIGEST, ResolvedWeights
from study.trial import ColourMode, TrialConfig

STATISTICS = ChannelStatistics(mean=(0.2, 0.4, 0.6), std=(0.1, 0.2, 0.3))


def contract_of(
    size_px: int,
    *,
    backbone: str = "squeezenet1_1",
    classes: tuple[str, ...] = (),
    views: tuple[str, ...] = (),
    normalization: Literal["imagenet", "global", "local"] = "global",
    target: TargetScale | None = None,
    colour_mode: ColourMode = "rgb",
) -> ModelContract:
    """Of classes where any are named, else of a number."""
    scale = target or TargetScale(mean=0.0, std=1.0)
    return ModelContract(
        task="class" if classes else "number",
        classes=classes,
        target=None if classes else scale,
        example_views=views,
        image_size=size_px,
        colour_mode=colour_mode,
        normalization=make_normalizer(normalization, STATISTICS),
        backbone=backbone,
        head="replace",
        freeze_depth=1.0,
        data_digest="d",
        study="explained",
        trial_number=0,
    )


def linear_model(contract: ModelContract, stages: Mapping[str, nn.Module] | None = None) -> ExportedModel:
    """Outputs are weighted sums of the normalised pixels, or of what other `stages` make of them; all stages are frozen."""
    size_px, num_views = contract.image_size, contract.num_views
    built = OrderedDict(stages or {"pixels": nn.Identity()})
    width = nn.Sequential(built)(torch.zeros(1, 3, size_px, size_px)).numel()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = nn.Sequential(nn.Flatten(), JoinViews(num_views), nn.Linear(width * num_views, len(contract.classes) or 1))
    module = Classifier(built, head, num_frozen=len(built), num_views=num_views)
    return ExportedModel(contract, module.eval())


def random_model(contract: ModelContract) -> ExportedModel:
    """The contract's backbone, all frozen, with random weights."""
    config = TrialConfig(backbone=contract.backbone, head=contract.head, freeze_depth=1.0)
    plan = contract.head_plan
    weights = ResolvedWeights(None, RANDOM_DIGEST)
    module = build_classifier(
        config, plan.num_outputs, weights, seed=0, image_size=contract.image_size, num_views=plan.num_views
    )
    return ExportedModel(contract, module.eval())


def random_photos(number: int, size_px: int, seed: int = 0) -> Pixels:
    """Noise, uint8 [number, size, size, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (number, size_px, size_px, 3), dtype=np.uint8)
