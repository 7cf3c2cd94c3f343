"""How a command's two output streams share the one file that Ray keeps of a job, and are told apart again."""

import io
import json
import re
import sys
from enum import StrEnum
from typing import BinaryIO

BEGIN = "=== study ==="  # what stands before is Ray's own
ACCEPTED = "=== accepted ==="  # what stands before is why it may be refused
OUT = "\x1e| "  # in front of a line of standard output; a bar alone begins many a table on standard error
ANNOUNCED = re.compile(r'=== marks (".*") ===')  # before BEGIN, where a client that does not know it takes it for Ray's own
OTHER_MARKS = (
    "The cluster's `study` is older than the one here and does not say how it marks its lines, so marks may stand in front of "
    "them. Update the cluster, or install its version here (its image has it)."
)


class Stream(StrEnum):
    """Where a command printed a line."""

    OUT = "stdout"
    ERR = "stderr"


class Streams:
    """Tells a job's lines apart.

    Attributes:
        has_begun: whether the command itself has said anything.
        is_accepted: whether the cluster found nothing against it.
        preamble: what Ray said before.
    """

    def __init__(self) -> None:
        self.has_begun = False
        self.is_accepted = False
        self.preamble: list[str] = []
        self._mark: str | None = None  # as the cluster announced it; who looks may have another version than the cluster

    def take(self, line: str) -> tuple[Stream, str] | None:
        """Which stream a line belongs to, and the line without its mark; None for one that is not the command's."""
        if not self.has_begun:
            self._take_before(line)
            return None
        if line == ACCEPTED:
            self.is_accepted = True
            return (Stream.ERR, OTHER_MARKS) if self._mark is None else None
        mark = self._mark or OUT
        if line.startswith(mark):
            return Stream.OUT, line.removeprefix(mark)
        # A line without content: no editor keeps the blank behind the mark, and it is the same.
        return (Stream.OUT, "") if line == mark.rstrip() else (Stream.ERR, line)

    def _take_before(self, line: str) -> None:
        self.has_begun = line == BEGIN
        announced = ANNOUNCED.fullmatch(line)
        if announced is not None:
            self._mark = json.loads(announced[1])
        elif not self.has_begun and line.strip():
            self.preamble.append(line.strip())


class MarkedOutput(io.RawIOBase):
    """Standard output as a job's command has it: each line with the mark in front."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._is_line_begun = False

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, content: object) -> int:
        """Takes everything at once."""
        data = bytes(content)  # type: ignore[call-overload]  # any buffer, as `io` hands it over
        for line in io.BytesIO(data):
            self._file.write((b"" if self._is_line_begun else OUT.encode()) + line)
            self._is_line_begun = not line.endswith(b"\n")
        self._file.flush()
        return len(data)


def announced(mark: str = OUT) -> str:
    """The line that says what stands in front of each line of standard output."""
    return f"=== marks {json.dumps(mark)} ==="


def say_mark(mark: str) -> None:
    """Says one of the marks that stand alone; before `mark_output`."""
    sys.stdout.write(f"{mark}\n")
    sys.stdout.flush()


def mark_output() -> None:
    """From here on, each line of this process's standard output is marked."""
    file = sys.stdout.buffer
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(MarkedOutput(file)), encoding="utf-8", line_buffering=True)
