"""How the learning rates of a training change, from step to step."""

import math
from typing import Any

from torch.optim import Optimizer

from study.trial import ScheduleConfig


class Schedule:
    """The learning rate of every parameter group as a share of its full height, which is the one it was made with.

    One rule for all, and not torch's schedulers chained: `ReduceLROnPlateau` writes the rate that `LambdaLR` overwrites at its
    next step, and what they keep is no plain data. Each rule agrees with torch's scheduler of that name.
    """

    def __init__(self, optimizer: Optimizer, config: ScheduleConfig, num_epochs: int, steps_per_epoch: int) -> None:
        self._optimizer = optimizer
        self._config = config
        self._steps_per_epoch = steps_per_epoch
        self._num_warmup_steps = config.warmup_epochs * steps_per_epoch
        self._num_main_steps = num_epochs * steps_per_epoch - self._num_warmup_steps
        self._num_steps = 0
        self._num_drops = 0
        self._num_bad_epochs = 0
        self._best_val_loss: float | None = None
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])  # torch's key: it comes back with the optimizer's state
        self._apply()
        self._last_lr = self._head_lr

    @property
    def current_lr(self) -> float:
        """The head's learning rate at the last step that was taken; before the first, at that one."""
        return self._last_lr

    def step(self) -> None:
        """To be called after each step of the optimizer: sets the rates of the next."""
        self._last_lr = self._head_lr
        self._num_steps += 1
        self._apply()

    def end_epoch(self, val_loss: float) -> None:
        """To be called after each epoch: a plateau is told by its epochs.

        Epochs of the warm-up are no plateau, however little they improve.
        """
        if self._best_val_loss is None or val_loss < self._best_val_loss:
            self._best_val_loss, self._num_bad_epochs = val_loss, 0
        elif self._num_steps > self._num_warmup_steps:
            self._num_bad_epochs += 1
        if self._num_bad_epochs >= self._config.patience:
            self._num_drops, self._num_bad_epochs = self._num_drops + 1, 0
        self._apply()

    def state_dict(self) -> dict[str, Any]:
        """Where it stands, as values that JSON has."""
        return {
            "num_steps": self._num_steps,
            "num_drops": self._num_drops,
            "num_bad_epochs": self._num_bad_epochs,
            "best_val_loss": self._best_val_loss,
            "last_lr": self._last_lr,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from where another one, made with the same arguments, stood; sets the optimizer's rates."""
        self._num_steps = state["num_steps"]
        self._num_drops = state["num_drops"]
        self._num_bad_epochs = state["num_bad_epochs"]
        self._best_val_loss = state["best_val_loss"]
        self._last_lr = state["last_lr"]
        self._apply()

    @property
    def _head_lr(self) -> float:
        return float(self._optimizer.param_groups[0]["lr"])  # `make_optimizer` puts the head first

    def _apply(self) -> None:
        height = self._height()
        for group in self._optimizer.param_groups:
            group["lr"] = group["initial_lr"] * height

    def _height(self) -> float:
        """Share of the full learning rate at the next step, in [0, 1]."""
        if self._num_steps < self._num_warmup_steps:
            return (self._num_steps + 1) / self._num_warmup_steps
        num_steps = self._num_steps - self._num_warmup_steps
        match self._config.name:
            case "constant":
                return 1.0
            case "cosine":
                # 0 with the end of the last step, and not at it: a training of one step would learn nothing.
                # Source: Loshchilov & Hutter 2017, "SGDR", eq. 5, with T_cur in steps and no restart.
                return (1 + math.cos(math.pi * min(num_steps / self._num_main_steps, 1.0))) / 2
            case "step":
                return self._config.factor ** (num_steps // (self._config.step_epochs * self._steps_per_epoch))
            case "plateau":
                return self._config.factor**self._num_drops


def make_schedule(optimizer: Optimizer, config: ScheduleConfig, epochs: int, steps_per_epoch: int) -> Schedule:
    """The schedule of a training's learning rates; sets those of its first step.

    Warm-up comes first: at step k of its n, counted from 1, the rates are k/n of their full height. What `config.name` says
    begins, and is counted, from its end on: `constant`; `cosine`, down to 0 with the last step; `step`, times `factor` after
    every `step_epochs` epochs; `plateau`, times `factor` after each `patience` epochs without a lower val_loss.

    Args:
        optimizer: with the full learning rates; its first group is the head.
        epochs: of the whole training, more than those of the warm-up.
    """
    return Schedule(optimizer, config, epochs, steps_per_epoch)
