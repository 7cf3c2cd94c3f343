"""What a cell of photos may hold: an image file's bytes, or numbers that are pixels."""

import hashlib
from typing import Any

import numpy as np


def photo_of(value: Any) -> bytes | np.ndarray:
    """The image file's bytes, or pixels; pixels are uint8 where all are whole numbers from 0 to 255.

    Args:
        value: bytes, the {bytes, path} of Hugging Face's data sets, or nested lists of numbers.
    Raises:
        ValueError: saying in a few words what was found instead.
    """
    if isinstance(value, dict):
        value = value.get("bytes")
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


def digest_of_photo(photo: bytes | np.ndarray) -> str:
    """Hash of the bytes, or of shape and pixels."""
    if isinstance(photo, bytes):
        return hashlib.sha256(photo).hexdigest()
    return hashlib.sha256(f"{photo.shape}".encode() + photo.tobytes()).hexdigest()
