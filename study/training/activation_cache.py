"""The folder in which a node's trials share activations: one writer a file, a budget, the least recently used leave first.

KEY.npy       activations (study/training/activation_files.py)
KEY.used      empty; its time of change is when they were last opened (a file's own access time is off on many disks)
KEY.lock      held by who computes them
KEY.partial   they are being computed
KEY.*.part-*  parts of them that others compute meanwhile (study/training/activation_parts.py)
folder.lock   held while room is made
"""

import errno
import logging
import os
import shutil
from collections.abc import Hashable
from contextlib import suppress
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from study.training.activation_files import (
    StoredActivations,
    TooLargeForFloat16Error,
    is_intact,
    map_activations,
    write_activations,
)
from study.training.activation_parts import Parts, SharedWork
from study.training.activation_plan import PrefixCosts

logger = logging.getLogger(__name__)

GIB = 2**30
# The activations of 10,000 photos of 224 px are 20 MB (ResNet-18's last stage) to 8 GB (VGG-16's block2), wherever they are
# worth keeping: a few studies' fit, and a machine that trains has that disk.
LARGEST_BUDGET_BYTES = 20 * GIB
# A small disk has other users too.
DISK_SHARE = 0.25

Identity = tuple[int, int, int]


class ActivationCache:
    """Activations of one node, and what one process remembers of them: a worker keeps it from trial to trial.

    Files are written under another name and renamed, and evicted by deleting them: a trial that has one open goes on with it,
    since a deleted file lives until nobody maps it (its disk space, too). So nobody needs to say what is in use.

    Args:
        folder: made when it is first written to; None shares nothing.
        budget_bytes: of all files together; None: 20 GiB, or a quarter of a smaller disk.
    """

    def __init__(self, folder: Path | None, budget_bytes: int | None = None) -> None:
        self.folder = folder
        self.costs: dict[Hashable, PrefixCosts] = {}
        self._budget_bytes = budget_bytes
        self._intact: dict[Path, Identity] = {}

    @property
    def budget_bytes(self) -> int:
        """What all files together may take; 0 without a folder."""
        if self.folder is None:
            return 0
        if self._budget_bytes is not None:
            return self._budget_bytes
        there = next(place for place in (self.folder.absolute(), *self.folder.absolute().parents) if place.exists())
        return min(LARGEST_BUDGET_BYTES, int(DISK_SHARE * shutil.disk_usage(there).total))

    def find(self, key: str) -> StoredActivations | None:
        """The activations named `key`, memory-mapped; None if they are not there, or damaged.

        Every byte of a file is checked when a process first opens it, and again when it is another file or was written to.
        """
        if self.folder is None:
            return None
        path = self._path(key)
        identity = _identity(path)
        if identity is None:
            return None
        if self._intact.get(path) != identity:
            if not is_intact(path):
                logger.warning("%s is damaged: it is computed anew", path)
                return None
            self._intact[path] = identity
        found = map_activations(path)
        if found is not None:
            self._touch(key)
        return found

    def find_or_write(self, key: str, num_bytes: int, work: SharedWork) -> tuple[StoredActivations, bool]:
        """The activations named `key`, and whether this call wrote them. Of several callers one does; the others help it.

        Args:
            num_bytes: about how large the file will be.
            work: how they are computed.
        Raises:
            OSError: if they do not fit the budget or the disk; then no part of a file is left.
        """
        assert self.folder is not None, "sharing needs a folder"
        found = self.find(key)  # before the lock: a folder that others prepared may be read-only
        if found is not None:
            return found, False
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / f"{key}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            self._help(key, num_bytes, work)
            lock.acquire()
        try:
            found = self.find(key)  # another process may have written it while this one waited
            return (found, False) if found is not None else (self._written(key, num_bytes, work), True)
        finally:
            lock.release()

    def _written(self, key: str, num_bytes: int, work: SharedWork) -> StoredActivations:
        """The activations, written under their lock."""
        partial, parts = self._path(key).with_suffix(".partial"), Parts(self._path(key), work)
        try:
            self._reserve(partial, num_bytes)
            write_activations(partial, parts.gathered(), sum(work.num_rows))
            partial.replace(self._path(key))
        finally:
            partial.unlink(missing_ok=True)
            parts.remove()
        written = map_activations(self._path(key))
        assert written is not None, f"{self._path(key)} was just written"
        self._remember(key)
        return written

    def _help(self, key: str, num_bytes: int, work: SharedWork) -> None:
        """Computes parts for the writer; where anything is in the way, the writer does without."""
        assert self.folder is not None
        try:
            # Parts are on the disk twice until the writer has taken them.
            if shutil.disk_usage(self.folder).free > 2 * num_bytes:
                Parts(self._path(key), work).help()
        except (OSError, TooLargeForFloat16Error, torch.OutOfMemoryError) as error:
            logger.info("no help with %s: %s", key, error)

    def _path(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{key}.npy"

    def _remember(self, key: str) -> None:
        identity = _identity(self._path(key))
        if identity is not None:
            self._intact[self._path(key)] = identity
        self._touch(key)

    def _touch(self, key: str) -> None:
        with suppress(OSError):  # a folder that others prepared may be read-only
            self._path(key).with_suffix(".used").touch()

    def _reserve(self, partial: Path, num_bytes: int) -> None:
        """Makes room, and a file of that size that counts as taken; it takes the disk's space only as it is written."""
        assert self.folder is not None
        with FileLock(self.folder / "folder.lock"):
            self._remove_what_the_dead_left(partial.stem)
            self._make_room(partial.stem, num_bytes)
            with partial.open("wb") as file:
                file.truncate(num_bytes)

    def _remove_what_the_dead_left(self, key: str) -> None:
        """Deletes partial files that nobody writes (their writer would hold their lock), and stamps of files that are gone."""
        assert self.folder is not None
        for partial in self.folder.glob("*.partial"):
            if partial.stem == key:
                partial.unlink(missing_ok=True)
                continue
            with suppress(Timeout), FileLock(partial.with_suffix(".lock"), timeout=0):
                partial.unlink(missing_ok=True)
        for part in [*self.folder.glob("*.part-*.claim"), *self.folder.glob("*.part-*.lock")]:
            with suppress(Timeout), FileLock(self.folder / f"{part.name.partition('.')[0]}.lock", timeout=0):
                part.unlink(missing_ok=True)
        for stamp in self.folder.glob("*.used"):
            if not stamp.with_suffix(".npy").exists():
                stamp.unlink(missing_ok=True)

    def _make_room(self, key: str, num_bytes: int) -> None:
        """Evicts the least recently used files until `num_bytes` more fit the budget and the disk.

        Raises:
            OSError: if they would not fit an empty folder; then nothing is evicted.
        """
        assert self.folder is not None
        self._path(key).unlink(missing_ok=True)  # damaged
        files = sorted(_found(self.folder, "*.npy").items(), key=lambda item: _last_used(item[0]))
        partials = _found(self.folder, "*.partial").values()
        evictable = sum(found.st_size for _, found in files)
        room = self.budget_bytes - evictable - sum(found.st_size for found in partials) - num_bytes
        unwritten = sum(max(0, found.st_size - 512 * found.st_blocks) for found in partials)
        free = shutil.disk_usage(self.folder).free - unwritten - num_bytes
        if min(room, free) + evictable < 0:
            raise OSError(errno.ENOSPC, f"no room for {num_bytes / GIB:.2f} GiB of activations")
        for file, found in files:
            if min(room, free) >= 0:
                break
            file.unlink(missing_ok=True)
            logger.info("%s was least recently used: evicted", file)
            room, free = room + found.st_size, free + found.st_size


def _found(folder: Path, pattern: str) -> dict[Path, os.stat_result]:
    """The files of that name, but for those that are renamed or deleted meanwhile."""
    found: dict[Path, os.stat_result] = {}
    for file in folder.glob(pattern):
        with suppress(FileNotFoundError):
            found[file] = file.stat()
    return found


def _identity(path: Path) -> Identity | None:
    """What changes when a file is replaced or written to: inode, time of change, size; None if there is no file."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _last_used(path: Path) -> int:
    for file in (path.with_suffix(".used"), path):
        with suppress(OSError):
            return file.stat().st_mtime_ns
    return 0
