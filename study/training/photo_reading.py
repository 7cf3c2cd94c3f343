"""Batches of packed photos on the training's device: out of the memory map, sent ahead of the training, or resident there."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from study.models.devices import send

logger = logging.getLogger(__name__)

Indices = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]
Item = TypeVar("Item")
Result = TypeVar("Result")

# Share of a GPU's free memory that photos may take: the rest is for activations and gradients, which grow with the batch.
RESIDENT_SHARE = 0.5
# Batches under way to a GPU beside the one that is trained on: one is copied while the next is gathered.
NUM_AHEAD = 2
# What is sent at once when photos move to the GPU for good: 38 MiB at 224 px.
PHOTOS_A_TRANSFER = 256


class PhotoReader(Protocol):
    """Gives photos by their position in the packed array."""

    def read(self, batches: Sequence[Indices]) -> Iterator[Tensor]:
        """The photos at each of `batches`, uint8 [len(batch), size, size, 3] on the training's device, in order.

        The caller may stop at any of them.
        """
        ...


def open_reader(images: Pixels, used: Indices, device: torch.device) -> PhotoReader:
    """The fastest reader that there is room for; it can serve several trainings on the same photos, one after another.

    Args:
        images: uint8 [num_photos, size, size, 3]; may be a memory map.
        used: positions of all photos that will be asked for; in any order, repeated or not.
    """
    if device.type != "cuda":
        return MappedPhotos(images, device)
    streamed = StreamedPhotos(images, device)
    used = np.unique(used)
    num_bytes = len(used) * images[0].nbytes
    free_bytes, _ = torch.cuda.mem_get_info(device)
    if num_bytes > RESIDENT_SHARE * free_bytes:
        logger.info("photos are sent batch by batch: %.1f GiB of %.1f GiB free", num_bytes / 2**30, free_bytes / 2**30)
        return streamed
    try:
        return _resident(streamed, used)
    except torch.cuda.OutOfMemoryError:  # another process took it after we asked
        return streamed


@dataclass(frozen=True, eq=False)
class MappedPhotos:
    """Photos copied out of the packed array when they are asked for.

    By a second thread ahead of the training it would not be faster on a CPU: a batch of 64 photos takes 0.3 ms at 224 px, a
    step on it seconds, and all cores have work.
    """

    images: Pixels
    device: torch.device

    def read(self, batches: Sequence[Indices]) -> Iterator[Tensor]:
        """See `PhotoReader.read`."""
        return (torch.from_numpy(self.images[photos]).to(self.device) for photos in batches)


@dataclass(frozen=True, eq=False)
class StreamedPhotos:
    """Photos sent to a GPU while it trains on the batches before them."""

    images: Pixels
    device: torch.device

    def read(self, batches: Sequence[Indices]) -> Iterator[Tensor]:
        """See `PhotoReader.read`."""
        if not batches:
            return
        staging = _Staging(self.images, max(map(len, batches)), self.device)
        for batch, is_copied in ahead(staging.send, batches, NUM_AHEAD):
            stream = torch.cuda.current_stream(self.device)
            stream.wait_event(is_copied)
            batch.record_stream(stream)  # its memory is not given to a later copy before this stream is done with it
            yield batch


@dataclass(frozen=True, eq=False)
class ResidentPhotos:
    """Photos that stay in the device's memory.

    Attributes:
        pixels: uint8 [num_used, size, size, 3].
        row_of: where each photo is in `pixels`, int64 [num_photos]; -1 where it is not.
    """

    pixels: Tensor
    row_of: Indices

    def read(self, batches: Sequence[Indices]) -> Iterator[Tensor]:
        """See `PhotoReader.read`; all positions cross to the device at once."""
        if not batches:
            return
        rows = self.row_of[np.concatenate(batches)]
        assert (rows >= 0).all(), "the reader was opened for other photos"
        ends = np.cumsum([len(photos) for photos in batches]).tolist()
        for of_batch in send(torch.from_numpy(rows), self.pixels.device).tensor_split(ends[:-1]):
            yield self.pixels.index_select(0, of_batch)


def ahead(function: Callable[[Item], Result], items: Iterable[Item], num_ahead: int) -> Iterator[Result]:
    """`map` by one thread that is up to `num_ahead` results ahead of the reader; an error is raised where its result is due."""
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(1) as thread:
        try:
            for item in items:
                waiting.append(thread.submit(function, item))
                if len(waiting) > num_ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:  # the reader stopped early
                future.cancel()


class _Staging:
    """Pinned buffers, used in turn, and the stream on which they are copied to the GPU."""

    def __init__(self, images: Pixels, num_photos: int, device: torch.device) -> None:
        shape = (num_photos, *images.shape[1:])
        self._images = images
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        # A buffer that was not copied yet waits for an event that never was: not at all.
        self._turns = deque(
            (torch.empty(shape, dtype=torch.uint8, pin_memory=True), torch.cuda.Event())  # type: ignore[no-untyped-call]
            for _ in range(NUM_AHEAD + 1)
        )

    def send(self, photos: Indices) -> tuple[Tensor, torch.cuda.Event]:
        """The photos on the device, once the event has happened; to be called by one thread only."""
        buffer, is_copied = self._turns.popleft()
        is_copied.synchronize()  # the copy before it is out of the buffer
        pixels = buffer[: len(photos)]
        # Not "raise": then numpy would gather into memory of its own first.
        np.take(self._images, photos, axis=0, out=pixels.numpy(), mode="clip")
        with torch.cuda.stream(self._stream):
            batch = pixels.to(self._device, non_blocking=True)
            is_copied = self._stream.record_event()
        self._turns.append((buffer, is_copied))
        return batch, is_copied


def _resident(streamed: StreamedPhotos, used: Indices) -> ResidentPhotos:
    images = streamed.images
    pixels = torch.empty((len(used), *images.shape[1:]), dtype=torch.uint8, device=streamed.device)
    row_of = np.full(len(images), -1, dtype=np.int64)
    row_of[used] = np.arange(len(used))
    starts = range(0, len(used), PHOTOS_A_TRANSFER)
    transfers = [used[start : start + PHOTOS_A_TRANSFER] for start in starts]
    for start, photos in zip(starts, streamed.read(transfers), strict=True):
        pixels[start : start + len(photos)] = photos
    return ResidentPhotos(pixels, row_of)
