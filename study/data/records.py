"""What is known of photos before any is read, what was left out and why, and the `Source` that brings both."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, Literal, NamedTuple, Protocol

from study.data.images import Photo

SplitName = Literal["train", "val", "test", ""]


class Reason(StrEnum):
    """Why a photo is left out before it is decoded. Each is told one reason: of those that hold, the first in this order."""

    ROW_MALFORMED = "row malformed"  # more cells than the table has columns
    PHOTO_MISSING = "photo missing"  # an empty cell
    OUTSIDE = "path outside the data folder"
    OUTSIDE_CLASSES = "outside the class folders"  # a photo beside them, which has no class
    FORMAT_NOT_READ = "format not read"  # HEIC, cameras' raw data, other pictures: told by the file's ending
    ENDING_UNKNOWN = "ending unknown"  # in a class folder, and plainly no text, film, archive …
    FILE_MISSING = "file missing"
    TARGET_MISSING = "target missing"  # an empty cell, or nothing in any of the columns of places
    PLACE_NOT_RESOLVED = "place not resolved"
    NOT_A_NUMBER = "value not a number"
    LABELS_CONTRADICT = "labels contradict"  # one photo, in the table twice, under two targets
    ROW_REPEATED = "row repeated"  # one photo, in the table twice, under one target: the first is kept
    VIEW_MISSING = "view missing"  # both photos were asked for, and its partner was not there or was dropped
    CLASS_TOO_SMALL = "class too small"


class Dropped(NamedTuple):
    """A photo that was left out.

    Attributes:
        name: its id; where there is none, row and column, as "row 12, image_top".
        reason: the rule that it broke.
        detail: what was found, for people.
    """

    name: str
    reason: Reason
    detail: str


class Regrouped(NamedTuple):
    """A class that was too small and went into "other"; how many independent groups of photos it had."""

    label: str
    num_groups: int


@dataclass(frozen=True, eq=False)
class Records:
    """One entry a photo, in one order, in all sequences but `classes`, `dropped` and `regrouped`.

    Attributes:
        photos: unique ids: the path below the root with forward slashes, or a name that the source gives.
        labels: class names; "" throughout where the target is a number.
        groups: photos of one group must stay in one split.
        splits: the source's own split, or all "" where it has none.
        classes: the class names, sorted; none where the target is a number. `keep` leaves them as they are.
        origin: where they come from, for messages.
        values: the target where it is a number (its natural logarithm if the definition asks for that), else None.
        views: which side is seen, where the source knows; default "" throughout.
        rows: photos of one row are views of one thing: the row of a table, counted from 0; default: the photo's position.
        dropped: what the source named and these records leave out. With the photos, that is all it named.
        regrouped: small classes that are now called "other".
    """

    photos: tuple[str, ...]
    labels: tuple[str, ...]
    groups: tuple[str, ...]
    splits: tuple[SplitName, ...]
    classes: tuple[str, ...]
    origin: str
    values: tuple[float, ...] | None = None
    views: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    regrouped: tuple[Regrouped, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "views", self.views or ("",) * len(self.photos))
        object.__setattr__(self, "rows", self.rows or tuple(range(len(self.photos))))
        lengths = {name: len(column) for name, column in self._columns().items()}
        assert len(set(lengths.values())) == 1, lengths
        assert len(set(self.photos)) == len(self.photos), "ids must be unique"

    @property
    def has_own_split(self) -> bool:
        """Whether the source says which photos are for training, validation and test."""
        return "" not in self.splits

    def keep(self, indices: Sequence[int]) -> "Records":
        """The photos at these positions, in this order.

        `classes` stay: a class that lost its last photo is then missed by whoever checks, and not forgotten. So do `dropped`:
        why the others are gone is for the caller to add (`with_dropped`).
        """
        columns: dict[str, Any] = {name: tuple(column[index] for index in indices) for name, column in self._columns().items()}
        return replace(self, **columns)

    def with_dropped(self, dropped: Sequence[Dropped]) -> "Records":
        """The same, with these beside what was dropped before."""
        return replace(self, dropped=(*self.dropped, *dropped))

    def _columns(self) -> dict[str, tuple[object, ...]]:
        """The sequences with one entry a photo."""
        beside = ("classes", "origin", "dropped", "regrouped")
        columns = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in beside}
        return {name: column for name, column in columns.items() if column is not None}


class Source(Protocol):
    """Photos with labels or values."""

    @property
    def records(self) -> Records:
        """What is known of each photo."""
        ...

    def fingerprint(self) -> str:
        """Changes when a photo does; found without reading one."""
        ...

    def read(self, photo: str) -> Photo:
        """The photo with this id: a file's bytes, an image or its pixels.

        Raises:
            UnreadablePhotoError: if this photo is at fault; it is put in quarantine, and the others are read.
            DataError: if others would fail alike; nothing more is read.
        """
        ...

    def digest_of(self, photo: str) -> str:
        """Hash of the photo's content.

        Raises:
            UnreadablePhotoError, DataError: as `read` does.
        """
        ...
