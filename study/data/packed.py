"""All photos of a source in one uint8 array on disk, decoded once and memory-mapped by whoever needs them afterwards."""

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from filelock import FileLock
from pydantic import ValidationError

from study.data.images import DRAFT_MARGIN, MAX_PIXELS, PADDING, RESAMPLING, Pixels
from study.data.sources import Source
from study.data.squares import contents_of, squares_of
from study.data.work_file import HEADER_BYTES, Whole, WorkFile, checksum_of, signature
from study.errors import DataError
from study.trial import Plain

# Part of every digest: raise it when the same photos give other pixels, or the file another layout.
FORMAT_VERSION = 2

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Quarantined:
    """A photo that could not be read.

    Attributes:
        photo: its id in the records.
        reason: why, in a few words.
    """

    photo: str
    reason: str


@dataclass(frozen=True, eq=False)
class PackedImages:
    """The packed array, its name, and what is not in it.

    Attributes:
        path: the .npy file.
        digest: of the photos' content and of how they were made into squares.
        images: uint8 [num_kept, size, size, 3], a read-only memory map.
        kept: int64 [num_kept], whose photos they are: positions in the source's records, rising.
        quarantine: the photos that are not in `images`, in the records' order.
    """

    path: Path
    digest: str
    images: Pixels
    kept: npt.NDArray[np.int64]
    quarantine: tuple[Quarantined, ...]


class _Description(Plain):
    """The .json beside an array: what its pixels do not say."""

    num_photos: int
    unreadable: dict[int, str]
    checksum: int


class _Pointer(Plain):
    """A file of the index: where a source that looked like this was found to be packed."""

    digest: str


def pack_images(
    source: Source,
    image_size: int,
    cache_folder: Path,
    on_progress: Progress | None = None,
    *,
    full_check: bool = False,
) -> PackedImages:
    """The source's photos as one memory-mapped array; decodes them the first time, and later reads none.

    Two processes that ask for the same at once decode once. A process that is killed leaves what it finished, and the next one
    goes on from there. The array is never seen half written. A photo that cannot be read is left out, its reason is in
    `quarantine`.

    Args:
        image_size: side of the squares in pixels.
        cache_folder: where arrays are kept; safe to delete.
        on_progress: called with the photos done and their total, after each batch; first with what an earlier process did.
        full_check: reads every photo again, and the array, and makes anew what differs. Without it, photos whose size and times
            of change are the same are taken to be the same.
    Raises:
        DataError: if no photo can be read, photos change meanwhile, or the disk is full.
    """
    shelf = _Shelf(cache_folder, source, image_size)
    try:
        if not full_check and (packed := shelf.find(shelf.by_fingerprint)):
            return packed
        with shelf.lock():  # another process may have packed it while this one waited
            packed = None if full_check else shelf.find(shelf.by_fingerprint)
            packed = packed or shelf.find_by_content(full_check) or shelf.pack(on_progress)
            write_atomically(shelf.by_fingerprint, _Pointer(digest=packed.digest).model_dump_json())
            write_atomically(shelf.by_names, _Pointer(digest=packed.digest).model_dump_json())
            return packed
    except OSError as error:
        needed_mib = len(source.records.photos) * image_size**2 * 3 / 2**20
        raise DataError(
            f"packed photos need {needed_mib:.0f} MiB in a writable folder, but {cache_folder} does not take them: "
            f"{error.strerror or error}. Free space there, or set STUDY_CACHE to another folder."
        ) from error


class _Shelf:
    """The cache folder as one source sees it: images/DIGEST.npy and .json, index/KEY.json, and work/KEY.array while it is made.

    Args:
        source: whose photos.
        image_size: side of the squares in pixels.
    """

    def __init__(self, cache_folder: Path, source: Source, image_size: int) -> None:
        self._folder, self._source, self._image_size = cache_folder, source, image_size
        # Everything but the photos that decides the pixels.
        self._recipe: list[object] = [FORMAT_VERSION, image_size, PADDING, RESAMPLING.name, DRAFT_MARGIN, MAX_PIXELS]
        self._fingerprint = source.fingerprint()
        self._key = _digest_of([self._fingerprint, *self._recipe])
        self.by_fingerprint = cache_folder / "index" / f"{self._key}.json"

    @property
    def by_names(self) -> Path:
        """Where the last array of photos with these names is remembered, whatever they looked like."""
        return self._folder / "index" / f"{_digest_of([self._source.records.photos, *self._recipe])}.json"

    def lock(self) -> FileLock:
        """Held while the source is hashed and packed."""
        path = self._folder / "work" / f"{self._key}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path)

    def find(self, pointer: Path) -> PackedImages | None:
        """The array that a file of the index points to; None if that is missing or damaged, or the array is gone."""
        try:
            digest = _Pointer.model_validate_json(pointer.read_bytes()).digest
            return self._open(digest, self._described(digest)) if self._path_of(digest).exists() else None
        except (OSError, ValidationError, DataError):
            return None

    def find_by_content(self, full_check: bool) -> PackedImages | None:
        """The array of the same photos that looked otherwise (touched, copied, moved): they are read, but not decoded.

        Only where one of photos with the same names is there: else reading all of them first would be for nothing.
        """
        packed = self.find(self.by_names)
        if packed is None:
            return None
        described = self._described(packed.digest)
        if self._digest_of_contents(described.unreadable) != packed.digest:
            return None
        return packed if not full_check or self._is_intact(packed, described) else None

    def pack(self, on_progress: Progress | None) -> PackedImages:
        """Decodes the photos that no earlier process did, and puts the array in its place."""
        photos = self._source.records.photos
        work = WorkFile(self._folder / "work" / f"{self._key}.array", photos, self._image_size, self._recipe)
        self._check_space(len(photos) - work.num_done)
        report = on_progress or (lambda done, total: None)
        if work.num_done:
            report(work.num_done, len(photos))
        for squares in squares_of(self._source, self._image_size, start=work.num_done):
            work.append(squares.pixels, squares.contents, squares.unreadable)
            report(work.num_done, len(photos))
        whole = work.finish()
        self._check_photos(work, whole)
        described = _Description(num_photos=len(photos), unreadable=whole.unreadable, checksum=whole.checksum)
        # Before the array: where that is, its description is too.
        write_atomically(self._path_of(whole.digest).with_suffix(".json"), described.model_dump_json())
        work.move(self._path_of(whole.digest))
        return self._open(whole.digest, described)

    def _check_space(self, num_missing: int) -> None:
        """A disk that is too small is told now, not after hours."""
        if shutil.disk_usage(self._folder).free < num_missing * self._image_size**2 * 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _check_photos(self, work: WorkFile, whole: Whole) -> None:
        records = self._source.records
        if self._source.fingerprint() != self._fingerprint:
            work.discard()
            raise DataError(
                f"photos must not change while they are packed, but some in {records.origin} did. Run the study again."
            )
        if len(whole.unreadable) == len(records.photos):
            work.discard()
            raise DataError(
                f"one photo or more must be a readable image, but of {len(records.photos):,} in {records.origin} none is: "
                f"{records.photos[0]}: {whole.unreadable[0]}. Check that `data` names the photos you mean."
            )

    def _digest_of_contents(self, unreadable: dict[int, str]) -> str:
        hasher = hashlib.sha256(json.dumps(self._recipe).encode())
        photos = self._source.records.photos
        for position, (photo, content) in enumerate(zip(photos, contents_of(self._source), strict=True)):
            hasher.update(signature(photo, content, position not in unreadable))
        return hasher.hexdigest()[:32]

    def _is_intact(self, packed: PackedImages, described: _Description) -> bool:
        with packed.path.open("rb") as file:
            file.seek(HEADER_BYTES)
            return checksum_of(file, packed.images.nbytes) == described.checksum

    def _described(self, digest: str) -> _Description:
        return _Description.model_validate_json(self._path_of(digest).with_suffix(".json").read_bytes())

    def _open(self, digest: str, described: _Description) -> PackedImages:
        photos = self._source.records.photos
        kept = np.array([index for index in range(len(photos)) if index not in described.unreadable], dtype=np.int64)
        return PackedImages(
            path=self._path_of(digest),
            digest=digest,
            images=open_images(self._path_of(digest), len(kept), self._image_size),
            kept=kept,
            quarantine=tuple(Quarantined(photos[index], reason) for index, reason in described.unreadable.items()),
        )

    def _path_of(self, digest: str) -> Path:
        return self._folder / "images" / f"{digest}.npy"


def open_images(path: Path, num_photos: int, image_size: int) -> Pixels:
    """The packed array as a read-only memory map, uint8 [num_photos, image_size, image_size, 3].

    Raises:
        DataError: if the file is missing or is not that array.
    """
    expected = (num_photos, image_size, image_size, 3)
    try:
        images: Pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _not_packed(path, expected, f"unreadable: {error}") from error
    if images.dtype != np.uint8 or images.shape != expected:
        raise _not_packed(path, expected, f"{images.dtype} {list(images.shape)}")
    return images


def write_atomically(file: Path, text: str) -> None:
    """Writes a file that nobody sees half written."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with replaced(file) as partial:
        partial.write(text.encode())


@contextmanager
def replaced(file: Path) -> Iterator[BinaryIO]:
    """A file of this writer's own, which takes the place of `file` when it is whole.

    Not named by the process's number: containers that share a cache all count from 1.
    """
    partial = file.with_name(f"{file.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("wb") as opened:
            yield opened
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def _not_packed(path: Path, expected: tuple[int, ...], found: str) -> DataError:
    return DataError(
        f"packed photos must be uint8 {list(expected)}, but {path} is {found}. Delete it and run the study again: it is remade."
    )


def _digest_of(values: list[object]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:32]
