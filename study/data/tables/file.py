"""A table of photos as columns of text, whatever file it came in: CSV, TSV or Parquet."""

import csv
import io
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.data.tables.written_photos import are_written
from study.errors import DataError, nearest

if TYPE_CHECKING:
    import pyarrow

# How programs write an empty cell. Not "None" and "NA": a class may be called so, and NA is Namibia.
MISSING_TEXTS = frozenset({"", "nan", "null", "n/a", "#n/a", "<na>"})
DELIMITERS = (",", ";", "\t")
LARGEST_CELL = 2**26  # characters: an array of 2,000 × 2,000 pixels; the csv module's own limit is one of 90 × 90


@dataclass(frozen=True, eq=False)
class Table:
    """Rows are counted from 0, without the header and without blank lines.

    Attributes:
        path: the file.
        num_rows: how many rows it has, malformed ones too.
        columns: text by column name; "" where a cell is missing. Columns in `embedded` are not among them.
        embedded: photo columns whose cells hold the photos themselves, and the rows in which they are missing.
        written: the texts of those that are in a text table.
        malformed: rows that are not to be used, and why.
        note: what a reader of messages should know of how the file was read, or "".
    """

    path: Path
    num_rows: int
    columns: dict[str, tuple[str, ...]]
    embedded: dict[str, frozenset[int]] = field(default_factory=dict)
    malformed: dict[int, str] = field(default_factory=dict)
    written: dict[str, tuple[str, ...]] = field(default_factory=dict)
    note: str = ""

    def column(self, name: str, key: str) -> tuple[str, ...]:
        """The column that `key` of the definition names.

        Raises:
            DataError: if there is none of that name, or it holds photos.
        """
        if name not in self.columns:
            found = "holds no text" if name in self.embedded else "is not there"
            raise DataError(
                f"`{key}` in [data] must be a column of {self.path}, but {name!r} {found}. {nearest(name, self.columns)}"
            )
        return self.columns[name]


def read_table(path: Path, photo_columns: Sequence[str]) -> Table:
    """The table in a file: Parquet by its ending, TSV by its ending, else CSV with the delimiter that its header shows.

    Text is UTF-8, with or without a byte-order mark, or UTF-16 with one; what is neither is read as Latin-1, which takes any
    bytes, and `note` says so. Spaces around a cell are dropped.

    Raises:
        DataError: if it cannot be read, has no rows, two columns of one name, or lacks a photo column.
    """
    try:
        is_parquet = path.suffix.lower() == ".parquet"
        table = _read_parquet(path, photo_columns) if is_parquet else _read_text(path, photo_columns)
    except OSError as error:
        raise DataError(
            f"`table` must be a readable file, but {path} is not: {error.strerror or error}. "
            f"Correct `table` in [data] of the definition."
        ) from error
    if table.num_rows == 0:
        raise DataError(f"a table needs rows, but {path} has none below its header. Correct `table` in [data].")
    for column in photo_columns:
        if column not in table.embedded:
            table.column(column, "images")
    return table


def _read_text(path: Path, photo_columns: Collection[str]) -> Table:
    text, note = _decoded(path.read_bytes())
    delimiter = "\t" if path.suffix.lower() in (".tsv", ".tab") else _delimiter_of(text)
    before = csv.field_size_limit(max(LARGEST_CELL, csv.field_size_limit()))
    try:
        lines = _lines(text, delimiter)
        header = [name.strip() for name in next(lines, [])]
        _check_header(header, path)
        rows = list(lines)
    except csv.Error as error:
        raise DataError(
            f"a table must be valid CSV, but {path} is not: {error}. Close or double its quotation marks, or save it anew."
        ) from error
    finally:
        csv.field_size_limit(before)
    num_columns = len(header)
    malformed = {
        row: f"{len(cells)} cells in {num_columns} columns" for row, cells in enumerate(rows) if any(cells[num_columns:])
    }
    columns = {
        name: tuple(_text_of(cells[place]) if place < len(cells) else "" for cells in rows)
        for place, name in enumerate(header)
        if name
    }
    written = {name: columns.pop(name) for name in photo_columns if name in columns and are_written(columns[name])}
    embedded = {name: frozenset(row for row, cell in enumerate(cells) if not cell) for name, cells in written.items()}
    return Table(path, len(rows), columns, embedded, malformed, written, note)


def _decoded(content: bytes) -> tuple[str, str]:
    """The text, and a note on its encoding where that was a guess."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):  # Excel's "Unicode text"
        return content.decode("utf-16", errors="replace"), ""
    try:
        return content.decode("utf-8-sig"), ""
    except UnicodeDecodeError:
        return content.decode("latin-1"), "not UTF-8, read as Latin-1"


def _delimiter_of(text: str) -> str:
    """The delimiter that cuts the header into most cells; a comma where none does."""

    def num_cells(delimiter: str) -> int:
        try:
            return len(next(_lines(text, delimiter), []))
        except csv.Error:  # a quoted name, cut by the wrong delimiter
            return 0

    return max(DELIMITERS, key=num_cells)


def _lines(text: str, delimiter: str) -> Iterator[list[str]]:
    """The cells of each line that has any. Strict: an open quotation mark would swallow the rest of the file."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        yield from (cells for cells in reader if any(cell.strip() for cell in cells))
    except csv.Error as error:
        raise csv.Error(f"line {reader.line_num}: {error}") from error


def _check_header(header: Sequence[str], path: Path) -> None:
    repeated = next((name for name in header if name and header.count(name) > 1), None)
    if repeated is not None:
        raise DataError(f"a table's columns must differ in name, but {path} has {repeated!r} twice. Rename one of them.")


def _read_parquet(path: Path, photo_columns: Collection[str]) -> Table:
    import pyarrow  # 0.2 s, and only tables in Parquet need it
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        schema = file.schema_arrow
        _check_header(schema.names, path)
        plain = [name for name in schema.names if not _holds_more_than_text(schema.field(name).type)]
        columns = file.read(columns=plain)
        embedded = {name: _missing_in(file, name) for name in schema.names if name in photo_columns and name not in plain}
    except pyarrow.ArrowException as error:
        raise DataError(f"a table must be valid Parquet, but {path} is not: {error}. Save it anew.") from error
    text = {name: tuple(_text_of(value) for value in columns.column(name).to_pylist()) for name in plain}
    return Table(path, file.metadata.num_rows, text, embedded)


def _holds_more_than_text(kind: "pyarrow.DataType") -> bool:
    """Whether cells hold bytes, arrays, or the {bytes, path} of Hugging Face's data sets."""
    import pyarrow.types as types

    return bool(
        types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)
    )


def _missing_in(file: Any, column: str) -> frozenset[int]:
    """The rows without a photo. Read for that are only groups of rows that, by the file's own count, may have some."""
    place = file.schema_arrow.names.index(column)
    leaves = file.schema  # nested columns are stored as several, and only a plain one's count is of whole cells
    is_counted = len(leaves.names) == len(file.schema_arrow.names) and leaves.names[place] == column
    told = _telling_leaf(file, column)
    missing: set[int] = set()
    first = 0
    for group in range(file.num_row_groups):
        part = file.metadata.row_group(group)
        statistics = part.column(place).statistics if is_counted else None
        if statistics is None or not statistics.has_null_count or statistics.null_count:
            cells = file.read_row_group(group, columns=[told]).column(column)
            missing.update(first + row for row, is_null in enumerate(cells.is_null().to_pylist()) if is_null)
        first += part.num_rows
    return frozenset(missing)


def _telling_leaf(file: Any, column: str) -> str:
    """What is read to learn which cells are missing: of a struct {bytes, path} the path alone, for each part tells it."""
    import pyarrow.types as types

    kind = file.schema_arrow.field(column).type
    parts = [part.name for part in kind if not _holds_more_than_text(part.type)] if types.is_struct(kind) else []
    return f"{column}.{parts[0]}" if parts else column


def _text_of(value: Any) -> str:
    """A cell as text: whole numbers without ".0", as a column of numbers with gaps would get it; "" for a missing one."""
    if isinstance(value, float):
        if math.isnan(value):
            return ""
        value = int(value) if value.is_integer() else value
    text = "" if value is None else str(value).strip()
    return "" if text.lower() in MISSING_TEXTS else text
