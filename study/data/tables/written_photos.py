"""Photos that lie in the cells of a text table as numbers, `[[[255, 255, 250], …], …]`: how pandas writes arrays to CSV.

A photo of 224 px is 0.5 MB so written, ten times its JPEG, and all of the table is in memory: for more than some hundred photos
use Parquet, or files.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from study.data.images import UnreadablePhotoError
from study.data.tables.photo_values import digest_of_photo, no_photo_in_cell, photo_of

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
            UnreadablePhotoError: if the cell holds none.
        """
        text = self._cells[column][row]
        place = f"row {row}, {column} of {self._table}"
        if SHORTENED in text:
            raise UnreadablePhotoError(
                place,
                "its array was shortened to '...' when it was written: that takes a list (`array.tolist()`), or Parquet",
            )
        try:
            return photo_of(json.loads(BETWEEN_NUMBERS.sub(", ", text)))
        except (ValueError, RecursionError) as error:  # JSON's errors are ValueErrors, too
            raise no_photo_in_cell(place, _found(error, text)) from error

    def digest_of(self, column: str, row: int) -> str:
        """Hash of shape and pixels."""
        return digest_of_photo(self.read(column, row))


def _found(error: ValueError | RecursionError, text: str) -> str:
    match error:
        case json.JSONDecodeError():
            return f"{text[:20]!r}, which is no array"
        case RecursionError():
            return "lists in lists, too deep to be a photo"
        case _:
            return str(error)
