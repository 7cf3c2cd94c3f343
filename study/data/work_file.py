"""A packed array while it is being made: it survives its writer, and whoever comes next goes on where that one stopped."""

import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydantic import ValidationError

from study.data.images import Pixels
from study.trial import Plain

# The .npy header's length, whatever the number of photos (numpy leaves room for it to grow), so it can be written last.
HEADER_BYTES = 128
READ_BYTES = 8 * 2**20


class Finished(Plain):
    """A line of the journal: photos that follow on the line before.

    Attributes:
        contents: each photo's content digest, "" where it could not be read at all.
        unreadable: why a photo has no square, by its place in this line.
        checksum: CRC-32 of all squares up to here.
    """

    contents: tuple[str, ...]
    unreadable: dict[int, str]
    checksum: int

    @property
    def num_kept(self) -> int:
        """How many of the photos have a square."""
        return len(self.contents) - len(self.unreadable)


@dataclass(frozen=True)
class Whole:
    """What is known of a packed array once it is whole.

    Attributes:
        digest: of the photos' names and content, which were readable, and the recipe.
        unreadable: why a photo has no square, by its position in the records.
        checksum: CRC-32 of all squares.
    """

    digest: str
    unreadable: dict[int, str]
    checksum: int


class WorkFile:
    """Squares written from front to back, and a journal that says how far they are to be trusted.

    The squares go first, then the line that vouches for them: after a kill, the journal never promises what the array does not
    hold; after a power cut it may, and then the checksum tells. Written, not mapped: a full disk is then an `OSError`, where a
    mapping would kill the process.

    Args:
        array: where it grows; the journal lies beside it.
        photos: their names, in order.
        size_px: side of the squares.
        recipe: what else decides the pixels, part of the digest.
    """

    def __init__(self, array: Path, photos: tuple[str, ...], size_px: int, recipe: list[object]) -> None:
        array.parent.mkdir(parents=True, exist_ok=True)
        self._array, self._journal = array, array.with_suffix(".journal")
        self._photos, self._size_px = photos, size_px
        self._hasher = hashlib.sha256(json.dumps(recipe).encode())
        self._unreadable: dict[int, str] = {}
        self._checksum = 0
        self.num_done = 0
        self._resume()

    def append(self, squares: Pixels, contents: tuple[str, ...], unreadable: dict[int, str]) -> None:
        """Adds the photos that follow.

        Args:
            squares: uint8 [num_kept, size_px, size_px, 3], of those that could be read.
            contents: digest of each photo.
            unreadable: reasons, by place in `contents`.
        Raises:
            OSError: if the disk is full.
        """
        with self._array.open("ab") as file:
            file.write(squares.data)
        finished = Finished(contents=contents, unreadable=unreadable, checksum=zlib.crc32(squares.data, self._checksum))
        with self._journal.open("a", encoding="utf-8") as journal:
            journal.write(finished.model_dump_json() + "\n")
        self._count(finished)

    def finish(self) -> Whole:
        """Writes the array's header and says what the array is; `move` puts it in place."""
        shape = (len(self._photos) - len(self._unreadable), self._size_px, self._size_px, 3)
        with self._array.open("r+b") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            assert file.tell() == HEADER_BYTES
            file.flush()
            os.fsync(file.fileno())
        return Whole(self._hasher.hexdigest()[:32], self._unreadable, self._checksum)

    def move(self, destination: Path) -> None:
        """Puts the whole array in its place, in one step."""
        destination.parent.mkdir(parents=True, exist_ok=True)
        self._array.replace(destination)
        self._journal.unlink(missing_ok=True)

    def discard(self) -> None:
        """Forgets all that was done."""
        self._journal.unlink(missing_ok=True)
        self._array.unlink(missing_ok=True)

    def _count(self, finished: Finished) -> None:
        photos = self._photos[self.num_done : self.num_done + len(finished.contents)]
        for place, (photo, content) in enumerate(zip(photos, finished.contents, strict=True)):
            self._hasher.update(signature(photo, content, place not in finished.unreadable))
        self._unreadable |= {self.num_done + place: reason for place, reason in finished.unreadable.items()}
        self._checksum = finished.checksum
        self.num_done += len(finished.contents)

    def _resume(self) -> None:
        """Counts what an earlier writer finished, as far as the array bears the journal out, and cuts off the rest."""
        with self._array.open("ab") as file:
            file.write(bytes(max(0, HEADER_BYTES - file.tell())))
        square_bytes = self._size_px**2 * 3
        trusted_bytes = 0
        with self._array.open("rb") as file:
            file.seek(HEADER_BYTES)
            for line, finished in _lines_of(self._journal):
                fits = self.num_done + len(finished.contents) <= len(self._photos)
                if not fits or checksum_of(file, finished.num_kept * square_bytes, self._checksum) != finished.checksum:
                    break
                trusted_bytes += len(line)
                self._count(finished)
        os.truncate(self._array, HEADER_BYTES + (self.num_done - len(self._unreadable)) * square_bytes)
        with self._journal.open("ab") as journal:
            journal.truncate(trusted_bytes)


def checksum_of(file: BinaryIO, num_bytes: int, start: int = 0) -> int | None:
    """CRC-32 of the next bytes of a file, continued from `start`; None if the file ends before."""
    checksum = start
    while num_bytes > 0:
        piece = file.read(min(num_bytes, READ_BYTES))
        if not piece:
            return None
        checksum = zlib.crc32(piece, checksum)
        num_bytes -= len(piece)
    return checksum


def signature(photo: str, content: str, is_kept: bool) -> bytes:
    """What a photo adds to the digest of the packed array that it is in."""
    return json.dumps([photo, content, is_kept]).encode()


def _lines_of(journal: Path) -> Iterator[tuple[bytes, Finished]]:
    """The journal's lines up to the first that is not whole."""
    if not journal.exists():
        return
    with journal.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            try:
                yield line, Finished.model_validate_json(line)
            except ValidationError:
                return
