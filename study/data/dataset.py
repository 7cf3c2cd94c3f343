"""From a source to a study's prepared data: packed, deduplicated, split, with its report."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from study.data.duplicates import find_duplicates
from study.data.packed import PackedImages, pack_images
from study.data.records import Records
from study.data.selection import Selection, check_before_packing, check_readable, report_on, select_photos
from study.data.sources import open_source
from study.data.statistics import statistics_of_parts
from study.data.stored_data import NO_LABEL, DataFile, PhotoTable, codes_of, is_written, write_data
from study.data.study_data import StudyData, open_data
from study.data.text_array import encode
from study.definition import StudyDefinition


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
    example_views = tuple(sorted(set(source.records.views))) if data.views == "pair" else ()
    digest = _digest_of(packed, table, selection, example_views, is_log=data.log_target)
    folder = cache_folder / "data" / digest
    if not is_written(folder):
        file = _data_file(packed, selection, digest, example_views, is_log=data.log_target)
        write_data(folder, file, table, selection.splits)
    # Never from the cache: the same photos may be left of another list.
    return open_data(folder, report_on(source.records, packed, selection, data, digest))


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


def _digest_of(
    packed: PackedImages, table: PhotoTable, selection: Selection, example_views: tuple[str, ...], *, is_log: bool
) -> str:
    # Only where there are any: without them, the digest is what it was before examples had views, and logarithms a mark.
    names = [
        packed.digest,
        selection.records.classes,
        *([example_views] if example_views else []),
        *(["log"] if is_log else []),
    ]
    hasher = hashlib.sha256(json.dumps(names).encode())
    codes = codes_of(selection.splits, len(table.labels))
    hasher.update(json.dumps(codes.shape).encode())
    values = () if table.values is None else (table.values.astype("<f4"),)
    for array in (table.labels.astype("<i8"), codes, table.rows.astype("<i8"), *encode(table.views.tolist()), *values):
        hasher.update(np.ascontiguousarray(array).data)
    return hasher.hexdigest()[:32]


def _data_file(
    packed: PackedImages, selection: Selection, digest: str, example_views: tuple[str, ...], *, is_log: bool
) -> DataFile:
    statistics = statistics_of_parts(packed.images, [splits.train for splits in selection.splits])
    return DataFile(
        digest=digest,
        image_size=int(packed.images.shape[1]),
        num_photos=len(packed.images),
        images=f"../../images/{packed.path.name}",  # relative: the cache may be moved, or mounted elsewhere on a worker
        classes=selection.records.classes,
        example_views=example_views,
        is_log=is_log,
        means=tuple(part.mean for part in statistics),
        stds=tuple(part.std for part in statistics),
        lumas=tuple(part.luma for part in statistics if part.luma is not None),
    )
