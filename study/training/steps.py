"""One optimizer step: forward, backward, update; in pieces where the device's memory does not hold the whole batch."""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from study.models.classifier import Classifier
from study.training.averaging import RunningMean
from study.training.batches import Inputs
from study.training.memory import halved
from study.training.precision import Arithmetic, Suffix
from study.training.schedules import Schedule
from study.training.targets import Targets
from study.training.threads import one_thread_if

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Steps:
    """What every step of a training has in common.

    Attributes:
        gradient_clip: largest L2 norm of all gradients together; None leaves them as they are.
        micro_batch: examples that are computed at once; None for the whole batch. It is halved when memory runs out, and
            stays so. Gradients add up over the pieces: the update is that of the whole batch, except that batch norm sees
            one piece at a time.
        smallest_piece: examples below which the model cannot be trained: 2 with batch norm.
        is_small: the trainable part is too small for several threads. It then has one, wherever its input comes from: sums
            are rounded in the same order with activations that were computed before and without.
    """

    model: Classifier
    inputs: Inputs
    targets: Targets
    optimizer: Optimizer
    schedule: Schedule
    arithmetic: Arithmetic
    running_mean: RunningMean | None
    gradient_clip: float | None
    micro_batch: int | None
    smallest_piece: int
    is_small: bool
    scaler: torch.amp.GradScaler = field(init=False)
    _suffix: Suffix = field(init=False)
    _parameters: list[nn.Parameter] = field(init=False)

    def __post_init__(self) -> None:
        self.scaler = self.arithmetic.make_scaler()
        self._suffix = self.arithmetic.compile(self.model.suffix)
        self._parameters = list(self.model.trainable_parameters())

    def take(self, raw: Tensor, positions: Tensor, generator: torch.Generator) -> Tensor:
        """One step on the examples at `positions`; returns its mean loss, still on the device: reading it would stop a GPU.

        Args:
            raw: the examples as `Inputs.read` gave them.
            positions: int64 [n], on the device.
            generator: draws augmentation.
        Raises:
            TrialError: if memory runs out with the fewest examples that can be computed.
        """
        loss = self._gradients(raw, positions, generator)
        with one_thread_if(self.is_small):
            if self.gradient_clip is not None:
                self.scaler.unscale_(self.optimizer)
                nn.utils.clip_grad_norm_(self._parameters, self.gradient_clip)
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        if self.running_mean is not None:
            self.running_mean.update()
        return loss

    def _gradients(self, raw: Tensor, positions: Tensor, generator: torch.Generator) -> Tensor:
        """The batch's loss, its gradients left on the parameters."""
        before = generator.get_state()
        while True:
            try:
                return self._accumulate(raw, positions, generator)
            except torch.OutOfMemoryError:
                self.optimizer.zero_grad(set_to_none=True)
                generator.set_state(before)
            self._halve(len(positions))

    def _accumulate(self, raw: Tensor, positions: Tensor, generator: torch.Generator) -> Tensor:
        total_weight = self.targets.total_weight(positions)
        total = torch.zeros((), device=positions.device)
        for raw_piece, positions_piece in self._pieces(raw, positions):
            with self.arithmetic.autocast():
                entered = self.inputs.enter(raw_piece, generator)
            with one_thread_if(self.is_small):
                with self.arithmetic.autocast():
                    outputs = self._suffix(entered.activations)
                loss = self.targets.loss_sum(outputs.float(), positions_piece, entered.mixed) / total_weight
                self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total

    def _pieces(self, raw: Tensor, positions: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """The batch in pieces of equal size, give or take one: a small last piece would upset batch norm.

        None is smaller than the model can be trained on, though one be larger than was asked for: five in twos are 3 and 2.
        """
        asked = math.ceil(len(positions) / min(self.micro_batch or len(positions), len(positions)))
        num_pieces = min(asked, max(len(positions) // self.smallest_piece, 1))
        by_example = raw.view(len(positions), -1, *raw.shape[1:])
        for raw_piece, positions_piece in zip(
            by_example.tensor_split(num_pieces), positions.tensor_split(num_pieces), strict=True
        ):
            yield raw_piece.flatten(0, 1), positions_piece

    def _halve(self, num_examples: int) -> None:
        size = min(self.micro_batch or num_examples, num_examples)
        self.micro_batch = halved(size, self.smallest_piece)
        logger.warning(
            "out of memory with %d examples at once: going on with %d, gradients add up to %d",
            size,
            self.micro_batch,
            num_examples,
        )
