"""What one run has been told and MLflow may not know yet: a file that is only ever appended to, a delivery a line."""

import os
from contextlib import suppress
from pathlib import Path

from study.errors import TrackingError
from study.tracking.deliveries import MAX_POINTS, Delivery

SUFFIX = ".jsonl"


class DamagedJournalError(TrackingError):
    """A journal holds a line that nobody wrote."""


class RunJournal:
    """One run's deliveries in `<folder>/<run id>.jsonl`, and beside it how many bytes of them have been delivered.

    A line is handed to the operating system before `append` returns, so it outlives the process. Until `sync`, only the
    system's memory may hold it: a power cut loses it.
    """

    def __init__(self, folder: Path, run_id: str) -> None:
        self.run_id = run_id
        self.path = folder / f"{run_id}{SUFFIX}"
        self._mark = folder / f"{run_id}.delivered"
        self.size = self.path.stat().st_size if self.path.exists() else 0
        self.delivered = self._read_mark() if self.size else 0
        self._synced = self.size
        self._counted = (0, 0, 0)  # deliveries that waited, at which size and mark

    @property
    def is_delivered(self) -> bool:
        """Whether nothing is left."""
        return self.delivered >= self.size

    def append(self, delivery: Delivery) -> None:
        """Adds a delivery; whole, or not at all.

        Raises:
            TrackingError: if it cannot be written, because the disk is full for example.
        """
        line = delivery.to_line().encode()
        try:
            # Opened anew each time (20 us): a driver with a thousand runs would keep a thousand files open.
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                self._write(descriptor, line)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise TrackingError(
                f"what a run is told must be written to its journal before it is sent, but {self.path} cannot be written: "
                f"{error.strerror}. Free some space there, then go on with `study resume`."
            ) from error
        self.size += len(line)

    def read(self, offset: int) -> tuple[Delivery, int]:
        """What stands from `offset` on as one delivery, and where it ends: as much as MLflow takes at once.

        A last line without its end was cut short by a crash, and its writer never told anybody that it was there: it is
        passed over.

        Raises:
            DamagedJournalError: if a line is none of ours, as after a power cut.
        """
        whole = Delivery()
        with self.path.open("rb") as file:
            file.seek(offset)
            while offset < self.size and (line := file.readline()):
                if not line.endswith(b"\n"):
                    return whole, self.size
                try:
                    delivery = Delivery.from_line(line)
                except ValueError as error:
                    raise DamagedJournalError(f"a journal must hold deliveries only, but {self.path} holds {error}.") from error
                if whole.points and len(whole.points) + len(delivery.points) > MAX_POINTS:
                    break
                whole, offset = whole.followed_by(delivery), offset + len(line)
        return whole, offset

    def num_waiting(self) -> int:
        """Deliveries that have not arrived. Counted anew only where something changed: ten thousand runs may wait for hours."""
        if self.is_delivered:
            return 0
        if self._counted[1:] != (self.size, self.delivered):
            with self.path.open("rb") as file:
                file.seek(self.delivered)
                self._counted = (sum(1 for _ in file), self.size, self.delivered)
        return self._counted[0]

    def move_to(self, folder: Path) -> None:
        """Keeps the journal elsewhere, whole."""
        folder.mkdir(parents=True, exist_ok=True)
        self._mark.unlink(missing_ok=True)
        self.path.replace(folder / self.path.name)

    def mark_delivered(self, offset: int) -> None:
        """Remembers that everything in front of `offset` has arrived, for the next process too."""
        self.delivered = offset
        with suppress(OSError):  # a mark that is lost, on a full disk for example, has some records sent once more: harmless
            self._mark.write_text(str(offset))

    def sync(self) -> None:
        """Sees what was appended on the disk itself: from here on it outlives a power cut."""
        if self._synced == self.size:
            return
        size = self.size
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._synced = size

    def remove(self) -> None:
        """Deletes the journal. The mark goes first: a mark without its journal would hide a later journal's beginning."""
        self._mark.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def _write(self, descriptor: int, line: bytes) -> None:
        written = 0
        try:
            while written < len(line):
                written += os.write(descriptor, line[written:])
        except OSError:
            os.ftruncate(descriptor, self.size)  # half a line would spoil the next
            raise

    def _read_mark(self) -> int:
        """Where the next line begins; 0 where the mark is missing or cut short: then everything is sent once more."""
        try:
            mark = int(self._mark.read_text())
        except (OSError, ValueError):
            return 0
        with self.path.open("rb") as file:
            file.seek(max(mark - 1, 0))
            return mark if file.read(1) == b"\n" else 0
