"""What became of every photo that a source names: kept, dropped before decoding, or quarantined; and what else was noticed."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from study.trial import Plain

MOST_EXAMPLES = 20  # of each reason, in a report


class Example(Plain):
    """One photo that was left out."""

    photo: str
    detail: str


class LeftOut(Plain):
    """Photos left out for one reason."""

    num_photos: int
    examples: tuple[Example, ...]


class DuplicateReport(Plain):
    """Sets of photos that show the same; of each kind of set the first ones, by the photos' ids.

    Leaks: the source's own split has a set on more than one side. Contradictions: its photos have different labels.
    """

    num_sets: int = 0
    num_exact_sets: int = 0
    num_photos: int = 0
    num_leaks: int = 0
    num_contradictions: int = 0
    examples: tuple[tuple[str, ...], ...] = ()
    leaks: tuple[tuple[str, ...], ...] = ()
    contradictions: tuple[tuple[str, ...], ...] = ()


class ValueRange(Plain):
    """Numbers to predict, as they are learnt: logarithms where the definition asks for them."""

    lowest: float
    median: float
    highest: float


class PlaceReport(Plain):
    """Photos whose place was found to lie in a country, and photos with a place in words that was not."""

    num_resolved: int
    num_unresolved: int


class DataReport(Plain):
    """Every photo that the source names, accounted for: listed = kept + dropped + quarantined.

    Attributes:
        dropped: by reason, photos that were left out without being unreadable.
        quarantined: by reason, photos that could not be read.
        regrouped: classes too small that are now called "other", and how many independent groups of photos each had.
        splits: photos of each split; of the first fold, where there are several.
        classes: likewise by class; empty for numbers.
        num_bytes: of the packed array.
    """

    origin: str = ""
    digest: str = ""
    image_size: int = 0
    num_bytes: int = 0
    num_listed: int = 0
    num_kept: int = 0
    dropped: Mapping[str, LeftOut] = {}
    quarantined: Mapping[str, LeftOut] = {}
    regrouped: Mapping[str, int] = {}
    duplicates: DuplicateReport = DuplicateReport()
    places: PlaceReport | None = None
    num_folds: int = 1
    splits: Mapping[str, int] = {}
    classes: Mapping[str, Mapping[str, int]] = {}
    values: ValueRange | None = None


class Omission(NamedTuple):
    """A photo that was left out, and why."""

    photo: str
    reason: str
    detail: str


def by_reason(omissions: Iterable[Omission]) -> dict[str, LeftOut]:
    """Omissions counted by reason, in the order in which reasons first occur, with the first photos of each."""
    found: dict[str, list[Omission]] = defaultdict(list)
    for omission in omissions:
        found[omission.reason].append(omission)
    return {
        reason: LeftOut(
            num_photos=len(photos),
            examples=tuple(Example(photo=photo, detail=detail) for photo, _, detail in photos[:MOST_EXAMPLES]),
        )
        for reason, photos in found.items()
    }


def duplicate_report(
    sets: Sequence[Sequence[str]],
    num_exact_sets: int,
    leaks: Sequence[tuple[str, ...]],
    contradictions: Sequence[tuple[str, ...]],
) -> DuplicateReport:
    """Sets, given as the ids of their photos, in numbers and examples."""
    return DuplicateReport(
        num_sets=len(sets),
        num_exact_sets=num_exact_sets,
        num_photos=sum(map(len, sets)),
        num_leaks=len(leaks),
        num_contradictions=len(contradictions),
        examples=_first(sets),
        leaks=_first(leaks),
        contradictions=_first(contradictions),
    )


def _first(sets: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(members[:MOST_EXAMPLES]) for members in sets[:MOST_EXAMPLES])
