"""Photos that a table names, or holds: one or more a row, with a target, a group, and whatever else is known."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from study.data.photo_files import PhotoFiles
from study.data.records import Records, SplitName
from study.data.tables.cells import (
    PhotoCell,
    joined_groups,
    photo_cells,
    with_companions,
    with_targets,
    without_repetitions,
)
from study.data.tables.embedded_photos import EmbeddedPhotos
from study.data.tables.file import Table, read_table
from study.data.tables.targets import Locate, RowPlace, Target, class_targets, country_targets, number_targets
from study.data.tables.written_photos import WrittenPhotos
from study.data.views import drop_incomplete_rows, view_names
from study.data_definition import DataDefinition
from study.errors import DataError


class TableSource:
    """The photos of a table's rows. Every cell of a photo column is either a photo of `records` or one of its `dropped`.

    A photo's id is its path below the table's folder, or "row 12, image" for one that lies in its cell. A group is what the
    group column says, or else the row: front and back of an instrument stay together. Rows with the same photo share a group.

    Args:
        table: a .csv, .tsv or .parquet file. Paths in it are relative to its folder, and may not lead out of it.
        definition: the columns, and what is asked of them.
        cache_folder: where answers of the online geocoder are kept.
        locate: finds the countries of places; default: `study.data.locations.locate`.

    Attributes:
        records: what is known of each photo.
        places: the texts that were looked up for `target = "country"`, and what was found.

    Raises:
        DataError: if the table breaks a rule, lacks a column, or leaves no photo or one class only.
    """

    def __init__(self, table: Path, definition: DataDefinition, cache_folder: Path, locate: Locate | None = None) -> None:
        assert definition.images is not None
        self.path = table
        self._photo_columns = (*definition.images, *(definition.also_needs or ()))
        companions = definition.also_needs or ()
        self._table = read_table(table, (*definition.images, *companions))
        self._files = PhotoFiles(table.parent)
        self._embedded = WrittenPhotos(table, self._table.written) if self._table.written else EmbeddedPhotos(table)
        views = view_names(definition.images)
        targets, self.places = _targets_of(self._table, definition, cache_folder, locate)
        complete = with_companions(
            photo_cells(self._table, definition.images, views), photo_cells(self._table, companions, companions)
        )
        cells = without_repetitions(with_targets(complete, targets))
        groups = joined_groups(cells, _groups_of(self._table, definition))
        self._cell_of = {cell.photo: (cell.column, cell.row) for cell in cells if cell.column in self._table.embedded}
        self.records = _records_of(cells, groups, self._origin(), is_number=definition.task == "number")
        if definition.views == "pair":
            self.records = drop_incomplete_rows(self.records, views)
        _check_something_is_left(self.records)

    def fingerprint(self) -> str:
        """Hash of the photos' ids, and of the size and times of change of the table and of every photo file.

        Raises:
            DataError: if a photo is gone.
        """
        files = [photo for photo in self.records.photos if photo not in self._cell_of]
        cells = [photo for photo in self.records.photos if photo in self._cell_of]
        parts = [self._files.fingerprint([self.path.name, *files]), *cells]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def read(self, photo: str) -> bytes | np.ndarray:
        """The file's bytes, or what the cell holds: an image file's bytes, or pixels.

        Raises:
            UnreadablePhotoError: if the cell holds no photo.
            DataError: if the file cannot be read.
        """
        if photo in self._cell_of:
            return self._embedded.read(*self._cell_of[photo])
        return self._files.read(photo)

    def digest_of(self, photo: str) -> str:
        """sha256 of the file's bytes, or of what the cell holds."""
        if photo in self._cell_of:
            return self._embedded.digest_of(*self._cell_of[photo])
        return self._files.digest_of(photo)

    def metadata(self, row: int) -> dict[str, str]:
        """What the table says of a row (one of `records.rows`), beside its photos; "" where a cell is missing."""
        return {name: cells[row] for name, cells in self._table.columns.items() if name not in self._photo_columns}

    def _origin(self) -> str:
        return f"{self.path} ({self._table.note})" if self._table.note else str(self.path)


def _targets_of(
    table: Table, definition: DataDefinition, cache_folder: Path, locate: Locate | None
) -> tuple[list[Target] | None, tuple[RowPlace, ...]]:
    """The target of each row (None: the view is the target), and the places looked up for it."""
    target = definition.target
    assert target is not None
    if definition.places is not None:
        return country_targets(table, definition.places, cache_folder, locate)
    if definition.is_view_the_target:
        if "view" in table.columns:
            raise DataError(
                f'target = "view" means which of the `images` a photo is from, but {table.path} has a column of that name. '
                f"Rename it."
            )
        return None, ()
    cells = table.column(target, "target")
    if definition.task == "number":
        return number_targets(cells, target, definition.log_target), ()
    return class_targets(cells, target), ()


def _groups_of(table: Table, definition: DataDefinition) -> list[str]:
    """The group of each row: what its group column says, or else the row itself."""
    rows = [f"row {row}" for row in range(table.num_rows)]
    if definition.group is None:
        return rows
    return [cell or row for cell, row in zip(table.column(definition.group, "group"), rows, strict=True)]


def _records_of(cells: Sequence[PhotoCell], groups: Sequence[str], origin: str, *, is_number: bool) -> Records:
    kept = [cell for cell in cells if cell.fault is None]
    no_split: SplitName = ""
    return Records(
        photos=tuple(cell.photo for cell in kept),
        labels=tuple(cell.target.label for cell in kept),
        groups=tuple(groups[cell.row] for cell in kept),
        splits=(no_split,) * len(kept),
        classes=() if is_number else tuple(sorted({cell.target.label for cell in kept})),
        origin=origin,
        values=tuple(cell.target.value for cell in kept if cell.target.value is not None) if is_number else None,
        views=tuple(cell.view for cell in kept),
        rows=tuple(cell.row for cell in kept),
        dropped=tuple(cell.as_dropped(cell.fault) for cell in cells if cell.fault is not None),
    )


def _check_something_is_left(records: Records) -> None:
    if not records.photos:
        counts = Counter(dropped.reason for dropped in records.dropped)
        found = ", ".join(f"{reason} ({number})" for reason, number in counts.most_common())
        raise DataError(
            f"a table must name photos that can be used, but {records.origin} names none: {found}. The first: "
            f"{records.dropped[0].name}: {records.dropped[0].detail}. Correct the columns in [data], or the table."
        )
    if len(records.classes) == 1:
        raise DataError(
            f"a study needs 2 classes or more, but {records.origin} has only {records.classes[0]!r}. "
            f"Name another `target` in [data], or add rows."
        )
