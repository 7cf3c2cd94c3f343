"""Photos that lie in the cells of a Parquet table, read when asked for: a group of rows at a time, never the whole column."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from study.data.tables.photo_values import digest_of_photo, no_photo_in_cell, photo_of
from study.errors import DataError

MOST_KEPT = 2  # groups of rows a column: threads that read in order are in two at a border


class _Group(NamedTuple):
    """A column's cells in one of the file's groups of rows."""

    number: int
    cells: Any


class EmbeddedPhotos:
    """The photos in the columns of a Parquet file: image files as bytes, {bytes, path} structs, or nested lists of pixels.

    Of each column the last two groups of rows are kept, which serves threads that read in order, also where some are still in
    the group before. Groups that pandas writes hold a million rows, so for large collections write smaller ones: 500 photos of
    300 kB are 150 MB in memory.
    """

    def __init__(self, table: Path) -> None:
        self.table = table
        self._kept: dict[str, tuple[_Group, ...]] = {}
        self._locks: dict[str, Lock] = {}
        self._starts: npt.NDArray[np.int64] | None = None

    def read(self, column: str, row: int) -> bytes | np.ndarray:
        """The image file's bytes, or pixels; pixels are uint8 where all are whole numbers from 0 to 255.

        Raises:
            UnreadablePhotoError: if the cell holds neither.
            DataError: if the file is damaged, or gone.
        """
        cell = self._cell(column, row)
        try:
            return photo_of(cell)
        except ValueError as error:
            raise no_photo_in_cell(f"row {row}, {column} of {self.table}", str(error)) from error

    def digest_of(self, column: str, row: int) -> str:
        """Hash of the bytes, or of shape and pixels."""
        return digest_of_photo(self.read(column, row))

    def _cell(self, column: str, row: int) -> Any:
        if self._starts is None:
            self._starts = np.cumsum([0, *self._group_sizes()])
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        return self._cells(column, group)[row - int(self._starts[group])].as_py()

    def _cells(self, column: str, group: int) -> Any:
        """The column's cells in that group of rows, read by the first thread that asks for them; the others wait."""
        cells = self._found(column, group)
        if cells is None:
            with self._locks.setdefault(column, Lock()):
                cells = self._found(column, group)  # another thread may have read them while this one waited
                if cells is None:
                    cells = self._group(column, group)
                    self._kept[column] = (*self._kept.get(column, ()), _Group(group, cells))[-MOST_KEPT:]
        return cells

    def _found(self, column: str, group: int) -> Any:
        return next((kept.cells for kept in self._kept.get(column, ()) if kept.number == group), None)

    def _group_sizes(self) -> list[int]:
        import pyarrow.parquet

        with self._told_if_damaged():
            metadata = pyarrow.parquet.read_metadata(self.table)
            return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]

    def _group(self, column: str, group: int) -> Any:
        import pyarrow.parquet

        with self._told_if_damaged():
            return pyarrow.parquet.ParquetFile(self.table).read_row_group(group, columns=[column]).column(column)

    @contextmanager
    def _told_if_damaged(self) -> Iterator[None]:
        """What pyarrow finds wrong as one line; no photo's own fault, so it is not put in quarantine."""
        import pyarrow

        try:
            yield
        except (OSError, pyarrow.ArrowException) as error:
            first_line = str(error).partition("\n")[0].rstrip(".")
            raise DataError(f"a table must be valid Parquet, but {self.table} is not: {first_line}. Save it anew.") from None

    def __getstate__(self) -> dict[str, Any]:
        """Without what is kept, and locks: another process reads its own groups."""
        return self.__dict__ | {"_kept": {}, "_locks": {}}
