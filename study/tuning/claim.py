"""Whose a study is, told where everybody who could drive it looks: in Optuna's storage.

The lock of `study/tuning/driver.py` lies in STUDY_OUTPUT, which may be another folder for each shell and machine; the storage
is the study. A driver's claim there is kept fresh while it lives. One that died is known at once where that can be proved: its
lock is ours now, or its process is gone from this machine. Elsewhere its claim lapses when it was not renewed for three beats.
"""

import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil  # type: ignore[import-untyped]
from pydantic import ValidationError

from study.errors import SearchError
from study.search.failures import AnotherDriverError
from study.search.study_note import StudyNote
from study.trial import Plain
from study.tuning.driver import DriverRecord

CLAIM_NOTE = "driver"
CLAIM_FILE = "driver.claim"  # beside the lock: the claim that the lock's last holder made
BEAT_S = 30.0  # one small write: 1 MB a day in a journal
LAPSE_S = 3 * BEAT_S
SETTLE_S = 0.2  # a storage has no test-and-set: of drivers that begin in the same moment, the last to write is the one
JOIN_S = 5.0  # a storage that hangs keeps the heart, and nobody waits for it


class ClaimRecord(Plain):
    """What the note says.

    Attributes:
        machine: the running system and its space of process numbers: a container of the same host has others.
        folder: that the driver's files are in.
        beat_s: when the claim was last renewed, seconds since 1970.
        is_over: the driver has left the study in good order.
    """

    id: str
    driver: DriverRecord
    machine: str
    folder: str
    beat_s: float
    is_over: bool = False

    @property
    def lapses_in_s(self) -> float:
        """Seconds until it counts no more, unless it is renewed."""
        return self.beat_s + LAPSE_S - time.time()

    @property
    def is_alive(self) -> bool:
        """Whether its driver may still be at work."""
        if self.machine != this_machine():
            return self.lapses_in_s > 0
        try:
            is_dead = psutil.Process(self.driver.pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False
        # A clock that was set moves when processes seem to have begun: a fresh beat counts as well.
        return not is_dead and (self.driver.is_here or self.lapses_in_s > 0)


class Claim:
    """This process's claim on a study, from `with` on; no other process takes the study while it is renewed."""

    def __init__(self, name: str, note: StudyNote, folder: Path) -> None:
        """Args:
        folder: the study's, whose lock this process holds (`driving`).
        """
        self._name = name
        self._note = note
        self._folder = folder
        self._record = ClaimRecord(
            id=uuid.uuid4().hex,
            driver=DriverRecord.of_this_process(),
            machine=this_machine(),
            folder=str(folder.absolute()),
            beat_s=time.time(),
        )
        self._taken_by: ClaimRecord | None = None
        self._is_over = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="claim", daemon=True)

    def __enter__(self) -> Self:
        """Claims the study.

        Raises:
            AnotherDriverError: if another driver has it.
            SearchError: if the storage cannot be read or written.
        """
        require_unclaimed(self._name, self._note, self._folder)
        with suppress(OSError):  # a full disk: whether we live is told by our process, or by our beats
            (self._folder / CLAIM_FILE).write_text(self._record.id, encoding="utf-8")
        self._note.write(self._record.model_dump(mode="json"))
        time.sleep(SETTLE_S)
        self._renew()
        self.require_held()
        self._heart.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Gives the study back. Where the storage is away, the free lock and the ended process tell the same."""
        self._is_over.set()
        self._heart.join(JOIN_S)
        with suppress(SearchError, KeyError):  # KeyError: the study was deleted
            self._renew(is_over=True)

    def require_held(self) -> None:
        """Nothing, while the study is this process's. Asks the storage only where a beat is overdue: after a laptop's sleep.

        Raises:
            AnotherDriverError: if another driver has taken it.
        """
        if self._taken_by is None and self._record.lapses_in_s <= 0:
            with suppress(SearchError):  # away: what is to be written next will be refused, and say so
                self._renew()
        if self._taken_by is not None:
            raise _taken(self._name, self._taken_by)

    def _beat(self) -> None:
        """The heart: a thread of its own, since a driver may train for hours between two of its own looks."""
        while not self._is_over.wait(BEAT_S) and self._taken_by is None:
            with suppress(SearchError, KeyError):  # the driver itself will say so; the next beat tries again
                self._renew()
            self._note.leave()

    def _renew(self, *, is_over: bool = False) -> None:
        """Writes the claim anew, unless another driver has taken the study meanwhile."""
        found = _read(self._note, patience_s=0.0)
        if found is not None and found.id != self._record.id:
            self._taken_by = found
            return
        self._record = self._record.model_copy(update={"beat_s": time.time(), "is_over": is_over})
        self._note.write(self._record.model_dump(mode="json"), patience_s=0.0)


def require_unclaimed(name: str, note: StudyNote, folder: Path) -> None:
    """Nothing, where no driver has the study whose lock is not in `folder`: of those whose lock is, the lock itself tells.

    Raises:
        AnotherDriverError: if one has.
        SearchError: if the storage cannot be read.
    """
    found = claim_elsewhere(note, folder)
    if found is not None:
        raise _taken(name, found)


def claim_elsewhere(note: StudyNote, folder: Path) -> ClaimRecord | None:
    """The claim of a living driver whose lock is not in `folder`; None where there is none.

    Raises:
        SearchError: if the storage cannot be read.
    """
    found = _read(note)
    if found is None or found.is_over or _has_lock_of(found, folder) or not found.is_alive:
        return None
    return found


def _has_lock_of(claim: ClaimRecord, folder: Path) -> bool:
    """Whether the folder's lock is that driver's, or was: it went with its process."""
    try:
        return (folder / CLAIM_FILE).read_text(encoding="utf-8") == claim.id
    except OSError:
        return False


def this_machine() -> str:
    """The running system and its space of process numbers; the host's name where a system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _read(note: StudyNote, patience_s: float = BEAT_S) -> ClaimRecord | None:
    """The claim; None where there is none, or one that another version wrote."""
    try:
        return ClaimRecord.model_validate(note.read(patience_s))
    except ValidationError:
        return None


def _taken(name: str, claim: ClaimRecord) -> AnotherDriverError:
    stop = f"End it there (`study stop {name}`, its files are in {claim.folder})"
    if claim.machine == this_machine():
        fix = f"Wait for it, or end it: `study stop {name}` with STUDY_OUTPUT={Path(claim.folder).parent}"
    else:
        fix = f"{stop}; if it died, its claim lapses in {max(claim.lapses_in_s, 1.0):.0f} s"
    return AnotherDriverError(f"one driver at a time may run a study, but {name!r} is run by {claim.driver}. {fix}.")
