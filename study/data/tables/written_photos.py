"""Photos that lie in the cells of a text table as numbers, `[[[255, 255, 250], …], …]`: how pandas writes arrays to CSV.

A photo of 224 px is 0.5 MB so written, ten times its JPEG, and all of the table is in memory: for more than some hundred photos
use Parquet, or files.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from study.data.tables.photo_values import digest_of_photo, photo_of
from study.errors import DataError

BEGINNING = "["
SHORTENED = "..."  # numpy's print of more than 1,000 numbers leaves out those in the middle
# Numbers as numpy prints them: nothing but spaces and line ends between them, and between rows.
BETWEEN_NUMBERS = re.compile(r"(?<=[\d\]])\s+(?=[\d\[])")


def are_written(cells: Sequence[str]) -> bool:
    """Whether a column holds photos as numbers; its first cell that is not empty says so. No path begins with a bracket."""
    return next((cell for cell in cells if cell), "").startswith(BEGINNING)


class WrittenPhotos:
    """The photos in the columns of a text table.

    Args:
        cells: texts by column and row.
    """

    def __init__(self, table: Path, cells: Mapping[str, Sequence[str]]) -> None:
        self._table = table
        self._cells = cells

    def read(self, column: str, row: int) -> np.ndarray | bytes:
        """Pixels, uint8.

        Raises:
            DataError: if the cell holds none.
        """
        text = self._cells[column][row]
        if SHORTENED in text:
            raise DataError(
                f"an array in a cell must be whole, but row {row}, {column} of {self._table} was shortened to '...' when it "
                f"was written. Write it anew as a list (`array.tolist()`), or save the table as Parquet."
            )
        try:
            return photo_of(json.loads(BETWEEN_NUMBERS.sub(", ", text)))
        except ValueError as error:  # JSON's errors are ValueErrors, too
            raise DataError(
                f"a cell of photos must hold a path, or whole numbers from 0 to 255 in brackets, but row {row}, {column} of "
                f"{self._table} holds {_found(error, text)}. Write it anew, or remove it."
            ) from error

    def digest_of(self, column: str, row: int) -> str:
        """Hash of shape and pixels."""
        return digest_of_photo(self.read(column, row))


def _found(error: ValueError, text: str) -> str:
    return f"{text[:20]!r}, which is no array" if isinstance(error, json.JSONDecodeError) else str(error)
