"""The training loop: a generator of one measurement an epoch. Pruning is a consumer that stops iterating."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from study.errors import NonFiniteLossError
from study.training.activation_inputs import ActivationInputs
from study.training.batches import Indices, split_batches
from study.training.evaluation import Evaluation, evaluate
from study.training.memory import peak_memory_mib
from study.training.threads import one_thread_if
from study.training.training import Training, trained_tensors
from study.trial import Measurement, TrialConfig

# Stored features of the validation photos that a head is measured on at once: those of 10,000 photos of ResNet-18 are 20 MB, so
# that most studies' are one product of matrices. A million's would be 2 GB, in each of a node's trials and each epoch.
EVALUATED_BYTES = 64 * 2**20


def fit(training: Training) -> Iterator[Measurement]:
    """Trains epoch by epoch, and yields what each showed on the validation split; between two epochs `training` can be saved.

    A training that was restored first yields what it had measured before: its reader may have died with it. torch's global
    generators are left as they were.

    Raises:
        NonFiniteLossError: at the end of the epoch in which the loss became NaN or infinite.
        TrialError: if the device's memory holds not even the smallest batch.
    """
    yield from tuple(training.measurements)
    while not training.is_over:
        # cuDNN tries its algorithms once for each shape, of which an epoch has two; on a CPU nothing changes.
        with one_thread_if(training.has_small_steps), torch.backends.cudnn.flags(benchmark=True):
            training.measurements.append(_run_epoch(training))
        yield training.measurements[-1]


@dataclass
class _Stopwatch:
    """Seconds of an epoch by what they went into."""

    data_s: float = 0.0
    train_s: float = 0.0
    evaluate_s: float = 0.0

    def metrics(self, num_examples: int) -> dict[str, float]:
        training_s = self.data_s + self.train_s
        total_s = training_s + self.evaluate_s
        return {
            "train_images_per_s": num_examples / training_s,
            "time_share_data": self.data_s / total_s,
            "time_share_train": self.train_s / total_s,
            "time_share_evaluate": self.evaluate_s / total_s,
        }


def _run_epoch(training: Training) -> Measurement:
    epoch, config = training.epoch + 1, training.config
    watch = _Stopwatch()
    batches = split_batches(training.strategy.epoch_order(epoch), config.batch_size)
    train_loss = _train(training, epoch, batches, watch)
    started_s = time.perf_counter()
    with training.measured_weights():
        measured = _evaluate(training)
        _check_finite(measured.metrics["loss"], f"the validation of epoch {epoch}", config)
        _keep_if_best(training, measured.metrics[training.objective.metric])
    watch.evaluate_s = time.perf_counter() - started_s
    lr = training.steps.schedule.current_lr
    training.steps.schedule.end_epoch(measured.metrics["loss"])
    return Measurement(
        epoch=epoch,
        metrics={
            "train_loss": train_loss,
            "lr": lr,
            **measured.named("val"),
            **watch.metrics(sum(map(len, batches)) * training.inputs.num_views),
            "peak_memory_mib": peak_memory_mib(training.device),
        },
        timestamp_ms=time.time_ns() // 1_000_000,
        is_last=epoch >= config.epochs or training.stopping.should_stop,
    )


def _train(training: Training, epoch: int, batches: Sequence[Indices], watch: _Stopwatch) -> float:
    """One epoch's steps; returns the mean loss over its examples."""
    training.model.train()
    started_s = time.perf_counter()
    positions = torch.from_numpy(np.concatenate(batches)).to(training.device)
    losses: list[Tensor] = []
    reader = training.inputs.read(batches)
    with _seeded(training.seed, epoch, training.device) as generator:
        for positions_of_step in torch.split(positions, [len(batch) for batch in batches]):
            waiting_s = time.perf_counter()
            raw = next(reader)
            watch.data_s += time.perf_counter() - waiting_s
            losses.append(training.steps.take(raw, positions_of_step, generator))
    mean = _mean_loss(torch.stack(losses).cpu(), batches, epoch, training.config)  # waits for the GPU
    watch.train_s = time.perf_counter() - started_s - watch.data_s
    return mean


def _evaluate(training: Training) -> Evaluation:
    positions = training.examples.val
    at_once = min(training.config.batch_size, training.steps.micro_batch or training.config.batch_size)
    if training.has_small_steps and isinstance(training.inputs, ActivationInputs):
        at_once = max(at_once, training.inputs.examples_in(EVALUATED_BYTES))
    with training.steps.arithmetic.autocast():
        return evaluate(training.model, training.inputs, training.targets, positions, at_once)


def _keep_if_best(training: Training, value: float) -> None:
    """Remembers the weights of the best epoch; of equals, the earlier."""
    if training.stopping.observe(value):
        training.best_tensors = {name: tensor.cpu().clone() for name, tensor in trained_tensors(training.model).items()}


@contextmanager
def _seeded(seed: int, epoch: int, device: torch.device) -> Iterator[torch.Generator]:
    """A generator for augmentation, and torch's global ones (which dropout draws from) seeded for one epoch: epoch k draws
    the same whether or not the epochs before it ran in this process. Afterwards the global ones are as they were."""
    dropout, augmentation = np.random.SeedSequence([seed, epoch]).generate_state(2)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(int(dropout))
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(int(dropout))
        yield torch.Generator().manual_seed(int(augmentation))


def _mean_loss(losses: Tensor, batches: Sequence[Indices], epoch: int, config: TrialConfig) -> float:
    """Mean over the epoch's examples of their batch's loss."""
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
