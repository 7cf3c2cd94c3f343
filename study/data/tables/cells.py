"""The photo cells of a table: where each points, what is wrong with it, and which of them name the same photo."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from study.data.records import Dropped, Reason
from study.data.tables.file import Table
from study.data.tables.targets import Fault, Target

# One photo may be in a thousand rows, and each of them is reported.
MOST_EXAMPLES = 3
LONGEST_PATH = 4096  # Linux's PATH_MAX, the longest of all systems; an array as text has a hundred times as many characters
MOST_QUOTED = 20  # characters of what is no path


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
    roots = tuple(os.path.join(root, "") for root in (os.path.abspath(folder), os.path.realpath(folder)))
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
                yield _path_cell(cell, table.columns[column][row], roots)


def with_targets(cells: Iterable[PhotoCell], targets: Sequence[Target] | None) -> list[PhotoCell]:
    """The cells with the target of their row, whose fault is theirs; None: the view is the target."""
    return [_with_target(cell, Target(label=cell.view) if targets is None else targets[cell.row]) for cell in cells]


def with_companions(cells: Iterable[PhotoCell], companions: Iterable[PhotoCell]) -> list[PhotoCell]:
    """The cells, with a fault where a companion of their row cannot be used: so several studies have the same rows."""
    lacking = {cell.row: cell.column for cell in companions if cell.fault is not None}
    return [
        cell._replace(fault=Fault(Reason.VIEW_MISSING, f"row {cell.row} has no usable photo of {lacking[cell.row]}"))
        if cell.fault is None and cell.row in lacking
        else cell
        for cell in cells
    ]


def without_repetitions(cells: Sequence[PhotoCell]) -> list[PhotoCell]:
    """Cells that name one photo under several targets all have a fault; under one target, all but the first."""
    positions_of: dict[str, list[int]] = defaultdict(list)
    for position, cell in enumerate(cells):
        if cell.fault is None:
            positions_of[cell.photo].append(position)
    judged = list(cells)
    for positions in positions_of.values():
        if len(positions) == 1:
            continue
        contradiction = _contradiction([cells[position] for position in positions])
        repetition = Fault(Reason.ROW_REPEATED, f"as {cells[positions[0]].place}")
        for position in positions if contradiction else positions[1:]:
            judged[position] = cells[position]._replace(fault=contradiction or repetition)
    return judged


def joined_groups(cells: Iterable[PhotoCell], group_of_row: Sequence[str]) -> list[str]:
    """The group of each row, where groups that share a photo are one: they show the same thing, and must not fall apart.

    A photo under several targets joins nothing: it is dropped, and often a stand-in ("no-photo.jpg") that a thousand rows have.
    """
    joined_to: dict[str, str] = {}

    def first_of(group: str) -> str:
        while group in joined_to:
            further = joined_to[group]
            joined_to[group] = joined_to.get(further, further)  # half the way for who comes next: chains stay short
            group = further
        return group

    group_of_photo: dict[str, str] = {}
    for cell in cells:
        if cell.fault is None or cell.fault.reason is Reason.ROW_REPEATED:
            group = first_of(group_of_row[cell.row])
            first = first_of(group_of_photo.setdefault(cell.photo, group))
            if first != group:
                joined_to[group] = first
    return [first_of(group) for group in group_of_row]


def _contradiction(naming: Sequence[PhotoCell]) -> Fault | None:
    """What the cells that name one photo say against each other, by an example of each target, or None."""
    examples = {cell.target: cell.place for cell in reversed(naming)}
    if len(examples) == 1:
        return None
    told = [f"{_in_words(target)} in {place}" for target, place in sorted(examples.items())][:MOST_EXAMPLES]
    return Fault(Reason.LABELS_CONTRADICT, f"in {len(naming)} cells, such as {', '.join(told)}")


def _path_cell(cell: PhotoCell, written: str, roots: Sequence[str]) -> PhotoCell:
    """The cell with the photo's path below the folder, or its fault. Strings: a million `Path`s take seconds.

    Args:
        written: what the cell says.
        roots: the folder as it is named and as it is without links, each with a separator at its end.

    Links inside the folder are followed wherever they lead: whoever made them has the folder. The text of a table comes from
    elsewhere, and must not reach a file outside.
    """
    if not written:
        return cell._replace(fault=Fault(Reason.PHOTO_MISSING, "empty"))
    if len(written) > LONGEST_PATH:
        detail = f"no path: {len(written):,} characters, '{written[:MOST_QUOTED]}…'"
        return cell._replace(fault=Fault(Reason.FILE_MISSING, detail))
    path = os.path.normpath(os.path.join(roots[0], written.replace("\\", "/")))
    root = next(filter(path.startswith, roots), None)
    if root is None:
        return cell._replace(photo=written, fault=Fault(Reason.OUTSIDE, f"leads to {path}"))
    cell = cell._replace(photo=path[len(root) :].replace(os.sep, "/"))
    if "\0" in path or not os.path.isfile(path):
        return cell._replace(fault=Fault(Reason.FILE_MISSING, f"no file {path}"))
    return cell


def _with_target(cell: PhotoCell, target: Target) -> PhotoCell:
    return cell._replace(target=target, fault=cell.fault or target.fault)


def _in_words(target: Target) -> str:
    return repr(target.label) if target.value is None else f"{target.value:.6g}"
