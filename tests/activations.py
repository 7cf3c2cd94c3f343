"""What the tests of cached activations have in common: inputs of a recipe, and a few steps of training on them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from study.data.examples import Examples, examples_of
from study.data.study_data import StudyData
from study.models.classifier import Classifier, build_classifier
from study.models.normalization import make_normalizer
from study.models.weights import RANDOM_DIGEST, ResolvedWeights
from study.training.activation_cache import ActivationCache
from study.training.activations import CacheFacts, open_inputs
from study.training.batches import ImageInputs, Inputs, split_batches
from study.trial import TrialConfig, with_values

CPU = torch.device("cpu")


def config_of(backbone: str = "squeezenet1_1", freeze_depth: float = 1.0, **values: object) -> TrialConfig:
    """A recipe; dotted keys are written with two underscores."""
    config = TrialConfig(backbone=backbone, freeze_depth=freeze_depth)
    return with_values(config, {name.replace("__", "."): value for name, value in values.items()})


def image_inputs(
    data: StudyData,
    config: TrialConfig,
    *,
    weights: ResolvedWeights | None = None,
    device: torch.device = CPU,
    seed: int = 0,
) -> ImageInputs:
    """Photos in front of a model whose head is drawn from `seed`."""
    weights = weights or ResolvedWeights(None, RANDOM_DIGEST)
    model = build_classifier(config, data.num_classes, weights, seed, image_size=config.seen_size(data.image_size))
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    normalizer = make_normalizer(config.normalization, data.statistics, config.colour_mode)
    return ImageInputs(data.images, normalizer, model, device, image_size=config.image_size, colour_mode=config.colour_mode)


def opened(
    images: ImageInputs,
    data: StudyData,
    config: TrialConfig,
    folder: Path | None = None,
    *,
    cache: ActivationCache | None = None,
    examples: Examples | None = None,
    weights_digest: str = "weights",
) -> tuple[Inputs, CacheFacts]:
    """`open_inputs`, by default for weights that others could have too, and a process that has opened nothing yet."""
    return open_inputs(
        images,
        data,
        examples or examples_of(data),
        config,
        weights_digest=weights_digest,
        cache=cache or ActivationCache(folder),
    )


def entered(inputs: Inputs, examples: np.ndarray, generator: torch.Generator | None = None) -> torch.Tensor:
    """The activations of one batch."""
    (raw,) = inputs.read([examples])
    return inputs.enter(raw, generator).activations


def train(
    model: Classifier,
    inputs: Inputs,
    data: StudyData,
    *,
    epochs: int,
    lr: float = 1e-3,
    batch_size: int = 16,
    seed: int = 0,
) -> list[float]:
    """Trains with Adam, in the same order and with the same dropout each time; returns the losses."""
    optimizer = torch.optim.Adam(list(model.trainable_parameters()), lr=lr)
    labels = torch.tensor(data.labels)
    order = np.random.default_rng(seed)
    losses: list[float] = []
    model.train()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for _ in range(epochs):
            batches = split_batches(order.permutation(data.splits.train), batch_size)
            for batch, raw in zip(batches, inputs.read(batches), strict=True):
                outputs = model.suffix(inputs.enter(raw, None).activations)
                loss = functional.cross_entropy(outputs, labels[batch])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                losses.append(loss.item())
    return losses


def enlarged(data: StudyData) -> StudyData:
    """The same in 64 px, the least that AlexNet takes."""
    return replace(data, images=data.images.repeat(2, axis=1).repeat(2, axis=2))
