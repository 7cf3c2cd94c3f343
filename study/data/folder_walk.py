"""The visible files below a folder, at any depth."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from study.errors import DataError

NO_REGULAR_FILE = "a link that leads to no file, or no regular file"


class FoundFile(NamedTuple):
    """A file below a folder.

    Attributes:
        path: below the folder, with forward slashes.
        is_regular: not a link that leads nowhere, nor a pipe, which would keep its reader waiting.
    """

    path: str
    is_regular: bool


def files_below(folder: Path) -> Iterator[FoundFile]:
    """Every visible file; linked folders are followed, but none twice (a link upward would never end).

    Raises:
        DataError: if a folder cannot be read.
    """
    visited = {os.path.realpath(folder)}
    waiting = [""]
    while waiting:
        below = waiting.pop()
        for entry in _visible_entries(folder / below):
            path = f"{below}{entry.name}"
            if not _is(entry.is_dir):
                yield FoundFile(path, _is(entry.is_file))
            elif (resolved := os.path.realpath(entry.path)) not in visited:
                visited.add(resolved)
                waiting.append(f"{path}/")


def visible_files(folder: Path) -> Iterator[FoundFile]:
    """The visible files that lie in a folder itself.

    Raises:
        DataError: if the folder cannot be read.
    """
    return (FoundFile(entry.name, _is(entry.is_file)) for entry in _visible_entries(folder) if not _is(entry.is_dir))


def visible_folders(folder: Path) -> list[Path]:
    """The visible folders in a folder, sorted.

    Raises:
        DataError: if the folder cannot be read.
    """
    return [folder / entry.name for entry in _visible_entries(folder) if _is(entry.is_dir)]


def in_utf8(path: str) -> str:
    """A path that JSON and MLflow take: bytes that are no UTF-8, which Python holds as lone surrogates, are spelt out."""
    return path.encode("utf-8", "backslashreplace").decode()


def _visible_entries(folder: str | Path) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(
            f"every folder must be readable, but {error.filename} is not: {error.strerror}. Check its permissions."
        ) from error


def _is(asked: Callable[[], bool]) -> bool:
    """What an entry says of itself; the disk is asked for links only, and a link to what is out of reach is nothing."""
    try:
        return asked()
    except OSError:
        return False
