"""What each row of a table is to be told as: a class, a number, or the country of a place in words."""

import math
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from study.data.records import Reason
from study.data.tables.file import Table
from study.data.tables.numbers import parse_number
from study.data_definition import Geocode, PlacesDefinition


class Fault(NamedTuple):
    """Why a cell or a row is not used."""

    reason: Reason
    detail: str


class Target(NamedTuple):
    """What a row, or one photo of it, is to be told as; or its fault."""

    label: str = ""
    value: float | None = None
    fault: Fault | None = None


class FoundPlace(Protocol):
    """What `study.data.locations` says of a text."""

    @property
    def country(self) -> str:
        """The country's name, or "" where it does not know."""
        ...


Locate = Callable[[Sequence[str], Geocode, Path], Sequence[FoundPlace]]


class RowPlace(NamedTuple):
    """The text of a row from which its country was found, or was not, and what was found."""

    row: int
    text: str
    found: FoundPlace


def class_targets(cells: Sequence[str], column: str) -> list[Target]:
    """Each cell as a class name; accents in one way of writing them, so that what looks alike is one class."""
    return [Target(label=unicodedata.normalize("NFC", cell)) if cell else Target(fault=_missing(column)) for cell in cells]


def number_targets(cells: Sequence[str], column: str, is_log: bool) -> list[Target]:
    """Each cell as a number, or as its natural logarithm: exp() leads back."""
    return [_number_target(cell, column, is_log) for cell in cells]


def country_targets(
    table: Table, places: PlacesDefinition, cache_folder: Path, locate: Locate | None = None
) -> tuple[list[Target], tuple[RowPlace, ...]]:
    """The country of each row: of the first of its places, in the order of the columns, that says one.

    Args:
        locate: finds countries; default: `study.data.locations.locate`. It sees the texts of all rows at once, in their
            order, to settle an ambiguous name by the table's own majority.
    Returns:
        One target a row; and what was found for each text that was looked up.
    """
    if locate is None:
        from study.data import locations  # its gazetteer is needed by tables with places only

        locate = locations.locate
    columns = [table.column(column, "places.columns") for column in places.columns]
    texts_of = [[text for text in texts if text] for texts in zip(*columns, strict=True)]
    looked_up: list[RowPlace] = []
    country_of: dict[int, str] = {}
    for place in range(len(columns)):
        rows = [row for row, texts in enumerate(texts_of) if row not in country_of and len(texts) > place]
        if not rows:
            continue
        found = locate([texts_of[row][place] for row in rows], places.geocode, cache_folder)
        for row, location in zip(rows, found, strict=True):
            looked_up.append(RowPlace(row, texts_of[row][place], location))
            if location.country:
                country_of[row] = location.country
    targets = [_country_target(texts, country_of.get(row), places.columns) for row, texts in enumerate(texts_of)]
    return targets, tuple(sorted(looked_up, key=lambda found: found.row))


def _number_target(cell: str, column: str, is_log: bool) -> Target:
    if not cell:
        return Target(fault=_missing(column))
    number = parse_number(cell)
    if number is None:
        return Target(fault=Fault(Reason.NOT_A_NUMBER, f"{column} is {cell!r}"))
    if is_log and number <= 0:
        return Target(fault=Fault(Reason.NOT_A_NUMBER, f"{column} is {cell!r}, which has no logarithm"))
    return Target(value=math.log(number) if is_log else number)


def _country_target(texts: Sequence[str], country: str | None, columns: Sequence[str]) -> Target:
    if country is not None:
        return Target(label=country)
    if not texts:
        return Target(fault=_missing(", ".join(columns)))
    return Target(fault=Fault(Reason.PLACE_NOT_RESOLVED, "; ".join(texts)))


def _missing(column: str) -> Fault:
    return Fault(Reason.TARGET_MISSING, f"{column} is empty")
