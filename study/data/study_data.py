"""A study's data as training opens them: mapped from the cache, without what it takes to prepare them.

Apart from study/data/dataset.py so that a machine that only trains needs neither pyarrow, nor imagehash, nor the gazetteer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from study.data.folds import Fold
from study.data.packed import open_images
from study.data.report import DataReport
from study.data.splits import Splits
from study.data.statistics import ChannelStatistics
from study.data.stored_data import read_arrays, read_file


@dataclass(frozen=True, eq=False)
class StudyData:
    """Photos, labels and splits of one study. Hand `folder` to other processes, not the object: they map the same memory.

    Positions count the packed photos. Some of them may be in no split: photos of a class that was too small, and training
    copies of photos that are held out.

    Attributes:
        folder: where `open_data` finds it.
        images: uint8 [num_photos, image_size, image_size, 3], a read-only memory map.
        labels: int64 [num_photos], positions in `classes`; -1 for photos in no split, and where the target is a number.
        classes: names, sorted; none where the target is a number.
        photos: ids, for messages and figures.
        views: which side of the thing is seen, str [num_photos]; "" where the source does not say.
        rows: int64 [num_photos]; photos of one row show one thing.
        folds: one, or as many as the definition asks for; they share one test split.
        report: what became of every photo that the source names. Of the source, not of the digest, so only `prepare_data` knows
            it: nothing is in it where the data were opened from the cache.
        digest: of photos, labels, preprocessing and splits: equal digests mean equal data.
        values: float32 [num_photos], the target where it is a number, else None; NaN for photos in no split.
        fold: which of the folds `splits` and `statistics` speak of.
        example_views: the views whose photos make up one example together, sorted; () where every photo is an example.
        is_log: `values` are natural logarithms of the target.
    """

    folder: Path
    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    photos: Sequence[str]
    views: npt.NDArray[np.str_]
    rows: npt.NDArray[np.int64]
    folds: tuple[Fold, ...]
    report: DataReport
    digest: str
    values: npt.NDArray[np.float32] | None = None
    fold: int = 0
    example_views: tuple[str, ...] = ()
    is_log: bool = False

    @property
    def splits(self) -> Splits:
        """Positions in `images`."""
        return self.folds[self.fold].splits

    @property
    def statistics(self) -> ChannelStatistics:
        """Of the training split only."""
        return self.folds[self.fold].statistics

    @property
    def num_classes(self) -> int:
        """How many classes there are to tell apart."""
        return len(self.classes)

    @property
    def num_outputs(self) -> int:
        """What a model gives for an example: a score for each class, or one number."""
        return len(self.classes) if self.values is None else 1

    @property
    def num_views(self) -> int:
        """Photos of one example."""
        return max(len(self.example_views), 1)

    @property
    def image_size(self) -> int:
        """Side of the square images in pixels."""
        return int(self.images.shape[1])

    def with_fold(self, index: int) -> "StudyData":
        """The same data, of which `splits` and `statistics` are those of another fold.

        Raises:
            ValueError: if there is no such fold.
        """
        if not 0 <= index < len(self.folds):
            raise ValueError(f"a fold must be in [0, {len(self.folds) - 1}], but is {index}")
        return replace(self, fold=index)


def open_data(folder: Path, report: DataReport | None = None) -> StudyData:
    """The data that `prepare_data` left in `folder`, memory-mapped.

    Args:
        report: on the source that they were prepared from just now.
    Raises:
        DataError: if it is missing, damaged or incomplete.
    """
    file = read_file(folder)
    table, folds = read_arrays(folder, file)
    return StudyData(
        folder=folder,
        images=open_images((folder / file.images).resolve(), file.num_photos, file.image_size),
        labels=table.labels,
        classes=file.classes,
        photos=table.photos,
        views=table.views,
        rows=table.rows,
        folds=folds,
        report=report or DataReport(),
        digest=file.digest,
        values=table.values,
        example_views=file.example_views,
        is_log=file.is_log,
    )


def summarize(data: StudyData) -> dict[str, Any]:
    """The data in numbers, for printing: photos by class and split, size in memory, digest."""
    return {
        "num_photos": sum(len(indices) for _, indices in data.splits.items()),
        "num_classes": data.num_classes,
        "image_size": data.image_size,
        "memory_mib": round(data.images.nbytes / 2**20, 1),
        "splits": {name: len(indices) for name, indices in data.splits.items()},
        "classes": count_by_class(data),
        "digest": data.digest,
    }


def count_by_class(data: StudyData) -> dict[str, dict[str, int]]:
    """How many photos of each class each split has; empty where the target is a number."""
    if not data.classes:
        return {}
    counts = {name: np.bincount(data.labels[indices], minlength=data.num_classes) for name, indices in data.splits.items()}
    return {label: {name: int(counts[name][place]) for name in counts} for place, label in enumerate(data.classes)}
