"""Where Optuna keeps studies: a database, or a journal file that survives a kill, a power cut and a full disk."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import optuna
from filelock import FileLock
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage as Storage
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import NoSuchModuleError as NoSuchDriverError

from study.errors import SearchError, nearest

__all__ = ["Storage", "is_fresh", "load_study", "open_storage", "study_names", "together", "write"]
Written = TypeVar("Written")
PATIENCE_S = 30.0
FIRST_PAUSE_S = 0.1


class KernelLock(BaseJournalFileLock):
    """The journal's lock, held by the kernel: it goes with its process, however that ends.

    Optuna's own is a symbolic link, which a killed driver leaves behind for the next one to wait 30 s for.
    """

    def __init__(self, journal: Path) -> None:
        self._lock = FileLock(journal.with_name(f"{journal.name}.lock-file"))

    def acquire(self) -> bool:
        """Waits for the lock."""
        self._lock.acquire()
        return True

    def release(self) -> None:
        """Gives it back."""
        self._lock.release()


class Journal(JournalFileBackend):
    """Optuna's journal file, without the half line that a full disk or a power cut leaves at its end.

    The next record would be appended to it, and Optuna can read nothing after such a line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = threading.local()  # `held`: another thread's records are not held back with ours
        self._kernel_lock = KernelLock(path)
        super().__init__(str(path), lock_obj=self._kernel_lock)
        self._drop_half_line()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Appends whole records or, with an error, nothing."""
        held: list[dict[str, Any]] | None = getattr(self._thread, "held", None)
        if held is not None:
            held += logs
            return
        try:
            super().append_logs(logs)
        except OSError:
            self._drop_half_line()
            raise

    @contextmanager
    def together(self) -> Iterator[None]:
        """Holds what this thread appends within, and writes it at the end: one wait for the disk instead of one a record."""
        held: list[dict[str, Any]] = []
        self._thread.held = held
        try:
            yield
        finally:
            self._thread.held = None
        if held:
            self.append_logs(held)

    def _drop_half_line(self) -> None:
        if _ends_in_a_line(self._path):
            return
        self._kernel_lock.acquire()
        try:
            with self._path.open("rb+") as file:
                file.truncate(file.read().rfind(b"\n") + 1)
        finally:
            self._kernel_lock.release()


def _ends_in_a_line(path: Path) -> bool:
    """Whether the file is empty or ends where a line ends."""
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def open_storage(address: str) -> Storage:
    """Optuna's storage at a database URL, or in a journal file at a path.

    Raises:
        SearchError: if it cannot be opened.
    """
    if "://" not in address:
        return _open_journal(Path(address))
    try:
        # A connection that the database closed, as at its restart, is noticed before it is used.
        return RDBStorage(address, engine_kwargs={"pool_pre_ping": True})
    except ImportError:
        raise SearchError(
            f"a database needs its driver, but that of {_without_password(address)} is not installed. {_driver_hint(address)}"
        ) from None
    except (OperationalError, ArgumentError, NoSuchDriverError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise SearchError(
            f"STUDY_STORAGE must be a reachable database or a file, but {_without_password(address)} is not: {reason}. "
            f"Start the database, or mend the address."
        ) from None


def is_fresh(address: str) -> bool:
    """Whether the storage is a file that is not there yet: it holds no study, and asking it would make the file."""
    path = address.removeprefix("sqlite:///")
    return "://" not in path and not Path(path).exists()


def load_study(name: str, storage: Storage) -> optuna.Study:
    """The Optuna study `name`.

    Raises:
        SearchError: if the storage has none of this name.
    """
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        known = study_names(storage)
        hint = nearest(name, known) if known else "There is none yet: start one with `study run FILE`."
        raise SearchError(f"a study must exist to go on with it, but there is no {name!r}. {hint}") from None


def study_names(storage: Storage) -> Sequence[str]:
    """The names of all studies in a storage."""
    return optuna.get_all_study_names(storage)


def write(action: Callable[[], Written], patience_s: float = PATIENCE_S) -> Written:
    """What `action` returns, which writes to a storage; again and again while the storage cannot be written to.

    Args:
        action: may be repeated, even after it was carried out.
        patience_s: how long to try; a database that restarts is back within seconds.
    Raises:
        SearchError: if the storage stays away.
    """
    deadline_s, pause_s = time.monotonic() + patience_s, FIRST_PAUSE_S
    while True:
        try:
            return action()
        except (OSError, SQLAlchemyError, StorageInternalError) as error:
            if time.monotonic() + pause_s > deadline_s:
                cause = str(error.__cause__ or error).splitlines()[0]
                how_long = f"for {patience_s:g} s" if patience_s else "once more"
                raise SearchError(
                    f"STUDY_STORAGE must take every record, but {how_long} it did not: {cause}. "
                    f"Make room or start the database, then `study resume NAME` goes on."
                ) from error
        time.sleep(pause_s)
        pause_s *= 2


def together(storage: Storage) -> AbstractContextManager[None]:
    """Within, what a journal is given is held back, to be one wait for the disk; so nothing within may read it."""
    backend = storage._backend if isinstance(storage, JournalStorage) else None
    return backend.together() if isinstance(backend, Journal) else nullcontext()


def _open_journal(path: Path) -> Storage:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(Journal(path))
    except OSError as error:
        raise SearchError(f"STUDY_STORAGE must be a writable file, but {path} is not: {error}. Use another folder.") from None


def _driver_hint(address: str) -> str:
    if address.startswith("postgres"):
        return "`pip install 'study[postgresql]'`, and write the address as postgresql+psycopg://USER@HOST/DATABASE."
    return "Install it, as SQLAlchemy's documentation names it, or use a journal file: STUDY_STORAGE=study.journal."


def _without_password(address: str) -> str:
    """The address as it may be printed."""
    scheme, _, rest = address.partition("://")
    return f"{scheme}://***@{rest.rpartition('@')[2]}" if "@" in rest else address
