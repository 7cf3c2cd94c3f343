"""Everything that a training needs of the data, in one object that every process of a node opens by its folder."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from study.data.duplicates import find_duplicates
from study.data.folds import Fold
from study.data.packed import PackedImages, open_images, pack_images
from study.data.records import Records
from study.data.report import DataReport
from study.data.selection import Selection, check_before_packing, check_readable, report_on, select_photos
from study.data.sources import open_source
from study.data.splits import Splits
from study.data.statistics import ChannelStatistics, statistics_of_parts
from study.data.stored_data import DATA_FILE, NO_LABEL, DataFile, PhotoTable, codes_of, read_arrays, read_file, write_data
from study.data.text_array import encode
from study.definition import StudyDefinition


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
        report: what became of every photo that the source names.
        digest: of photos, labels, preprocessing and splits: equal digests mean equal data.
        values: float32 [num_photos], the target where it is a number, else None; NaN for photos in no split.
        fold: which of the folds `splits` and `statistics` speak of.
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


def prepare_data(
    definition: StudyDefinition,
    cache_folder: Path,
    on_progress: Callable[[int, int], None] | None = None,
    *,
    full_check: bool = False,
) -> StudyData:
    """The study's data, packed into `cache_folder` the first time; later no photo is read.

    Args:
        on_progress: called with the photos decoded and their total, after each batch.
        full_check: reads every photo again, where else its size and times tell whether it changed.
    Raises:
        DataError: for photos, labels or a split that break a rule, or a cache folder that cannot be written.
    """
    cache_folder = cache_folder.absolute()  # a worker that opens the data stands in another folder
    data = definition.data
    source = open_source(definition, cache_folder)
    check_before_packing(source.records, data)  # a bad split is told in a second
    packed = pack_images(source, data.image_size, cache_folder, on_progress, full_check=full_check)
    check_readable(packed, source.records, data)
    sets = find_duplicates(packed.images, packed.path, data.duplicates.max_distance)
    selection = select_photos(source.records, packed, sets, data)
    table = _photo_table(source.records.keep(packed.kept.tolist()), selection)
    digest = _digest_of(packed, table, selection)
    folder = cache_folder / "data" / digest
    if not (folder / DATA_FILE).exists():
        report = report_on(source.records, packed, selection, data, digest)
        write_data(folder, _data_file(packed, selection, report), table, selection.splits)
    return open_data(folder)


def open_data(folder: Path) -> StudyData:
    """The data that `prepare_data` left in `folder`, memory-mapped.

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
        report=file.report,
        digest=file.digest,
        values=table.values,
    )


def summarize(data: StudyData) -> dict[str, Any]:
    """The data in numbers, for printing: photos by class and split, size in memory, digest."""
    return {
        "num_photos": data.report.num_kept,
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


def _photo_table(packed: Records, selection: Selection) -> PhotoTable:
    used, records = selection.positions, selection.records
    labels = np.full(len(packed.photos), NO_LABEL, dtype=np.int64)
    position_of = {label: position for position, label in enumerate(records.classes)}
    values = None
    if records.values is None:
        labels[used] = [position_of[label] for label in records.labels]
    else:
        values = np.full(len(packed.photos), np.nan, dtype=np.float32)
        values[used] = records.values
    return PhotoTable(
        photos=packed.photos,
        labels=labels,
        values=values,
        views=np.array(packed.views, dtype=np.str_),
        rows=np.array(packed.rows, dtype=np.int64),
    )


def _digest_of(packed: PackedImages, table: PhotoTable, selection: Selection) -> str:
    hasher = hashlib.sha256(json.dumps([packed.digest, selection.records.classes]).encode())
    codes = codes_of(selection.splits, len(table.labels))
    hasher.update(json.dumps(codes.shape).encode())
    values = () if table.values is None else (table.values.astype("<f4"),)
    for array in (table.labels.astype("<i8"), codes, table.rows.astype("<i8"), *encode(table.views.tolist()), *values):
        hasher.update(np.ascontiguousarray(array).data)
    return hasher.hexdigest()[:32]


def _data_file(packed: PackedImages, selection: Selection, report: DataReport) -> DataFile:
    statistics = statistics_of_parts(packed.images, [splits.train for splits in selection.splits])
    return DataFile(
        digest=report.digest,
        image_size=report.image_size,
        num_photos=len(packed.images),
        images=f"../../images/{packed.path.name}",  # relative: the cache may be moved, or mounted elsewhere on a worker
        classes=selection.records.classes,
        means=tuple(part.mean for part in statistics),
        stds=tuple(part.std for part in statistics),
        report=report,
    )
