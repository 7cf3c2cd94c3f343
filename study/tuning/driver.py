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
    """

    host: str
    pid: int = Field(ge=1)
    process_s: float
    began_s: float
    end: End | None = None

    @classmethod
    def of_this_process(cls) -> Self:
        """Beginning now."""
        process_s = psutil.Process().create_time()
        return cls(host=socket.gethostname(), pid=os.getpid(), process_s=process_s, began_s=time.time())

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

    def __init__(self) -> None:
        self.end: End | None = None


@contextmanager
def driving(name: str, folder: Path) -> Iterator[Driver]:
    """Holds the study for this process; the lock goes with the process, however it ends. SIGTERM is as Ctrl-C.

    Raises:
        SearchError: if another process drives it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=LOOK_S, poll_interval=LOOK_S / 10)
    except Timeout:
        raise SearchError(
            f"one driver at a time may run a study, but another process is running {name!r}{_who(folder)}. "
            f"Wait for it, or end it: study stop {name}"
        ) from None
    driver = Driver()
    earlier, record = read_driver(folder), DriverRecord.of_this_process()
    try:
        _write(folder, record)
        with terminated_as_interrupted():
            yield driver
    finally:
        end = driver.end or (earlier.end if earlier else None) or End.INTERRUPTED
        with suppress(OSError):  # a full disk; the lock is free, and that is what counts
            _write(folder, record.model_copy(update={"end": end}))
        lock.release()


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
    unfinished.write_text(record.model_dump_json(), encoding="utf-8")
    unfinished.replace(file)
