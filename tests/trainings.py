"""Trainings of seconds, for every test that needs one."""

from pathlib import Path
from typing import Any

import torch

from study.data.study_data import StudyData
from study.definition import Objective
from study.models.classifier import Classifier, build_classifier
from study.models.weights import RANDOM_DIGEST, ResolvedWeights
from study.training.activation_cache import ActivationCache
from study.training.loop import fit
from study.training.training import Training, start_training
from study.trial import Measurement, OptimizerConfig, TrialConfig

CPU = torch.device("cpu")
RANDOM = ResolvedWeights(None, RANDOM_DIGEST)
FAST = OptimizerConfig(name="adam", lr=1e-2)
# What depends on the clock and the machine, not on the seed.
CIRCUMSTANCES = ("train_images_per_s", "time_share_data", "time_share_train", "time_share_evaluate", "peak_memory_mib")


def config_of(**values: Any) -> TrialConfig:
    fixed = {"backbone": "squeezenet1_1", "epochs": 2, "batch_size": 16, "optimizer": FAST, "normalization": "global"}
    return TrialConfig.model_validate(fixed | values)


def build(config: TrialConfig, data: StudyData, seed: int = 0) -> Classifier:
    size_px = config.seen_size(data.image_size)
    return build_classifier(config, data.num_outputs, RANDOM, seed, image_size=size_px, num_views=data.num_views)


def begin(
    data: StudyData,
    config: TrialConfig,
    *,
    model: Classifier | None = None,
    seed: int = 0,
    weights_digest: str = RANDOM_DIGEST,
    folder: Path | None = None,
    budget_bytes: int | None = None,
    objective: Objective | None = None,
) -> Training:
    """A training before its first epoch; its activations in `folder`, else in memory."""
    return start_training(
        model or build(config, data, seed),
        data,
        config,
        seed=seed,
        device=CPU,
        weights_digest=weights_digest,
        objective=objective or Objective(),
        cache=ActivationCache(folder, budget_bytes),
    )


def run(data: StudyData, config: TrialConfig, **options: Any) -> list[Measurement]:
    return list(fit(begin(data, config, **options)))


def outcomes(measurements: list[Measurement]) -> list[tuple[Any, ...]]:
    """All but the circumstances."""
    return [
        (one.epoch, {name: value for name, value in one.metrics.items() if name not in CIRCUMSTANCES}) for one in measurements
    ]
