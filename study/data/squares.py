"""A source's photos as squares, decoded in parallel, in order, a few at a time."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from study.data.images import Pixels, UnreadablePhotoError, square_of
from study.data.photo_files import OF_ONE_FILE
from study.data.sources import Source
from study.errors import DataError

# A batch: what one thread decodes before it hands over. At most 8 MiB of squares (53 photos at 224 px, 2 at 1024 px), and few
# enough photos that progress moves and a kill costs little.
BATCH_PHOTOS = 32
BATCH_BYTES = 8 * 2**20
# Batches under way or waiting for the writer, per thread: memory is bounded by this, not by the collection.
BATCHES_PER_THREAD = 2

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Squares:
    """Photos that follow one another.

    Attributes:
        pixels: uint8 [num_kept, size_px, size_px, 3], of those that could be read.
        contents: each photo's content digest, "" where it could not be read at all.
        unreadable: why a photo has no square, by place in `contents`.
    """

    pixels: Pixels
    contents: tuple[str, ...]
    unreadable: dict[int, str]


def squares_of(source: Source, size_px: int, start: int = 0) -> Iterator[Squares]:
    """The source's photos from position `start` on; each is read once, for its digest and its square.

    By threads: Pillow decodes and resizes without the interpreter's lock. On 2 cores 1,330 photos of 400 px took 0.58 s by
    threads and 0.57 s by forked processes (best of 8), which would have to be started, sent the source, and kept from
    outliving a killed study. With the C code replaced by sleeps of its length, 8 threads or more reach 7,000 photos/s: then
    the lock is the limit, and the array grows by 1 GB/s.

    Raises:
        DataError: if the source cannot be read, for a reason that is not the photo's.
    """
    photos = source.records.photos
    batch_photos = max(1, min(BATCH_PHOTOS, BATCH_BYTES // (size_px**2 * 3)))
    batches = (photos[first : first + batch_photos] for first in range(start, len(photos), batch_photos))
    return in_parallel(lambda batch: _squares_of_batch(source, batch, size_px), batches)


def contents_of(source: Source) -> Iterator[str]:
    """Each photo's content digest, in order, "" where a photo cannot be read at all; none is decoded."""
    photos = source.records.photos
    batches = (photos[first : first + BATCH_PHOTOS] for first in range(0, len(photos), BATCH_PHOTOS))
    for contents in in_parallel(lambda batch: [_content_of(source, photo) for photo in batch], batches):
        yield from contents


def in_parallel(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`map` by threads, in order, with no more items under way than the reader of the results keeps up with."""
    num_threads = _num_cpus()
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(num_threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= num_threads * BATCHES_PER_THREAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:  # the reader stopped early
                future.cancel()


def _squares_of_batch(source: Source, photos: tuple[str, ...], size_px: int) -> Squares:
    pixels = np.empty((len(photos), size_px, size_px, 3), dtype=np.uint8)
    contents: list[str] = []
    unreadable: dict[int, str] = {}
    for place, photo in enumerate(photos):
        content = ""
        try:
            stored = source.read(photo)
            content = hashlib.sha256(stored).hexdigest() if isinstance(stored, bytes) else source.digest_of(photo)
            pixels[place - len(unreadable)] = square_of(stored, size_px, name=photo)
        except UnreadablePhotoError as error:
            unreadable[place] = error.reason
        except DataError as error:
            unreadable[place] = _reason_to_go_on(error)
        contents.append(content)
    return Squares(pixels[: len(photos) - len(unreadable)], tuple(contents), unreadable)


def _content_of(source: Source, photo: str) -> str:
    try:
        return source.digest_of(photo)
    except UnreadablePhotoError:
        return ""
    except DataError as error:
        _reason_to_go_on(error)
        return ""


def _reason_to_go_on(error: DataError) -> str:
    """Why this one photo could not be read from the disk; raised again where others would fail alike (a lost network drive)."""
    cause = error.__cause__
    if isinstance(cause, OF_ONE_FILE):
        return cause.strerror or type(cause).__name__
    raise error


def _num_cpus() -> int:
    # What this process may use, not what the machine has: a container's share. macOS cannot say.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
