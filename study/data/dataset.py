"""Everything that a training needs of the data, in one object that every process of a node opens by its folder."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from study.data.packed import PackedImages, open_images, pack_images, write_atomically
from study.data.sources import Records, open_source
from study.data.splits import Splits, split_records
from study.data.statistics import ChannelStatistics, Triple, channel_statistics
from study.definition import StudyDefinition
from study.errors import DataError
from study.trial import Plain

DATA_FILE = "data.json"
Positions = tuple[Annotated[int, Field(ge=0)], ...]


@dataclass(frozen=True, eq=False)
class StudyData:
    """Photos, labels and split of one study. Hand `folder` to other processes, not the object: they map the same memory.

    Attributes:
        folder: where `open_data` finds it.
        images: uint8 [num_photos, image_size, image_size, 3], a read-only memory map.
        labels: int64 [num_photos], positions in `classes`.
        classes: names, sorted.
        photos: ids, for messages and figures.
        splits: positions in `images`.
        statistics: of the training split only.
        digest: of photos, labels, preprocessing and split: equal digests mean equal data.
    """

    folder: Path
    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    photos: tuple[str, ...]
    splits: Splits
    statistics: ChannelStatistics
    digest: str

    @property
    def num_classes(self) -> int:
        """How many classes there are to tell apart."""
        return len(self.classes)

    @property
    def image_size(self) -> int:
        """Side of the square images in pixels."""
        return int(self.images.shape[1])


class _DataFile(Plain):
    """What `data.json` holds."""

    format_version: Literal[1] = 1
    digest: str
    image_size: int
    images: str = Field(description="path of the packed array, relative to this file's folder")
    classes: tuple[str, ...]
    photos: tuple[str, ...]
    labels: Positions
    train: Positions
    val: Positions
    test: Positions
    mean: Triple
    std: Triple


def prepare_data(
    definition: StudyDefinition, cache_folder: Path, on_progress: Callable[[int, int], None] | None = None
) -> StudyData:
    """The study's data, packed into `cache_folder` the first time; later no photo is read.

    Args:
        on_progress: called with the photos decoded and their total, after each.
    Raises:
        DataError: for photos, labels or a split that break a rule, or a cache folder that cannot be written.
    """
    cache_folder = cache_folder.absolute()  # a worker that opens the data stands in another folder
    source = open_source(definition)
    splits = split_records(source.records, definition.data.split)  # before packing: a bad split is told in a second
    packed = pack_images(source, definition.data.image_size, cache_folder, on_progress)
    labels = _positions(source.records)
    digest = _digest_of(packed, labels, source.records.classes, splits)
    folder = cache_folder / "data" / digest
    if not (folder / DATA_FILE).exists():
        _write(folder, packed, source.records, labels, splits, digest)
    return open_data(folder)


def open_data(folder: Path) -> StudyData:
    """The data that `prepare_data` left in `folder`, memory-mapped.

    Raises:
        DataError: if it is missing, damaged or incomplete.
    """
    file = folder / DATA_FILE
    try:
        stored = _DataFile.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"{error.error_count()} values are missing or wrong"
        raise DataError(
            f"prepared data needs a complete {DATA_FILE}, but {file} is not: {reason}. "
            f"Delete {folder} and run the study again: it is remade."
        ) from error
    return StudyData(
        folder=folder,
        images=open_images((folder / stored.images).resolve(), len(stored.photos), stored.image_size),
        labels=np.array(stored.labels, dtype=np.int64),
        classes=stored.classes,
        photos=stored.photos,
        splits=Splits(*(np.array(part, dtype=np.int64) for part in (stored.train, stored.val, stored.test))),
        statistics=ChannelStatistics(stored.mean, stored.std),
        digest=stored.digest,
    )


def summarize(data: StudyData) -> dict[str, Any]:
    """The data in numbers, for printing: photos by class and split, size in memory, digest."""
    counts = {name: Counter(data.labels[indices].tolist()) for name, indices in data.splits.items()}
    return {
        "num_photos": len(data.photos),
        "num_classes": data.num_classes,
        "image_size": data.image_size,
        "memory_mib": round(data.images.nbytes / 2**20, 1),
        "splits": {name: len(indices) for name, indices in data.splits.items()},
        "classes": {label: {name: counts[name][position] for name in counts} for position, label in enumerate(data.classes)},
        "digest": data.digest,
    }


def _positions(records: Records) -> npt.NDArray[np.int64]:
    position_of = {label: position for position, label in enumerate(records.classes)}
    return np.array([position_of[label] for label in records.labels], dtype=np.int64)


def _digest_of(packed: PackedImages, labels: npt.NDArray[np.int64], classes: tuple[str, ...], splits: Splits) -> str:
    hasher = hashlib.sha256(json.dumps([packed.digest, classes]).encode())
    for positions in (labels, splits.train, splits.val, splits.test):
        hasher.update(np.int64(len(positions)).tobytes() + positions.astype("<i8").tobytes())
    return hasher.hexdigest()[:32]


def _write(
    folder: Path,
    packed: PackedImages,
    records: Records,
    labels: npt.NDArray[np.int64],
    splits: Splits,
    digest: str,
) -> None:
    statistics = channel_statistics(packed.images, splits.train)
    stored = _DataFile(
        digest=digest,
        image_size=int(packed.images.shape[1]),
        images=f"../../images/{packed.path.name}",  # relative: the cache may be moved, or mounted elsewhere on a worker
        classes=records.classes,
        photos=records.photos,
        labels=tuple(labels.tolist()),
        train=tuple(splits.train.tolist()),
        val=tuple(splits.val.tolist()),
        test=tuple(splits.test.tolist()),
        mean=statistics.mean,
        std=statistics.std,
    )
    write_atomically(folder / DATA_FILE, stored.model_dump_json())
