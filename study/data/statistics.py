"""Mean and spread of each colour channel, and of luma, exact, for normalisation by the training split's own values."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from PIL import Image

Triple = tuple[float, float, float]
Moments = tuple[float, float]
Indices = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int64]

# Photos whose pixel counts are added to the parts' at once: 64 × 3 × 256 counts are 400 KB.
CHUNK_PHOTOS = 64


@dataclass(frozen=True)
class ChannelStatistics:
    """Mean and standard deviation of red, green and blue, pixels scaled to [0, 1]; padding counts, as models see it.

    Attributes:
        luma: mean and standard deviation of the same photos without colour; None where they were not counted.
    """

    mean: Triple
    std: Triple
    luma: Moments | None = None

    def without_colour(self) -> "ChannelStatistics":
        """Those of the photos with luma in all three channels."""
        assert self.luma is not None, "prepared data have it"
        mean, std = self.luma
        return ChannelStatistics((mean,) * 3, (std,) * 3, self.luma)


def channel_statistics(images: npt.NDArray[np.uint8], indices: Indices) -> ChannelStatistics:
    """Statistics over every pixel of the images at `indices`; see `statistics_of_parts`."""
    return statistics_of_parts(images, [indices])[0]


def statistics_of_parts(images: npt.NDArray[np.uint8], parts: Sequence[Indices]) -> tuple[ChannelStatistics, ...]:
    """Statistics of each part, in one pass that reads every image once, however many parts it is in.

    A pixel has only 256 values: counting them makes both moments exact, whatever the order and number of images.

    Args:
        images: uint8 [num_photos, size, size, 3].
        parts: which photos count: int64 [any number but 0] for each part; parts may overlap.
    Raises:
        ValueError: if a part is empty.
    """
    if any(len(indices) == 0 for indices in parts):
        raise ValueError("channel statistics need at least one image, but `indices` is empty")
    is_member = np.zeros((len(parts), len(images)), dtype=np.int64)
    for part, indices in enumerate(parts):
        is_member[part, indices] = 1
    used = np.flatnonzero(is_member.any(axis=0))
    counts = np.zeros((len(parts), 4 * 256), dtype=np.int64)
    for start, end in pairwise([*range(0, len(used), CHUNK_PHOTOS), len(used)]):
        chunk = used[start:end]
        counts += is_member[:, chunk] @ np.stack([_pixel_counts(images[index]) for index in chunk])
    return tuple(_statistics(part.reshape(4, 256)) for part in counts)


def _pixel_counts(image: npt.NDArray[np.uint8]) -> Counts:
    """How often each value occurs in red, then green, then blue, then luma: int64 [1024].

    By Pillow: 0.10 ms for 224 px, and 0.08 for luma, where `numpy.bincount` of each channel takes 0.27 ms, since it counts in
    int64. Its luma is that of study/models/colour_modes.py, byte for byte.
    """
    photo = Image.fromarray(image)
    return np.array(photo.histogram() + photo.convert("L").histogram(), dtype=np.int64)


def _statistics(counts: Counts) -> ChannelStatistics:
    (red, red_std), (green, green_std), (blue, blue_std), luma = map(_moments, counts)
    return ChannelStatistics(mean=(red, green, blue), std=(red_std, green_std, blue_std), luma=luma)


def _moments(counts: Counts) -> Moments:
    """Mean and standard deviation in [0, 1] of pixels counted by value; whole numbers, so nothing is lost before the end."""
    numbers = [int(count) for count in counts]
    total = sum(numbers)
    first = sum(count * value for value, count in enumerate(numbers))
    second = sum(count * value * value for value, count in enumerate(numbers))
    variance = (total * second - first * first) / (total * total)
    return first / total / 255, variance**0.5 / 255
