"""What changes from one epoch of a training to the next, as one file: a training goes on from it as if it had never stopped.

Order of photos, augmentation and dropout are drawn from (seed, epoch) alone, so no generator's state has to be kept. Frozen
stages are not in the file: they come from the weights again. The file is safetensors: no pickle, whatever folder it lies in.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer

from study.errors import TrialError
from study.trial import Measurement, Plain

# Raise it when the same file would mean another state.
STATE_VERSION = 1
Tensors = Mapping[str, Tensor]


class StateHeader(Plain):
    """The part of a saved state that is no tensor.

    Attributes:
        recipe_digest: of everything that the training depends on; a state of another training is not taken.
        measurements: every epoch's up to now: one that was saved but never reached its reader is told again.
        optimizer: what the optimizer keeps beside tensors, by parameter.
        schedule, stopping, scaler: as their owners gave them.
    """

    version: int = STATE_VERSION
    recipe_digest: str
    measurements: tuple[Measurement, ...] = Field(min_length=1)
    optimizer: Mapping[str, Mapping[str, Any]]
    schedule: Mapping[str, Any]
    stopping: Mapping[str, Any]
    scaler: Mapping[str, Any]
    micro_batch: int | None


def write_state(path: Path, header: StateHeader, tensors: Tensors) -> None:
    """Writes the state, whole or not at all.

    Args:
        tensors: by unique names, on any device.
    Raises:
        OSError: if the disk is full or the folder cannot be written; an earlier state is left as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
            partial,
            metadata={"state": header.model_dump_json()},
        )
        partial.replace(path)
    except SafetensorError as error:  # what the library makes of a full disk
        raise OSError(f"{path} cannot be written: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def read_state(path: Path) -> tuple[StateHeader, dict[str, Tensor]]:
    """What `write_state` wrote, tensors on the CPU.

    Raises:
        TrialError: if the file is damaged or of another version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            told = json.loads(file.metadata()["state"])
            if told["version"] != STATE_VERSION:
                raise TrialError(
                    f"this version of study reads training states of version {STATE_VERSION}, but {path} has "
                    f"{told['version']}. Delete it: the trial then starts again."
                )
            for measurement in told["measurements"]:
                measurement.pop("confusion", None)  # written before 2 MB an epoch of a thousand classes were too many
            header = StateHeader.model_validate_json(json.dumps(told))
            return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise TrialError(
            f"{path} must be a saved training, but is damaged: {error}. Delete it: the trial starts again."
        ) from None


def optimizer_parts(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]]]:
    """An optimizer's state as named tensors and plain values, both by the parameter's number."""
    tensors: dict[str, Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}
    for number, entries in optimizer.state_dict()["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{number}.{name}"] = value
            elif value is not None:
                plain.setdefault(str(number), {})[name] = value
    return tensors, plain


def restore_optimizer(optimizer: Optimizer, tensors: Tensors, plain: Mapping[str, Mapping[str, Any]]) -> None:
    """Puts back what `optimizer_parts` took. Learning rates are the schedule's to put back."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Any]] = {int(number): dict(entries) for number, entries in plain.items()}
    for key, tensor in tensors.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = _laid_out_like(parameters[int(number)], tensor)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _laid_out_like(parameter: Tensor, tensor: Tensor) -> Tensor:
    """`tensor` in the parameter's order in memory. A file has no such order, and fused optimizers walk through the memory of
    both side by side: with channels-last weights, moments in another order would be added to the wrong weights."""
    return torch.empty_like(parameter.detach()).copy_(tensor) if tensor.shape == parameter.shape else tensor


def with_prefix(prefix: str, tensors: Tensors) -> dict[str, Tensor]:
    """`tensors` under `prefix/name`, so that several owners' fit one file."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: Tensors) -> dict[str, Tensor]:
    """Those of `tensors` that `with_prefix` named, by their own names."""
    return {name.removeprefix(f"{prefix}/"): tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}/")}
