"""The photo cells of a table: where each points, what is wrong with it, and which of them name the same photo."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from study.data.records import Dropped, Reason
from study.data.table_file import Table
from study.data.table_targets import Fault, Target


class PhotoCell(NamedTuple):  # a table may have a million: a dataclass is twice as large, and slow to replace
    """One cell of a photo column.

    Attributes:
        row: counted from 0.
        column: the photo column.
        view: what the column shows.
        photo: the id: its path below the table's folder, "row 12, image" where the cell holds the photo itself, or "".
        target: of its row, or of the view.
        fault: why it is not used, if it is not.
    """

    row: int
    column: str
    view: str
    photo: str
    target: Target = Target()
    fault: Fault | None = None

    @property
    def place(self) -> str:
        """Row and column in words."""
        return f"row {self.row}, {self.column}"

    def as_dropped(self, fault: Fault) -> Dropped:
        """What is reported of this cell's photo when it is left out for `fault`."""
        name = self.photo or self.place
        detail = fault.detail if name == self.place else f"{self.place}: {fault.detail}"
        return Dropped(name, fault.reason, detail)


def photo_cells(table: Table, columns: Sequence[str], views: Sequence[str]) -> Iterator[PhotoCell]:
    """Every photo cell of the table, row by row, with what is wrong with the cell itself."""
    folder = table.path.parent
    roots = (os.path.abspath(folder), os.path.realpath(folder))
    for row in range(table.num_rows):
        for column, view in zip(columns, views, strict=True):
            cell = PhotoCell(row, column, view, photo="")
            if row in table.malformed:
                yield cell._replace(fault=Fault(Reason.ROW_MALFORMED, table.malformed[row]))
            elif column in table.embedded:
                is_missing = row in table.embedded[column]
                empty = Fault(Reason.PHOTO_MISSING, "empty")
                yield cell._replace(fault=empty) if is_missing else cell._replace(photo=cell.place)
            else:
                yield _path_cell(cell, table.columns[column][row], folder, roots)


def with_targets(cells: Iterable[PhotoCell], targets: Sequence[Target] | None) -> list[PhotoCell]:
    """The cells with the target of their row, whose fault is theirs; None: the view is the target."""
    return [_with_target(cell, Target(label=cell.view) if targets is None else targets[cell.row]) for cell in cells]


def without_repetitions(cells: Sequence[PhotoCell]) -> list[PhotoCell]:
    """Cells that name one photo under several targets all have a fault; under one target, all but the first."""
    judged = list(cells)
    for positions in positions_by_photo(cells).values():
        naming = [cells[position] for position in positions]
        if len({cell.target for cell in naming}) > 1:
            told = ", ".join(f"{_in_words(cell.target)} in {cell.place}" for cell in naming)
            for position, cell in zip(positions, naming, strict=True):
                judged[position] = cell._replace(fault=Fault(Reason.LABELS_CONTRADICT, told))
        else:
            for position, cell in list(zip(positions, naming, strict=True))[1:]:
                judged[position] = cell._replace(fault=Fault(Reason.ROW_REPEATED, f"as {naming[0].place}"))
    return judged


def positions_by_photo(cells: Sequence[PhotoCell]) -> dict[str, list[int]]:
    """Where each photo is named by cells without fault."""
    positions: dict[str, list[int]] = defaultdict(list)
    for position, cell in enumerate(cells):
        if cell.fault is None:
            positions[cell.photo].append(position)
    return positions


def joined_groups(cells: Sequence[PhotoCell], group_of_row: Sequence[str]) -> list[str]:
    """The group of each row, where groups that share a photo are one: they show the same thing, and must not fall apart."""
    joined_to: dict[str, str] = {}

    def first_of(group: str) -> str:
        while group in joined_to:
            further = joined_to[group]
            joined_to[group] = joined_to.get(further, further)  # half the way for who comes next: chains stay short
            group = further
        return group

    for positions in positions_by_photo(cells).values():
        first, *others = (first_of(group_of_row[cells[position].row]) for position in positions)
        for other in others:
            if first_of(other) != first:
                joined_to[first_of(other)] = first
    return [first_of(group) for group in group_of_row]


def _path_cell(cell: PhotoCell, written: str, folder: Path, roots: tuple[str, str]) -> PhotoCell:
    """The cell with the photo's path below the folder, or its fault.

    Links inside the folder are followed wherever they lead: whoever made them has the folder. The text of a table comes from
    elsewhere, and must not reach a file outside.
    """
    if not written:
        return cell._replace(fault=Fault(Reason.PHOTO_MISSING, "empty"))
    path = os.path.normpath(os.path.join(roots[0], written.replace("\\", "/")))
    root = next((root for root in roots if path.startswith(root.rstrip(os.sep) + os.sep)), None)
    if root is None:
        return cell._replace(photo=written, fault=Fault(Reason.OUTSIDE, f"leads to {path}"))
    photo = os.path.relpath(path, root).replace(os.sep, "/")
    if "\0" in photo or not os.path.isfile(folder / photo):
        return cell._replace(photo=photo, fault=Fault(Reason.FILE_MISSING, f"no file {folder / photo}"))
    return cell._replace(photo=photo)


def _with_target(cell: PhotoCell, target: Target) -> PhotoCell:
    return cell._replace(target=target, fault=cell.fault or target.fault)


def _in_words(target: Target) -> str:
    return repr(target.label) if target.value is None else f"{target.value:.6g}"
