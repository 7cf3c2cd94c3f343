"""Peer of packing: the plain loop that everybody writes first, by a pool of processes."""

import multiprocessing
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]


def square_of(photo: Path, size_px: int) -> Pixels:
    """Open, convert, resize, pad: the same square and the same filter as ours, uint8 [size_px, size_px, 3]."""
    image = Image.open(photo).convert("RGB")
    scale = size_px / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    square = Image.new("RGB", (size_px, size_px), (124, 116, 104))
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    square.paste(resized, ((size_px - width) // 2, (size_px - height) // 2))
    return np.asarray(square)


def pack_by_returning(photos: Sequence[Path], size_px: int, num_processes: int) -> Pixels:
    """Each process hands its squares back, and they are put into one array."""
    images = np.empty((len(photos), size_px, size_px, 3), dtype=np.uint8)
    with multiprocessing.get_context("fork").Pool(num_processes) as pool:
        for place, square in enumerate(pool.imap(partial(square_of, size_px=size_px), photos, chunksize=16)):
            images[place] = square
    return images


def pack_in_place(photos: Sequence[Path], size_px: int, num_processes: int, file: Path) -> Pixels:
    """The same loop by somebody who knows that pixels in pipes cost: each process writes into one mapped file."""
    shape = (len(photos), size_px, size_px, 3)
    images = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape)
    with multiprocessing.get_context("fork").Pool(num_processes) as pool:
        write = partial(_write_square, file=file, size_px=size_px)
        for _ in pool.imap_unordered(write, enumerate(photos), chunksize=16):
            pass
    return images


def _write_square(numbered: tuple[int, Path], file: Path, size_px: int) -> None:
    place, photo = numbered
    images = np.load(file, mmap_mode="r+")
    images[place] = square_of(photo, size_px)
