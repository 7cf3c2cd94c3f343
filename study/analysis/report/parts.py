"""What a page is made of, as plain data: the template gives each kind its form, and escapes every text in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from markupsafe import Markup


@dataclass(frozen=True)
class Column:
    """Of a table; numbers stand right-aligned."""

    name: str
    is_number: bool = False


@dataclass(frozen=True)
class Table:
    """Rows whose first cell names them.

    Attributes:
        shown: so many rows are seen at once, the others are unfolded; None shows all.
        is_sortable: by a press on a column's name, where scripts run.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    shown: int | None = None
    is_sortable: bool = False


@dataclass(frozen=True)
class Chart:
    """A drawn figure in two widths, for a desk and for a hand.

    Attributes:
        name: unique on the page.
        finding: what it shows, in a sentence: its caption, and what is read aloud.
        data: the numbers behind it.
    """

    kind: ClassVar[str] = "chart"
    name: str
    title: str
    finding: str
    wide: Markup
    narrow: Markup
    data: Table


@dataclass(frozen=True)
class IntervalRow:
    """A dot on its interval.

    Attributes:
        text: the same in figures.
        low, middle, high: places on the scale, percent of its width.
    """

    label: str
    text: str
    low: float
    middle: float
    high: float
    is_best: bool = False


@dataclass(frozen=True)
class IntervalGroup:
    """Rows that are compared with each other.

    Attributes:
        sentence: what they show.
        badge: a word of caution beside the title.
        share: of a whole that the group accounts for, percent; None where nobody knows.
    """

    title: str
    sentence: str
    rows: Sequence[IntervalRow]
    badge: str = ""
    share: float | None = None


@dataclass(frozen=True)
class IntervalPlot:
    """Groups of intervals on one scale, laid out by the page itself, so that they fit every width.

    Attributes:
        ticks: place in percent, and label.
        zero: place of no difference, percent; None where the scale has none.
    """

    kind: ClassVar[str] = "intervals"
    name: str
    title: str
    finding: str
    scale: str
    ticks: Sequence[tuple[float, str]]
    groups: Sequence[IntervalGroup]
    data: Table
    zero: float | None = None


@dataclass(frozen=True)
class Cell:
    """Of a heat table: what it says, and how strongly it is coloured (0 to 9)."""

    text: str
    strength: int
    is_diagonal: bool = False


@dataclass(frozen=True)
class HeatTable:
    """A square table whose cells are coloured by their share of the row."""

    kind: ClassVar[str] = "heat"
    name: str
    title: str
    finding: str
    corner: str
    labels: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Bar:
    """Pieces of a whole, each in percent of the widest bar.

    Attributes:
        pieces: class of colour, and width.
    """

    label: str
    text: str
    pieces: Sequence[tuple[str, float]]


@dataclass(frozen=True)
class Bars:
    """Horizontal bars with a key."""

    kind: ClassVar[str] = "bars"
    name: str
    title: str
    finding: str
    key: Sequence[tuple[str, str]]
    bars: Sequence[Bar]
    data: Table


@dataclass(frozen=True)
class Pictures:
    """Images inside the page.

    Attributes:
        images: as base64 of a PNG, and what is seen.
    """

    kind: ClassVar[str] = "pictures"
    title: str
    images: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Facts:
    """Names and what belongs to them."""

    kind: ClassVar[str] = "facts"
    title: str
    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Listing:
    """Text to be copied as it is; folded where it is long."""

    kind: ClassVar[str] = "listing"
    title: str
    text: str
    is_folded: bool = False


@dataclass(frozen=True)
class Sentences:
    """A list of plain sentences."""

    kind: ClassVar[str] = "sentences"
    title: str
    items: Sequence[str]


Part = Table | Chart | IntervalPlot | HeatTable | Bars | Pictures | Facts | Listing | Sentences


@dataclass(frozen=True)
class Section:
    """One heading's worth of the page.

    Attributes:
        name: unique on the page; what links lead to.
        lead: what to take away, before the details.
    """

    name: str
    title: str
    lead: Sequence[str] = ()
    parts: Sequence[Part] = ()
