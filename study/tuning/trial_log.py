"""What one trial's processes say of it, in order: begin, epochs, warnings, a failure with its traceback, the end."""

import os
import socket
from contextlib import AbstractContextManager
from pathlib import Path

import torch

from study.trial import Failure, Measurement
from study.tuning.log_file import ENDED_MARK, LogFile, trial_log_file
from study.tuning.shared_files import NOT_SHARED, SharedFiles

SHOWN_METRICS = ("train_loss", "val_loss")  # of an epoch, beside the objective


class TrialLog:
    """Where a trial's process says what it does; the process of a retry goes on in the same file."""

    def __init__(self, study_folder: Path, number: int, shared: SharedFiles = NOT_SHARED) -> None:
        """Args:
        shared: where the log goes when the trial ends, if the folder is this node's alone.
        """
        self._number = number
        self._shared = shared
        self._log = LogFile(trial_log_file(study_folder, number))
        self._is_over = False

    @property
    def path(self) -> Path:
        """The file."""
        return self._log.path

    def begin(self, device: torch.device, recipe: str) -> None:
        """A process takes the trial up."""
        began = "begins again" if self.path.exists() else "begins"
        where = f"{socket.gethostname()}, pid {os.getpid()}, {_in_words(device)}"
        self._log.say(f"trial {self._number} {began} on {where}: {recipe}")

    def measured(self, measurement: Measurement, num_epochs: int, key: str) -> None:
        """An epoch's main figures.

        Args:
            key: the objective's name in the measurement.
        """
        metrics = measurement.metrics
        shown = [f"{name} {metrics[name]:.4g}" for name in dict.fromkeys((*SHOWN_METRICS, key)) if name in metrics]
        if "train_images_per_s" in metrics:
            shown.append(f"{metrics['train_images_per_s']:.0f} images/s")
        self._log.say(f"epoch {measurement.epoch}/{num_epochs}: {', '.join(shown)}")

    def completed(self) -> None:
        """All is measured, the test split included where it is read."""
        self._end("all epochs done")

    def failed(self, failure: Failure) -> None:
        """The trial's failure, and where it happened."""
        self._log.say(f"failed: {failure.reason}\n{failure.traceback}")
        self._end("failed")

    def left(self) -> None:
        """The driver wants no more epochs."""
        self._end("stopped by the driver: pruned, or the study was interrupted")

    def died(self, cause: str, *, is_retried: bool) -> None:
        """Said by the driver for a process that cannot."""
        self._log.say(f"the trial's process died: {cause}")
        if not is_retried:
            self._end("failed")

    def capturing(self) -> AbstractContextManager[None]:
        """While it lasts, what the trial's libraries log and warn of is said here as well."""
        return self._log.capturing()

    def _end(self, how: str) -> None:
        if not self._is_over:
            self._log.say(ENDED_MARK + how)
            self._shared.copy(self.path)
        self._is_over = True


def with_log(reason: str, study_folder: Path, number: int) -> str:
    """A failure's reason that says where to read more."""
    return f"{reason} (log: {trial_log_file(study_folder, number)})"


def _in_words(device: torch.device) -> str:
    if device.type != "cuda":
        return device.type
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    return f"{torch.cuda.get_device_name(device)} (CUDA_VISIBLE_DEVICES={visible})"
