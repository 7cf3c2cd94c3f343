"""Many strings as two arrays: a million names open in no time, and each is decoded when it is asked for."""

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple, overload

import numpy as np
import numpy.typing as npt


class EncodedText(NamedTuple):
    """Strings, one after the other.

    Attributes:
        content: uint8 [bytes of all], UTF-8.
        ends: int64 [num_strings], where each one ends.
    """

    content: npt.NDArray[np.uint8]
    ends: npt.NDArray[np.int64]


def encode(strings: Sequence[str]) -> EncodedText:
    """The strings as arrays."""
    # A file's name need not be text: Python keeps such bytes as lone surrogates, which plain UTF-8 refuses.
    encoded = [string.encode("utf-8", "surrogatepass") for string in strings]
    ends = np.fromiter(accumulate(map(len, encoded)), dtype=np.int64, count=len(encoded))
    return EncodedText(np.frombuffer(b"".join(encoded), dtype=np.uint8), ends)


class TextArray(Sequence[str]):
    """A sequence of strings that is read when the first is asked for.

    Args:
        size: how many there are.
        read: brings them, encoded; called once at most.
    """

    def __init__(self, size: int, read: Callable[[], EncodedText]) -> None:
        self._size = size
        self._read = read

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        if isinstance(index, slice):
            return tuple(self[place] for place in range(*index.indices(self._size)))
        place = range(self._size)[index]  # counts from the end, and refuses what lies outside
        content, ends = self._encoded
        start = ends[place - 1] if place else 0
        return content[start : ends[place]].tobytes().decode("utf-8", "surrogatepass")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    @cached_property
    def _encoded(self) -> EncodedText:
        return self._read()
