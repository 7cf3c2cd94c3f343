"""One file of activations, computed by all who want it: who would wait for it computes a part of it instead.

KEY.DTYPE.part-NNN.npy    a part that somebody computed ahead of the writer, a file of activations like the whole
KEY.DTYPE.part-NNN.claim  empty; somebody has computed it, or is about to
KEY.DTYPE.part-NNN.lock   held by who computes it

The writer takes the parts from the first to the last, and computes those that nobody has; helpers take them from the last
downwards, so that they meet once. Whoever dies lets go of its lock, and the part is computed by the writer. A part is the same
whoever computes it, so the file is, too.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from filelock import FileLock, Timeout

from study.training.activation_files import Batches, is_intact, map_activations, write_activations

# As many that two who meet in the middle have a thirtieth of the work left between them, and no more files than that.
MOST_PARTS = 32


@dataclass(frozen=True)
class SharedWork:
    """Activations that can be computed part by part.

    Attributes:
        num_rows: photos of each part.
        compute: gives what `packed_batches` does for one part.
        dtype: that they are stored in; parts of another are others.
    """

    num_rows: Sequence[int]
    compute: Callable[[int], Batches]
    dtype: str

    def whole(self) -> Batches:
        """All parts, computed here."""
        for part in range(len(self.num_rows)):
            yield from self.compute(part)


def parts_of(num_batches: int) -> list[range]:
    """The batches of each part: at most `MOST_PARTS` parts, as equal as can be, none empty."""
    num_parts = min(num_batches, MOST_PARTS) or 1
    return [range(*bounds) for bounds in pairwise(num_batches * part // num_parts for part in range(num_parts + 1))]


class Parts:
    """The parts of one file, in the folder that its trials share."""

    def __init__(self, whole: Path, work: SharedWork) -> None:
        """Args:
        whole: the file that they are parts of; where it is there, nothing is left to do.
        """
        self._whole, self._work = whole, work

    def gathered(self) -> Batches:
        """All activations in their order, for the writer: parts that others computed, and else computed here.

        Raises:
            OSError: if a part cannot be claimed.
        """
        self._forget_claims()
        for part, num_rows in enumerate(self._work.num_rows):
            with FileLock(self._file(part, "lock")):  # waits for a helper that has begun it
                yield from self._found(part, num_rows) or self._claimed(part)
            self._file(part, "npy").unlink(missing_ok=True)

    def help(self) -> None:
        """Computes what nobody has begun, from the last part downwards; what goes wrong here is the writer's to meet."""
        for part in reversed(range(len(self._work.num_rows))):
            if self._is_taken(part):
                continue
            with suppress(Timeout), FileLock(self._file(part, "lock"), timeout=0):
                if not self._is_taken(part):  # now that nobody else can take it
                    self._write(part)

    def remove(self) -> None:
        """Deletes all there is of parts. Who still computes one finds the whole file, or the writer gone, and lets it be."""
        for file in self._whole.parent.glob(f"{self._stem}.part-*"):
            file.unlink(missing_ok=True)

    def _is_taken(self, part: int) -> bool:
        """In this order: claims are deleted once the whole file is there."""
        return self._file(part, "claim").exists() or self._file(part, "npy").exists() or self._whole.exists()

    def _claimed(self, part: int) -> Batches:
        self._file(part, "claim").touch()
        return self._work.compute(part)

    def _write(self, part: int) -> None:
        file, unfinished = self._file(part, "npy"), self._file(part, "partial")
        try:
            write_activations(unfinished, self._claimed(part), self._work.num_rows[part])
            unfinished.replace(file)
        finally:
            unfinished.unlink(missing_ok=True)

    def _found(self, part: int, num_rows: int) -> Batches | None:
        file = self._file(part, "npy")
        stored = map_activations(file) if file.exists() and is_intact(file) else None
        return None if stored is None or len(stored.rows) != num_rows else [(stored.description, stored.rows)]

    def _forget_claims(self) -> None:
        """Those of a writer that died: its parts are gone with it."""
        for claim in self._whole.parent.glob(f"{self._stem}.part-*.claim"):
            claim.unlink(missing_ok=True)

    @property
    def _stem(self) -> str:
        return f"{self._whole.stem}.{self._work.dtype}"

    def _file(self, part: int, kind: str) -> Path:
        return self._whole.with_name(f"{self._stem}.part-{part:03d}.{kind}")
