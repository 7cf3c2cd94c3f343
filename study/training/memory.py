"""How much memory a training takes, and what is done where the device has less."""

import resource
import sys

import torch

from study.errors import TrialError

MIB = 2**20


def count_peak_anew(device: torch.device) -> None:
    """Lets a GPU's peak begin at what is in use now: a worker trains one trial after another. A CPU's process has one only."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_mib(device: torch.device) -> float:
    """The most that was in use: tensors on a GPU since `count_peak_anew`, else the whole process since it began."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MIB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak / 1024  # bytes there, KiB on Linux


def halved(num_examples: int, smallest: int = 1) -> int:
    """Half of the examples that memory did not hold at once.

    To be called after the handler of torch's error, not in it: while that lasts, its traceback holds what did not fit.

    Args:
        smallest: examples below which nothing can be computed.
    Raises:
        TrialError: if half of them are fewer.
    """
    half = num_examples // 2
    if half < smallest:
        raise TrialError(
            f"a trial must fit the device's memory, but it runs out with {num_examples} examples at a time. Use a smaller "
            f"backbone or image_size, a higher freeze_depth, or fewer trials a GPU ([resources] gpus)."
        )
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return half
