"""The training loop: a generator of one measurement an epoch. Pruning is a consumer that stops iterating."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from study.data.study_data import StudyData
from study.errors import NonFiniteLossError, TrialError
from study.models.classifier import Classifier
from study.models.normalization import make_normalizer
from study.training.activations import DEFAULT_BUDGET_BYTES, activations_key, open_inputs
from study.training.batches import ImageInputs, Indices, Inputs, split_batches
from study.training.evaluation import evaluate_inputs
from study.training.imbalance import make_strategy
from study.training.optimizers import make_optimizer
from study.trial import Measurement, TrialConfig


def fit(
    model: Classifier,
    data: StudyData,
    config: TrialConfig,
    *,
    seed: int,
    device: torch.device,
    weights_digest: str,
    activations_folder: Path | None = None,
    activations_budget_bytes: int = DEFAULT_BUDGET_BYTES,
) -> Iterator[Measurement]:
    """Trains `model` in place, and yields what each epoch showed on the validation split.

    The same arguments give the same measurements (throughput and time aside), bit for bit on a CPU with the same number of
    threads. torch's global generators are left as they were.

    Args:
        model: as `build_classifier` returned it for `config`; it stays on `device`.
        seed: of the order of photos, of draws and of dropout.
        weights_digest: of the weights that `model` began with: part of the name of shared activations.
        activations_folder: where the activations of frozen stages are shared on this node; None keeps them in memory.
        activations_budget_bytes: larger activations are computed at each step instead.
    Raises:
        NonFiniteLossError: at the end of the epoch in which the loss became NaN or infinite.
        TrialError: if batch norm would have to train on single photos.
    """
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = ImageInputs(data.images, make_normalizer(config.normalization, data.statistics), model, device)
    used = np.concatenate([data.splits.train, data.splits.val])
    key = activations_key(data, used, config, weights_digest, images)
    inputs = open_inputs(images, used, key=key, folder=activations_folder, budget_bytes=activations_budget_bytes)
    strategy = make_strategy(config.imbalance, data.splits.train, data.labels, data.num_classes, seed)
    weights = None if strategy.class_weights is None else torch.tensor(strategy.class_weights, device=device)
    labels = torch.tensor(data.labels, device=device)
    steps = _Steps(model, inputs, labels, weights, make_optimizer(model, config.optimizer))
    for epoch in range(1, config.epochs + 1):
        batches = split_batches(strategy.epoch_order(epoch), config.batch_size)
        _check_batch_norm(model, min(map(len, batches)))
        started_s = time.perf_counter()
        with _seeded(seed, epoch, device):
            losses = [steps.take(indices) for indices in batches]
        train_loss = _mean_loss(torch.stack(losses).cpu(), batches, epoch, config)  # waits for the GPU
        elapsed_s = time.perf_counter() - started_s
        measured = evaluate_inputs(model, inputs, labels, data.splits.val, data.classes, config.batch_size)
        _check_finite(measured.metrics["loss"], f"the validation of epoch {epoch}", config)
        yield Measurement(
            epoch=epoch,
            metrics={
                "train_loss": train_loss,
                **measured.named("val"),
                "train_images_per_s": sum(map(len, batches)) / elapsed_s,
            },
            confusion=measured.confusion,
            timestamp_ms=time.time_ns() // 1_000_000,
        )


@dataclass(frozen=True, eq=False)
class _Steps:
    """What every step of a training has in common."""

    model: Classifier
    inputs: Inputs
    labels: Tensor
    class_weights: Tensor | None
    optimizer: Optimizer

    def take(self, indices: Indices) -> Tensor:
        """One step on the photos at `indices`; returns its loss, still on the device: reading it would stop a GPU."""
        self.model.train()
        logits = self.model.suffix(self.inputs.batch(indices))
        expected = self.labels[torch.from_numpy(indices).to(self.labels.device)]
        # With weights, torch divides by the weights' sum over the batch: their common scale does not matter.
        loss = functional.cross_entropy(logits, expected, weight=self.class_weights)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.detach()


@contextmanager
def _seeded(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """Dropout draws from torch's global generators: seeded for one epoch, and then as they were before it."""
    state = int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(state)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(state)
        yield


def _mean_loss(losses: Tensor, batches: list[Indices], epoch: int, config: TrialConfig) -> float:
    """Mean over the epoch's photos of their batch's loss."""
    is_finite = losses.isfinite()
    if not is_finite.all():
        step = int(is_finite.logical_not().nonzero()[0, 0])
        _check_finite(losses[step].item(), f"epoch {epoch}, step {step + 1}", config)
    sizes = torch.tensor([len(indices) for indices in batches], dtype=torch.float64)
    return float((losses.double() * sizes).sum() / sizes.sum())


def _check_finite(loss: float, where: str, config: TrialConfig) -> None:
    if not np.isfinite(loss):
        lr = config.optimizer.lr
        raise NonFiniteLossError(
            f"the loss must stay finite, but became {loss} in {where}, with optimizer.lr={lr:g}. Lower it, e.g. to {lr / 10:g}."
        )


def _check_batch_norm(model: Classifier, smallest_batch: int) -> None:
    if smallest_batch > 1:
        return
    model.train()
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training for module in model.modules()):
        raise TrialError(
            "batch norm needs two photos or more in each step, but one step has a single one. "
            "Use batch_size = 2 or more, or freeze_depth = 1.0."
        )
