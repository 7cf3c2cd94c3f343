"""A folder that one process works in: its journals are its own until it dies, then whoever claims the folder's."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

LOCK_SUFFIX = ".lock"


class ClaimedFolder:
    """`<root>/<name>/`, held by a lock beside it that the system releases with the process, however that ends.

    The lock is taken before the folder is made, and only folders are looked for: nobody can claim one that is being made.
    """

    def __init__(self, root: Path, name: str) -> None:
        """Claims the folder, which may not be there.

        Raises:
            filelock.Timeout: if a process has it.
        """
        self.path = root / name
        # Claimed in one thread, released in another.
        self._lock = FileLock(root / f"{name}{LOCK_SUFFIX}", timeout=0, thread_local=False)
        self._lock.acquire()

    def release(self) -> None:
        """Gives the folder back; an empty one is deleted."""
        with suppress(OSError):  # not empty, or never made
            self.path.rmdir()
        if not self.path.exists():
            Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()


def abandoned_folders(root: Path) -> Iterator[ClaimedFolder]:
    """Claims what dead processes left."""
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        with suppress(Timeout):  # its process lives
            yield ClaimedFolder(root, folder.name)
