"""Memory for large tensors that come and go at every step on a CPU."""

import math
import weakref

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


class RecycledMemory:
    """Gives out float32 tensors, in memory that earlier ones had, once nothing refers to those any more.

    The C library gives blocks of 32 MiB and more back to the system (`DEFAULT_MMAP_THRESHOLD_MAX` in mallopt(3)), which clears
    every page before it gives it out again: of the 7.7 ms that 64 photos of 224 px took to be normalised, 6.
    """

    def __init__(self) -> None:
        self._free: list[npt.NDArray[np.float32]] = []

    def take(self, shape: tuple[int, ...]) -> Tensor:
        """A tensor of any content; nobody else has its memory as long as it, a view of it, or a graph that saved it lives."""
        size = math.prod(shape)
        memory = self._reused(size)
        # torch keeps the array that it was given until the tensor's memory is let go: the end of this view is that moment.
        lent = memory[:size]
        weakref.finalize(lent, self._free.append, memory).atexit = False
        return torch.from_numpy(lent).view(shape)

    def _reused(self, size: int) -> npt.NDArray[np.float32]:
        while self._free:
            memory = self._free.pop()
            if memory.size >= size:
                return memory  # what is too small is dropped: batches have grown
        return np.empty(size, dtype=np.float32)
