"""How much memory a training takes."""

import resource
import sys

import torch

MIB = 2**20


def peak_memory_mib(device: torch.device) -> float:
    """The most that was in use: tensors on a GPU since the trial began, else the whole process since it began."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MIB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak / 1024  # bytes there, KiB on Linux
