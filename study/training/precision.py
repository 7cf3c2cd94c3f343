"""Which number format the arithmetic of a training uses, and what that takes: autocast, loss scaling, compilation."""

import platform
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from study.errors import TrialError
from study.trial import ComputeConfig, Precision

Suffix = Callable[[Tensor], Tensor]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Arithmetic:
    """How a training computes; the weights themselves stay float32.

    Attributes:
        dtype: of matrix products and convolutions.
        is_compiled: whether the trainable part goes through torch.compile.
    """

    device: torch.device
    dtype: torch.dtype
    is_compiled: bool = False

    @property
    def precision(self) -> str:
        """The dtype as a recipe writes it."""
        return next(name for name, dtype in DTYPES.items() if dtype is self.dtype)

    def autocast(self) -> AbstractContextManager[object]:
        """Everything computed inside uses `dtype` where that is safe; nothing changes for float32."""
        if self.dtype is torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def make_scaler(self) -> torch.amp.GradScaler:
        """Keeps small gradients from vanishing in float16; passes everything through for the other formats, whose
        exponent is float32's."""
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype is torch.float16)

    def compile(self, suffix: Suffix) -> Suffix:
        """`suffix`, compiled if that is asked for."""
        # Static shapes: an epoch has two batch sizes at most, and a graph for any size is slower than two graphs.
        return torch.compile(suffix, dynamic=False) if self.is_compiled else suffix


def resolve_arithmetic(config: ComputeConfig, device: torch.device) -> Arithmetic:
    """What `config` means on `device`.

    Raises:
        TrialError: for float16 on a CPU, which has no arithmetic for it.
    """
    return Arithmetic(device, _dtype_of(config.precision, device), config.compile)


def device_name(device: torch.device) -> str:
    """What people call the device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()


def _dtype_of(precision: Precision, device: torch.device) -> torch.dtype:
    if precision == "auto":
        # A CPU's default stays float32: results must not depend on whether a node's CPU happens to know bfloat16.
        has_bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if has_bfloat16 else torch.float32
    if precision == "float16" and device.type == "cpu":
        raise TrialError(
            'compute.precision = "float16" needs a GPU, but the trial runs on a CPU. Use "auto", "bfloat16" or "float32".'
        )
    return DTYPES[precision]
