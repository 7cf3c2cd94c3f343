"""Photos as files below one folder: read, hashed, and watched for changes."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from study.errors import DataError

# What the disk may say of one file while it gives the others; what else it says would be said of them all.
OF_ONE_FILE = (PermissionError, FileNotFoundError, IsADirectoryError)


@dataclass(frozen=True)
class PhotoFiles:
    """Files by their path below `root`, with forward slashes."""

    root: Path

    def fingerprint(self, paths: Iterable[str]) -> str:
        """Hash of every file's path, size and times of change (the inode's too: copying with kept times must not fool it).

        Raises:
            DataError: if one is gone.
        """
        hasher = hashlib.sha256(os.fsencode(self.root.resolve()))
        for path in paths:
            try:
                status = os.stat(os.path.join(self.root, path))  # half the time of `Path.stat`, and there may be a million
            except OSError as error:
                raise self._unreadable(path, error) from error
            hasher.update(f"\0{path}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ctime_ns}".encode())
        return hasher.hexdigest()

    def read(self, path: str) -> bytes:
        """The file's bytes.

        Raises:
            DataError: if it cannot be read.
        """
        try:
            return (self.root / path).read_bytes()
        except OSError as error:
            raise self._unreadable(path, error) from error

    def digest_of(self, path: str) -> str:
        """sha256 of the file's bytes."""
        return hashlib.sha256(self.read(path)).hexdigest()

    def _unreadable(self, path: str, error: OSError) -> DataError:
        return DataError(
            f"every photo must be readable, but {path} in {self.root} is not: {error.strerror or error}. "
            f"Check its permissions, or remove it."
        )
