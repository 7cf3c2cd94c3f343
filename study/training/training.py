"""One training: its parts put together from a recipe, and what of them has to be kept to go on another day."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from study.data.examples import Examples, examples_of
from study.data.study_data import StudyData
from study.definition import Objective
from study.errors import TrialError
from study.models.classifier import Classifier
from study.models.normalization import make_normalizer
from study.training.activation_cache import ActivationCache
from study.training.activations import CacheFacts, CacheOutcome, open_inputs
from study.training.averaging import RunningMean
from study.training.batches import ImageInputs, Indices, Inputs, split_batches
from study.training.costs import model_costs
from study.training.early_stopping import EarlyStopping
from study.training.imbalance import Strategy, make_strategy
from study.training.memory import count_peak_anew
from study.training.optimizers import make_optimizer
from study.training.photo_reading import open_reader
from study.training.precision import device_name, resolve_arithmetic
from study.training.schedules import make_schedule
from study.training.state import (
    StateHeader,
    optimizer_parts,
    read_state,
    restore_optimizer,
    with_prefix,
    without_prefix,
    write_state,
)
from study.training.steps import Steps
from study.training.subsets import draw_share
from study.training.targets import Targets, make_targets
from study.training.threads import is_small_step
from study.trial import Measurement, TrialConfig


@dataclass(eq=False)
class Training:
    """A training between two epochs.

    Attributes:
        measurements: of all epochs up to now.
        stopping: knows the best value of the objective up to now.
        best_tensors: what the training had changed by the best epoch, on the CPU.
        recipe_digest: of everything that the training depends on.
        costs: what the objective asks of the model beside its quality.
    """

    config: TrialConfig
    model: Classifier
    examples: Examples
    inputs: Inputs
    targets: Targets
    strategy: Strategy
    steps: Steps
    stopping: EarlyStopping
    objective: Objective
    seed: int
    cache: CacheFacts
    recipe_digest: str
    costs: Mapping[str, float]
    measurements: list[Measurement] = field(default_factory=list)
    best_tensors: dict[str, Tensor] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """The last one that was measured; 0 before the first."""
        return len(self.measurements)

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.steps.arithmetic.device

    @property
    def is_over(self) -> bool:
        """Whether no epoch follows."""
        return self.epoch >= self.config.epochs or self.stopping.should_stop

    @property
    def has_small_steps(self) -> bool:
        """Whether a step is a head on features that were computed before: too little work for several threads."""
        return self.steps.is_small and self.cache.outcome is not CacheOutcome.OFF

    def measured_weights(self) -> AbstractContextManager[None]:
        """While it lasts, the model has the weights that are measured and kept: their running mean where there is one."""
        mean = self.steps.running_mean
        return nullcontext() if mean is None else mean.applied()

    def facts(self) -> dict[str, str | float]:
        """What a reader of the run should know of how it was computed."""
        return {
            **self.costs,
            "trainable_parameters": float(sum(parameter.numel() for parameter in self.model.trainable_parameters())),
            "parameters": float(sum(parameter.numel() for parameter in self.model.parameters())),
            "device": device_name(self.device),
            "precision": self.steps.arithmetic.precision,
            "activation_cache": self.cache.outcome.value,
            "activation_cache_reason": self.cache.reason,
            "activation_cache_s": self.cache.elapsed_s,
            "images_per_epoch": float(self.strategy.num_shown * self.inputs.num_views),
            "micro_batch": float(self.steps.micro_batch or self.config.batch_size),
        }

    def save(self, path: Path) -> None:
        """Writes all that the next epoch depends on to `path`, whole or not at all.

        Raises:
            OSError: if it cannot be written.
        """
        steps = self.steps
        optimizer_tensors, optimizer_values = optimizer_parts(steps.optimizer)
        header = StateHeader(
            recipe_digest=self.recipe_digest,
            measurements=tuple(self.measurements),
            optimizer=optimizer_values,
            schedule=steps.schedule.state_dict(),
            stopping=self.stopping.state_dict(),
            scaler=steps.scaler.state_dict(),
            micro_batch=steps.micro_batch,
        )
        tensors = with_prefix("model", trained_tensors(self.model)) | with_prefix("optimizer", optimizer_tensors)
        tensors |= with_prefix("best", self.best_tensors)
        if steps.running_mean is not None:
            tensors |= with_prefix("mean", steps.running_mean.state_tensors())
        write_state(path, header, tensors)

    def restore(self, path: Path) -> None:
        """Goes back to where the training stood when it was saved to `path`.

        Raises:
            TrialError: if the file is damaged, or is of a training with another recipe.
        """
        header, tensors = read_state(path)
        if header.recipe_digest != self.recipe_digest:
            raise TrialError(f"{path} must be of this training, but is of one with another recipe or other data. Delete it.")
        steps = self.steps
        load_trained(self.model, without_prefix("model", tensors))
        restore_optimizer(steps.optimizer, without_prefix("optimizer", tensors), header.optimizer)
        steps.schedule.load_state_dict(dict(header.schedule))
        steps.scaler.load_state_dict(dict(header.scaler))
        steps.micro_batch = header.micro_batch
        self.stopping.load_state_dict(dict(header.stopping))
        if steps.running_mean is not None:
            steps.running_mean.load(without_prefix("mean", tensors))
        self.measurements = list(header.measurements)
        self.best_tensors = without_prefix("best", tensors)


def start_training(
    model: Classifier,
    data: StudyData,
    config: TrialConfig,
    *,
    seed: int,
    device: torch.device,
    weights_digest: str,
    objective: Objective,
    cache: ActivationCache,
) -> Training:
    """A training before its first epoch. The same arguments give the same measurements (times aside), bit for bit on a CPU
    with the same number of threads.

    Args:
        model: as `build_classifier` returned it for `config`; it moves to `device`, and is trained in place.
        data: of the fold that `config` names.
        seed: of the order of photos, of draws, augmentation and dropout.
        weights_digest: of the weights that `model` began with.
        objective: says which epoch is the best.
        cache: where the activations of frozen stages are shared.
    Raises:
        DataError: if a target cannot be learnt.
        TrialError: if the recipe cannot be carried out on this device or data.
    """
    arithmetic = resolve_arithmetic(config.compute, device)
    model.to(device, memory_format=torch.channels_last if config.compute.channels_last else torch.contiguous_format)  # type: ignore[call-overload]
    count_peak_anew(device)
    examples = examples_of(data)
    normalizer = make_normalizer(config.normalization, data.statistics, config.colour_mode)
    images = ImageInputs(
        data.images,
        normalizer,
        model,
        device,
        photos=examples.photos,
        augmentation=config.augmentation,
        reader=open_reader(data.images, examples.photos[np.concatenate([examples.train, examples.val])].reshape(-1), device),
        is_channels_last=config.compute.channels_last,
        image_size=config.image_size,
        colour_mode=config.colour_mode,
    )
    inputs, cache_facts = open_inputs(
        images, data, examples, config, weights_digest=weights_digest, cache=cache, autocast=arithmetic.autocast
    )
    taught = draw_share(examples.train, examples.labels, data.rows[examples.photos[:, 0]], config.train_share, seed)
    strategy = make_strategy(config.imbalance, taught, examples.labels, data.num_classes, seed)
    targets = make_targets(
        examples,
        data.classes,
        device=device,
        class_weights=strategy.class_weights,
        label_smoothing=config.label_smoothing,
        is_log=data.is_log,
    )
    batches = split_batches(strategy.epoch_order(1), config.batch_size)
    smallest_piece = _smallest_piece(model, batches, config.compute.micro_batch)
    optimizer = make_optimizer(model, config.optimizer)
    steps = Steps(
        model=model,
        inputs=inputs,
        targets=targets,
        optimizer=optimizer,
        schedule=make_schedule(optimizer, config.schedule, config.epochs, len(batches)),
        arithmetic=arithmetic,
        running_mean=None if config.ema_decay is None else RunningMean(model, config.ema_decay),
        gradient_clip=config.optimizer.gradient_clip,
        micro_batch=config.compute.micro_batch,
        smallest_piece=smallest_piece,
        is_small=device.type == "cpu" and _is_small_head(model, config.batch_size),
    )
    stopping = EarlyStopping(config.patience, objective.is_maximized)
    costs = model_costs(model, config.seen_size(data.image_size), arithmetic, objective.quantities)
    digest = _digest_of(config, data, weights_digest, objective, seed)
    return Training(
        config, model, examples, inputs, targets, strategy, steps, stopping, objective, seed, cache_facts, digest, costs
    )


def trained_tensors(model: Classifier) -> dict[str, Tensor]:
    """All tensors that training can change, by their names in `model`; not copied. The frozen stages come from the weights."""
    frozen = tuple(f"stages.{name}." for name, _ in list(model.stages.named_children())[: model.num_frozen])
    return {key: tensor.detach() for key, tensor in model.state_dict().items() if not key.startswith(frozen)}


def load_trained(model: Classifier, tensors: Mapping[str, Tensor]) -> None:
    """Puts what `trained_tensors` named back into the model.

    Raises:
        TrialError: if a tensor is missing, or is none of the model's.
    """
    found = model.load_state_dict(tensors, strict=False)
    missing = trained_tensors(model).keys() & set(found.missing_keys)
    if missing or found.unexpected_keys:
        name = min([*missing, *found.unexpected_keys])
        raise TrialError(f"saved weights must be those of the trial's model, but differ from it in `{name}`. Run it again.")


def _is_small_head(model: Classifier, batch_size: int) -> bool:
    """Whether nothing but a small head is trained."""
    num_weights = sum(parameter.numel() for parameter in model.head.parameters())
    return not model.trainable_stages and is_small_step(num_weights, batch_size)


def _smallest_piece(model: Classifier, batches: list[Indices], micro_batch: int | None) -> int:
    """Examples that must be computed at once.

    Raises:
        TrialError: if batch norm would have to train on single photos.
    """
    model.train()
    norms = (module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
    if not any(module.training for module in norms):
        return 1
    if min(map(len, batches)) == 1:
        raise TrialError(
            "batch norm needs two photos or more in each step, but one step has a single one. "
            "Use batch_size = 2 or more, or freeze_depth = 1.0."
        )
    if micro_batch is not None and micro_batch < 2:
        raise TrialError(
            f"batch norm needs two photos or more at once, but compute.micro_batch = {micro_batch}. "
            f"Use compute.micro_batch = 2 or more, or freeze_depth = 1.0."
        )
    return 2


def _digest_of(config: TrialConfig, data: StudyData, weights_digest: str, objective: Objective, seed: int) -> str:
    parts: list[Any] = [config.model_dump(mode="json"), data.digest, weights_digest, objective.key, seed]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
