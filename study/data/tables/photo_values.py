"""What a cell of photos may hold: an image file's bytes, or numbers that are pixels."""

import hashlib
from typing import Any

import numpy as np

from study.data.images import UnreadablePhotoError


def photo_of(value: Any) -> bytes | np.ndarray:
    """The image file's bytes, or pixels; pixels are uint8 where all are whole numbers from 0 to 255.

    Args:
        value: bytes, the {bytes, path} of Hugging Face's data sets, or nested lists of numbers.
    Raises:
        ValueError: saying in a few words what was found instead.
    """
    if isinstance(value, dict):
        if value.get("bytes") is None:
            raise ValueError(f"no bytes, only the path {value['path']!r}" if value.get("path") else "no bytes")
        value = value["bytes"]
    if isinstance(value, bytes):
        return value
    try:
        pixels = np.array(value)
    except ValueError as error:
        raise ValueError("lists of unequal lengths") from error
    if pixels.dtype.kind not in "iu":
        raise ValueError(f"{type(value).__name__} of {pixels.dtype}")
    if pixels.size and pixels.min() >= 0 and pixels.max() <= 255:
        return pixels.astype(np.uint8)
    raise ValueError(f"numbers from {pixels.min()} to {pixels.max()}" if pixels.size else "nothing")


def no_photo_in_cell(place: str, found: str) -> UnreadablePhotoError:
    """The error of one cell, which costs this photo and no other; what was found is in brackets, so that reports can count."""
    return UnreadablePhotoError(place, f"its cell holds no photo ({found})")


def digest_of_photo(photo: bytes | np.ndarray) -> str:
    """Hash of the bytes, or of shape and pixels."""
    if isinstance(photo, bytes):
        return hashlib.sha256(photo).hexdigest()
    return hashlib.sha256(f"{photo.shape}".encode() + photo.tobytes()).hexdigest()
