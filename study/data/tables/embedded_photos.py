"""Photos that lie in the cells of a Parquet table, read when asked for: a group of rows at a time, never the whole column."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from study.data.tables.photo_values import digest_of_photo, no_photo_in_cell, photo_of
from study.errors import DataError


class EmbeddedPhotos:
    """The photos in the columns of a Parquet file: image files as bytes, {bytes, path} structs, or nested lists of pixels.

    One group of rows a column is kept, which serves reading in order. Groups that pandas writes hold a million rows, so for
    large collections write smaller ones: 500 photos of 300 kB are 150 MB in memory.
    """

    def __init__(self, table: Path) -> None:
        self.table = table
        self._kept: dict[str, tuple[int, Any]] = {}
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
        number, cells = self._kept.get(column, (-1, None))
        if number != group:  # two threads may both read it: the same cells, and no lock to keep from pickling
            cells = self._group(column, group)
            self._kept[column] = (group, cells)
        return cells[row - int(self._starts[group])].as_py()

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
        """Without what is kept: another process reads its own groups."""
        return self.__dict__ | {"_kept": {}}
