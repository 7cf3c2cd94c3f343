"""Who drives a study: a lock that goes with its process, and a file beside it that says which process that is.

The lock tells whether somebody drives the study; it is the kernel's, and NFS carries it from node to node. The file tells who,
and how the last driver ended; it is never asked whether a driver lives.
"""

import errno
import fcntl
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Any, Self

import psutil  # type: ignore[import-untyped]
from filelock import FileLock, Timeout
from pydantic import Field, ValidationError

from study.errors import SearchError
from study.trial import Plain

LOCK_FILE, DRIVER_FILE = "driver.lock", "driver.json"
LOOK_S = 0.3  # somebody who looks whether a study is driven holds its lock for less
TELL_INTERVAL_S = 2.0  # between two words of what is done: a batch of photos takes a tenth of a second
PREPARING = "preparing"


class End(StrEnum):
    """How a driver left its study."""

    COMPLETE = "complete"
    FAILED = "failed"  # all trials ended, and none of them completed
    INTERRUPTED = "interrupted"


class DriverRecord(Plain):
    """What the file says.

    Attributes:
        process_s: when the process began, as its machine counts: tells it from a later one of the same number.
        began_s: driving, seconds since 1970.
        end: how it ended; None where it drives, or died.
        doing: what it does before its trials run; None from then on.
    """

    host: str
    pid: int = Field(ge=1)
    process_s: float
    began_s: float
    end: End | None = None
    doing: str | None = None

    @classmethod
    def of_this_process(cls, doing: str | None = None) -> Self:
        """Beginning now."""
        process_s = psutil.Process().create_time()
        return cls(host=socket.gethostname(), pid=os.getpid(), process_s=process_s, began_s=time.time(), doing=doing)

    @property
    def is_here(self) -> bool:
        """Whether the process runs on this machine, and is still the same."""
        if self.host != socket.gethostname():
            return False
        try:
            return bool(abs(psutil.Process(self.pid).create_time() - self.process_s) < 1.0)
        except psutil.NoSuchProcess:
            return False

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.host} since {time.strftime('%Y-%m-%d %H:%M:%SZ', time.gmtime(self.began_s))}"


class Driver:
    """This process while it drives a study.

    Attributes:
        end: how the study stands, once that is known; without, an earlier driver's word holds, else it was interrupted.
    """

    def __init__(self, folder: Path, record: DriverRecord) -> None:
        self.end: End | None = None
        self._folder = folder
        self._record = record
        self._told_s: float | None = None

    @property
    def is_preparing(self) -> bool:
        """Whether its trials do not run yet: nothing of a new study is recorded before."""
        return self._record.doing is not None

    def does(self, what: str) -> None:
        """Says what is done before trials run, for who looks."""
        now_s = time.monotonic()
        if self._told_s is None or now_s - self._told_s >= TELL_INTERVAL_S:
            self._told_s = now_s
            self._tell(what)

    def runs(self) -> None:
        """All is prepared: from here on the study is recorded, and its trials run."""
        self._tell(None)

    def leave(self, earlier: DriverRecord | None) -> None:
        """Says how the study stands; of one that was never recorded, nothing stays but what others put there."""
        if self.is_preparing and (earlier is None or earlier.doing is not None):
            # Who waits for a lock that has lost its name looks for one that has it (filelock/_unix.py).
            for name in (DRIVER_FILE, LOCK_FILE):
                (self._folder / name).unlink(missing_ok=True)
            return
        end = self.end or (earlier.end if earlier else None) or End.INTERRUPTED
        _write(self._folder, self._record.model_copy(update={"end": end, "doing": None}))

    def _tell(self, doing: str | None) -> None:
        self._record = self._record.model_copy(update={"doing": doing})
        with suppress(OSError):  # a full disk
            _write(self._folder, self._record)


@contextmanager
def driving(name: str, folder: Path, *, prepares: bool = False) -> Iterator[Driver]:
    """Holds the study for this process; the lock goes with the process, however it ends. SIGTERM is as Ctrl-C.

    Args:
        prepares: trials do not run before `Driver.runs`.
    Raises:
        SearchError: if another process drives it, or its folder cannot be written.
    """
    made = [path for path in (folder, *folder.parents) if path == folder or not path.exists()]
    lock = _locked(name, folder)
    earlier, record = read_driver(folder), DriverRecord.of_this_process(PREPARING if prepares else None)
    driver = Driver(folder, record)
    try:
        _write(folder, record)
        with terminated_as_interrupted():
            yield driver
    finally:
        with suppress(OSError):  # a full disk; the lock is free, and that is what counts
            driver.leave(earlier)
        lock.release()
        with suppress(OSError):  # what holds something stays
            for path in made:
                path.rmdir()


def _locked(name: str, folder: Path) -> FileLock:
    lock = FileLock(folder / LOCK_FILE)
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # whom we waited for recorded nothing, and has taken the folder away
                lock.acquire(timeout=LOOK_S, poll_interval=LOOK_S / 10)
                return lock
        except Timeout:
            raise SearchError(
                f"one driver at a time may run a study, but another process is running {name!r}{_who(folder)}. "
                f"Wait for it, or end it: study stop {name}"
            ) from None
        except OSError as error:
            raise SearchError(
                f"STUDY_OUTPUT must be a folder that can be written, but {folder} is not: {error.strerror}. "
                f"Mend that, or set STUDY_OUTPUT to another folder."
            ) from None


def read_driver(folder: Path) -> DriverRecord | None:
    """The last process that drove the study; None if none left word."""
    try:
        return DriverRecord.model_validate_json((folder / DRIVER_FILE).read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None


def is_driven(folder: Path) -> bool | None:
    """Whether a process drives the study, on whichever node that sees the folder; None where that cannot be told.

    The lock is opened for reading, which is all that other users may, and shared, so that who looks is in nobody's way but a
    beginning driver's, who waits. It conflicts with a driver's: filelock's is flock's LOCK_EX (filelock/_unix.py).
    """
    try:
        opened = os.open(folder / LOCK_FILE, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:  # EACCES: as some file systems refuse
        return True if error.errno in (errno.EAGAIN, errno.EACCES) else None
    finally:
        os.close(opened)  # gives the lock back
    return False


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """While it lasts, SIGTERM (docker stop, a Ray job's stop, Slurm) does what Ctrl-C does, and Ctrl-C is heard."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # Ray blocks SIGINT in what it starts, and a shell has it ignored in what runs behind it.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    """What Ctrl-C would do now."""
    handler: Any = signal.getsignal(signal.SIGINT)
    if not callable(handler):
        raise KeyboardInterrupt
    handler(signal.SIGINT, frame)


def _who(folder: Path) -> str:
    record = read_driver(folder)
    return f" ({record})" if record is not None and record.end is None else ""


def _write(folder: Path, record: DriverRecord) -> None:
    """Whole or not at all."""
    file = folder / DRIVER_FILE
    unfinished = file.with_suffix(f".{os.getpid()}.tmp")
    try:
        unfinished.write_text(record.model_dump_json(), encoding="utf-8")
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
