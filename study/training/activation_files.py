"""Activations on disk: a .npy array that numpy opens as it is, then what the array does not say, then a checksum of it all.

One file, so that it appears, is evicted and is checked as a whole. No fsync: what a power cut leaves fails the check.
"""

import io
import math
import mmap
import struct
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ValidationError
from torch import Tensor

from study.trial import Plain

DType = Literal["float32", "float16", "bfloat16"]

# Largest finite float16. Source: IEEE 754-2019, binary16.
LARGEST_FLOAT16 = 65504.0
# The file's last bytes: length of the description, and CRC-32 of everything before it.
LENGTH = struct.Struct("<I")
CHECKSUM = struct.Struct("<I")
# Small enough that the checksum finds what was read in the processor's cache.
READ_BYTES = 2**20
# A private mapping that may be written to counts as memory in full, so that Linux refuses one larger than the machine's. Pages
# that are only read take none: do not count them. Python's mmap has no name for it. Source: Linux, asm-generic/mman.h.
NO_RESERVE = 0x4000 if sys.platform == "linux" else 0


class TooLargeForFloat16Error(ArithmeticError):
    """An activation that float16 would turn into infinity."""


class Description(Plain):
    """What an array of activations does not say of itself.

    Attributes:
        computed: dtype that the frozen stages gave; training gets the activations back in it.
        is_channels_last: maps [channels, height, width] are stored as [height, width, channels], the order in memory that
            convolutions left them in and read them in fastest.
    """

    computed: DType
    is_channels_last: bool


@dataclass(frozen=True, eq=False)
class StoredActivations:
    """Activations as they are kept.

    Attributes:
        rows: float32 or float16 [num_photos, num_variants, …]; the second variant is of the mirrored photo.
    """

    rows: Tensor
    description: Description

    @property
    def num_bytes(self) -> int:
        """Size in bytes."""
        return self.rows.nbytes

    def to(self, device: torch.device) -> "StoredActivations":
        """The same on `device`."""
        return StoredActivations(self.rows.to(device), self.description)


Batches = Iterable[tuple[Description, Tensor]]


def packed_batches(batches: Iterable[Sequence[Tensor]], dtype: torch.dtype) -> Iterator[tuple[Description, Tensor]]:
    """Each batch as it is stored, on the CPU, with the description that holds for all of them.

    Args:
        batches: the frozen stages' output [n, …] for the photos, and for the mirrored photos where these are kept.
        dtype: float32 or float16.
    Raises:
        TooLargeForFloat16Error: if float16 would turn an activation into infinity.
    """
    description: Description | None = None
    for variants in batches:
        description = description or _describe(variants[0])
        if dtype == torch.float16:
            _check_float16(variants)
        stored = [one.permute(0, 2, 3, 1) if description.is_channels_last else one for one in variants]
        yield description, torch.stack([one.to(dtype) for one in stored], dim=1).cpu()


def write_activations(file: Path, batches: Batches, num_photos: int) -> int:
    """Writes what `packed_batches` gave to `file`, which need not be new; returns the number of bytes.

    By write() and not through a memory map: on a full disk that is an error, and not a SIGBUS that kills the process.

    Raises:
        OSError: if the disk is full.
    """
    first, batches = _peek(batches)
    description, rows = first
    header = _header((num_photos, *rows.shape[1:]), rows.numpy().dtype)
    text = description.model_dump_json().encode()
    blocks: Iterable[bytes] = chain([header], (batch.numpy().tobytes() for _, batch in batches), [text, LENGTH.pack(len(text))])
    checksum = 0
    with file.open("r+b" if file.exists() else "wb") as stream:
        for block in blocks:
            checksum = zlib.crc32(block, checksum)
            stream.write(block)
        stream.write(CHECKSUM.pack(checksum))
        stream.truncate()
        return stream.tell()


def collect_activations(batches: Batches, num_photos: int) -> StoredActivations:
    """What `packed_batches` gave, in memory."""
    (description, first), batches = _peek(batches)
    rows = first.new_empty((num_photos, *first.shape[1:]))
    start = 0
    for _, batch in batches:
        rows[start : start + len(batch)] = batch
        start += len(batch)
    return StoredActivations(rows, description)


def is_intact(file: Path) -> bool:
    """Whether the file holds every byte that was written; reads all of it.

    CRC-32, since it is the standard library's fastest: 7.5 GB/s on an idle core of a 2024 EPYC, where BLAKE2b reaches
    1.5. With the reading, 1 GB took 0.25 s from the page cache while that core had other work too, and 0.5 to 1.0 s from
    the disk. It finds every change of up to 32 bits in a row, and of others all but one in 4 billion.
    """
    buffer = bytearray(READ_BYTES)
    view = memoryview(buffer)
    try:
        with file.open("rb", buffering=0) as stream:
            remaining = file.stat().st_size - CHECKSUM.size
            checksum = 0
            while remaining > 0 and (num_read := stream.readinto(view[: min(remaining, READ_BYTES)])):
                checksum = zlib.crc32(view[:num_read], checksum)
                remaining -= num_read
            (expected,) = CHECKSUM.unpack(stream.read(CHECKSUM.size))
    except (OSError, struct.error):
        return False
    return bool(remaining == 0 and checksum == expected)


def map_activations(file: Path) -> StoredActivations | None:
    """The activations of an intact file, memory-mapped; None if it is not there, or no such file."""
    try:
        with file.open("rb") as stream:
            end = stream.seek(-CHECKSUM.size - LENGTH.size, io.SEEK_END)
            (length,) = LENGTH.unpack(stream.read(LENGTH.size))
            stream.seek(end - length)
            description = Description.model_validate_json(stream.read(length))
            rows = torch.from_numpy(_map_array(stream))
    except (OSError, ValueError, struct.error, ValidationError):
        return None
    return StoredActivations(rows, description)


def _peek(batches: Batches) -> tuple[tuple[Description, Tensor], Batches]:
    """The first batch, and all of them."""
    remaining = iter(batches)
    first = next(remaining)
    return first, chain([first], remaining)


def _describe(activations: Tensor) -> Description:
    is_channels_last = (
        activations.dim() == 4
        and activations.is_contiguous(memory_format=torch.channels_last)
        and not activations.is_contiguous()
    )
    names: dict[torch.dtype, DType] = {
        torch.float32: "float32",
        torch.float16: "float16",
        torch.bfloat16: "bfloat16",
    }
    return Description(computed=names[activations.dtype], is_channels_last=is_channels_last)


def _check_float16(variants: Sequence[Tensor]) -> None:
    largest = max(one.abs().amax().item() for one in variants)
    if not largest <= LARGEST_FLOAT16:
        raise TooLargeForFloat16Error(f"an activation of {largest:g} is too large for float16")


def _map_array(stream: BinaryIO) -> npt.NDArray[np.generic]:
    """The .npy array at the file's beginning. Copy-on-write: nothing is ever written, but torch warns of read-only arrays."""
    stream.seek(0)
    np.lib.format.read_magic(stream)
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    mapped = mmap.mmap(stream.fileno(), 0, flags=mmap.MAP_PRIVATE | NO_RESERVE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    return np.frombuffer(mapped, dtype, count=math.prod(shape), offset=stream.tell()).reshape(shape)


def _header(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> bytes:
    header = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, described)
    return header.getvalue()
