"""Photos that show the same, found in the packed array: copies that were resized, compressed anew or brightened a little.

Two steps. Perceptual hashes that differ in few bits name the candidates; but photos of different things before one background
have close hashes too, so the candidates' thumbnails decide. Measured with `max_distance` 4, at 224 px unless said otherwise:

- 1,330 photos of clothing: 3 candidates, none confirmed. 408 photos of musical instruments, said to hold no duplicates:
  12 candidates, 7 confirmed, of which all 7 are one photo twice (recoloured, or before another background).
- 600 and 2,000 (64 px) drawings of different instruments: 171 and 2,343 candidates, none confirmed. Small squares say less: of
  10,000 drawings at 32 px, 34 are taken for others' duplicates, in 14 sets.
- Of 100 copies each of clothing, instruments and drawings are found: resized to 1/2 or 3/4: 100, 100, 100; to 1/4: 100, 93, 99;
  JPEG quality 30: 100, 100, 99; quality 15: 100, 99, 98; brightened by 10 %: 99, 100, 96; by 20 %: 82, 90, 64; without
  colour: 100, 100, 100; cropped by 1 % a side: 5, 10, 18. Crops, mirrored and turned copies are other photos here.
"""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from study.data.hash_search import close_pairs
from study.data.packed import replaced, write_atomically
from study.errors import DataError

Indices = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]
Signatures = npt.NDArray[np.void]

# Part of the cached files' names: raise it when the same pixels give another signature, or the same signatures other sets.
FORMAT_VERSION = 1
THUMBNAIL_PX = 32  # the size that imagehash's phash reduces to
SIGNATURE = np.dtype([("content", "<u8"), ("hash", "<u8"), ("thumbnail", "u1", (THUMBNAIL_PX, THUMBNAIL_PX))])
# Of the gradients of two thumbnails. Different instruments drawn alike reach 0.975 (0.959 at 224 px), copies as above 0.99.
MIN_CORRELATION = 0.98
# Pairs compared at once: 2 × 4,096 gradients of 1,984 numbers are 65 MB.
CHUNK_PAIRS = 4096
CHUNK_PHOTOS = 1024


@dataclass(frozen=True)
class DuplicateSet:
    """Two photos or more that show the same.

    Attributes:
        members: positions in the packed array, ascending.
        is_exact: whether their packed pixels are equal.
    """

    members: tuple[int, ...]
    is_exact: bool


def find_duplicates(images: Pixels, file: Path, max_distance: int) -> tuple[DuplicateSet, ...]:
    """Sets of duplicates among packed photos, in the order of their first members; found once and kept beside the array.

    A set holds whatever is tied by pairs: a copy of a copy belongs to it.

    Args:
        images: uint8 [num_photos, size, size, 3].
        file: the packed array's; the signatures (1 KB a photo) and the sets are written beside it.
        max_distance: bits of 64 in which the perceptual hashes of duplicates may differ; 0: only equal hashes.
    Raises:
        DataError: if they cannot be written.
    """
    sets_file = file.with_name(f"{file.stem}.duplicates-{FORMAT_VERSION}-{max_distance}.json")
    try:
        known = _known_sets(sets_file)
        if known is None:
            signatures = _signatures(images, file.with_name(f"{file.stem}.phash-{FORMAT_VERSION}.npy"))
            known = find_sets(signatures, max_distance)
            write_atomically(sets_file, json.dumps([[found.is_exact, *found.members] for found in known]))
    except OSError as error:
        raise DataError(
            f"photos' signatures need {len(images) * SIGNATURE.itemsize / 2**20:.0f} MiB in a writable folder, "
            f"but {file.parent} does not take them: {error.strerror or error}. "
            f"Free space there, or set STUDY_CACHE to another folder."
        ) from error
    return known


def signature_of(image: Pixels) -> tuple[int, int, Pixels]:
    """Hash of the pixels (64 bits of sha256), perceptual hash, and thumbnail of one packed photo.

    0.4 ms a photo of 224 px, most of it for the thumbnail. Two photos in a million have equal content hashes by chance with a
    probability of 3e-8.

    Source: imagehash 4.3 `phash`: the 64 lowest frequencies of the grey thumbnail's cosine transform, against their median.
    """
    import imagehash  # and scipy with it, 0.15 s: not needed where the sets are known

    thumbnail = Image.fromarray(image).convert("L").resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
    bits = imagehash.phash(thumbnail).hash
    content = hashlib.sha256(np.ascontiguousarray(image).data).digest()[:8]
    return int.from_bytes(content), int.from_bytes(np.packbits(bits).tobytes()), np.asarray(thumbnail)


def sign(images: Pixels) -> Signatures:
    """The signatures of packed photos, by threads: Pillow and sha256 release the interpreter's lock."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        bounds = pairwise([*range(0, len(images), CHUNK_PHOTOS), len(images)])
        chunks = [np.array(list(pool.map(signature_of, images[start:end])), dtype=SIGNATURE) for start, end in bounds]
    return np.concatenate(chunks) if chunks else np.empty(0, dtype=SIGNATURE)


def find_sets(signatures: Signatures, max_distance: int) -> tuple[DuplicateSet, ...]:
    """As `find_duplicates`, from the photos' signatures."""
    contents, first_of, content_of = np.unique(signatures["content"], return_index=True, return_inverse=True)
    members: dict[int, list[int]] = defaultdict(list)
    united = _UnitedSets(len(contents))
    for first, second in _alike_pairs(signatures[first_of], max_distance, united):
        united.unite(first, second)
    for position, content in enumerate(content_of.tolist()):
        members[int(united.root_of[content])].append(position)
    sets = [
        DuplicateSet(tuple(found), is_exact=len(set(content_of[found].tolist())) == 1)
        for found in members.values()
        if len(found) > 1
    ]
    return tuple(sorted(sets, key=lambda found: found.members))


class _UnitedSets:
    """Numbers that are sorted into sets, all alone at first.

    Attributes:
        root_of: int64, the same number for all members of a set.
    """

    def __init__(self, size: int) -> None:
        self.root_of = np.arange(size)
        self._members: dict[int, list[int]] = {}

    def unite(self, first: int, second: int) -> None:
        """Makes one set of these two's; the smaller one is renamed, so a number is renamed log2(size) times at most."""
        one, other = (int(self.root_of[number]) for number in (first, second))
        if one == other:
            return
        larger, smaller = sorted((self._of(one), self._of(other)), key=len, reverse=True)
        root = int(self.root_of[larger[0]])
        self._members.pop(int(self.root_of[smaller[0]]), None)
        self.root_of[smaller] = root
        self._members[root] = larger + smaller

    def _of(self, root: int) -> list[int]:
        return self._members.get(root, [root])


def _alike_pairs(signatures: Signatures, max_distance: int, united: _UnitedSets) -> Iterator[tuple[int, int]]:
    """Candidates that the thumbnails confirm; of a set's pairs only as many are looked at as tie it together."""
    for first, second in close_pairs(np.ascontiguousarray(signatures["hash"]), max_distance):
        for start, end in pairwise([*range(0, len(first), CHUNK_PAIRS), len(first)]):
            one, other = first[start:end], second[start:end]
            is_open = united.root_of[one] != united.root_of[other]
            one, other = one[is_open], other[is_open]
            is_alike = correlation(signatures["thumbnail"][one], signatures["thumbnail"][other]) >= MIN_CORRELATION
            yield from zip(one[is_alike].tolist(), other[is_alike].tolist(), strict=True)


def correlation(one: Pixels, other: Pixels) -> npt.NDArray[np.float32]:
    """How alike the edges of thumbnails are, in [-1, 1]; the same for a photo that is brighter or richer in contrast.

    Args:
        one: uint8 [num_pairs, height, width].
        other: their partners, likewise. A thumbnail without any edge is like none: 0.
    """
    product = _product(one, other)
    norm = np.sqrt(_product(one, one) * _product(other, other))
    found: npt.NDArray[np.float32] = np.divide(product, norm, out=np.zeros_like(product), where=norm > 0)
    return found


def _product(one: Pixels, other: Pixels) -> npt.NDArray[np.float32]:
    """Scalar products of the thumbnails' edges, which are the differences between neighbours in rows and in columns."""
    total = np.zeros(len(one), dtype=np.float32)
    for axis in (1, 2):
        edges, others = (np.diff(thumbnails.astype(np.float32), axis=axis) for thumbnails in (one, other))
        total += (edges * others).sum(axis=(1, 2))
    return total


def _signatures(images: Pixels, file: Path) -> Signatures:
    try:
        signatures: Signatures = np.load(file, allow_pickle=False)
        if signatures.dtype == SIGNATURE and len(signatures) == len(images):
            return signatures
    except (OSError, ValueError, EOFError):
        pass  # none yet, or damaged: they are found anew
    signatures = sign(images)
    with replaced(file) as opened:
        np.save(opened, signatures, allow_pickle=False)
    return signatures


def _known_sets(file: Path) -> tuple[DuplicateSet, ...] | None:
    """The sets found before; None if there are none, or they are damaged."""
    try:
        stored: list[list[Any]] = json.loads(file.read_text(encoding="utf-8"))
        return tuple(DuplicateSet(tuple(members), bool(is_exact)) for is_exact, *members in stored)
    except (OSError, ValueError, TypeError):
        return None
