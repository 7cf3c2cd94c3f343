"""A trial without a training: what is left is the platform's own cost. For a worker, in the place of the real one."""

import time
from collections.abc import Generator

from study.trial import Measurement
from study.tuning.ray_adapters import StudyTrainable
from study.tuning.worker import TrialSession

NUM_EPOCHS = 10
METRICS = ("val_balanced_accuracy", "val_loss", "train_loss")


def values(epoch: int, lr: float) -> dict[str, float]:
    """What an epoch of a recipe shows: three figures that differ from recipe to recipe, so that a sampler has work to do."""
    quality = epoch / NUM_EPOCHS / (1 + abs(lr - 0.01))
    return dict(zip(METRICS, (quality, 1 - quality, 1 - quality / 2), strict=True))


def measurements(lr: float) -> Generator[Measurement]:
    """A training's, without one."""
    for epoch in range(1, NUM_EPOCHS + 1):
        now_ms = time.time_ns() // 1_000_000
        yield Measurement(epoch=epoch, metrics=values(epoch, lr), timestamp_ms=now_ms, is_last=epoch == NUM_EPOCHS)


class NoOpSession(TrialSession):
    """A session that trains nothing."""

    def _running(self) -> Generator[Measurement]:
        if self._measurements is None:
            self._measurements = measurements(self._task.config.optimizer.lr)
        return self._measurements


class NoOpTrainable(StudyTrainable):
    """Ray's trainable with such sessions."""

    session_type = NoOpSession
