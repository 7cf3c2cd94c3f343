"""Files of named tensors: what is in them, without executing anything that they hold."""

import hashlib
import pickle
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from study.errors import ModelError

Shapes = dict[str, list[int]]
PICKLED = (".pth", ".pt")
# What the two loaders raise for damaged files, found by cutting and corrupting small ones some 10,000 times.
DAMAGE_ERRORS = (
    *(OSError, EOFError, RuntimeError, SafetensorError, pickle.UnpicklingError, struct.error),
    *(ValueError, TypeError, IndexError, KeyError, AssertionError),
)


def digest_of(path: Path) -> str:
    """SHA-256 of the file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_shapes(path: Path) -> Shapes:
    """Each tensor's shape by name; of a .safetensors file only the header is read.

    Raises:
        ModelError: if the file is missing, cut short, damaged or of another kind.
    """
    if path.suffix != ".safetensors":
        return {name: list(tensor.shape) for name, tensor in read_tensors(path).items()}
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 (no mapping)
    except DAMAGE_ERRORS as error:
        raise _unreadable(path, error) from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The file's tensors by name, on the CPU; floating-point ones as float32.

    Raises:
        ModelError: if the file is missing, cut short, damaged, of another kind, or holds more than tensors.
    """
    try:
        found = _read(path)
    except DAMAGE_ERRORS as error:
        raise _unreadable(path, error) from error
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ModelError(
            f"a weights file must hold one flat mapping of names to tensors (a state_dict), but {path} does not. "
            f"Save it with torch.save(model.state_dict(), …)."
        )
    return {name: value.float() if value.is_floating_point() else value for name, value in found.items()}


def _read(path: Path) -> object:
    if path.suffix == ".safetensors":
        return load_file(path)
    if path.suffix in PICKLED:
        return torch.load(path, map_location="cpu", weights_only=True)
    raise ModelError(f"a weights file must end in .safetensors, {' or '.join(PICKLED)}, but is {path}. Convert it.")


def _unreadable(path: Path, error: Exception) -> ModelError:
    if isinstance(error, FileNotFoundError):
        return ModelError(f"a weights file must exist, but there is no {path}. Check the path.")
    # The loaders' messages run over many lines; the first says what is wrong.
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ModelError(f"{path} is damaged, cut short or holds more than tensors: {reason.rstrip('.')}. Fetch or save it anew.")
