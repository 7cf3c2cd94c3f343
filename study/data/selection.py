"""From packed photos to the ones that a study uses, and the splits that they are in."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from study.data.duplicate_sides import LEAK, OneSided, keep_on_one_side
from study.data.duplicates import DuplicateSet
from study.data.folds import fold_splits
from study.data.packed import PackedImages
from study.data.records import Reason, Records
from study.data.report import DataReport, DuplicateReport, Omission, PlaceReport, ValueRange, by_reason, duplicate_report
from study.data.small_classes import settle_small_classes
from study.data.splits import Splits
from study.data.views import drop_incomplete_rows
from study.data_definition import DataDefinition
from study.errors import DataError

Indices = npt.NDArray[np.int64]

MOST_NAMED = 3  # unreadable photos, in a message


@dataclass(frozen=True, eq=False)
class Selection:
    """The photos that a study uses, of those that were packed.

    Attributes:
        records: of the photos used; their groups hold duplicates together.
        positions: where each of them is in the packed array: int64, ascending.
        splits: one, or one a fold; positions in the packed array.
        omissions: every photo left out that was not quarantined.
        duplicates: what was found, in numbers.
    """

    records: Records
    positions: Indices
    splits: tuple[Splits, ...]
    omissions: tuple[Omission, ...]
    duplicates: DuplicateReport


def check_before_packing(records: Records, data: DataDefinition) -> None:
    """Checks that there are photos enough for classes, splits and folds, before hours are spent on decoding them.

    Raises:
        DataError: if a class is too small, or missing in a split.
    """
    fold_splits(settle_small_classes(records, data), data.split)


def check_readable(packed: PackedImages, records: Records, data: DataDefinition) -> None:
    """Checks that no more photos are unreadable than the definition puts up with.

    Raises:
        DataError: naming how many are, and the first of them.
    """
    total, unreadable = len(records.photos), packed.quarantine
    if total == 0 or len(unreadable) <= data.max_unreadable * total:
        return
    first = "; ".join(f"{one.photo}: {one.reason}" for one in unreadable[:MOST_NAMED])
    raise DataError(
        f"at most {data.max_unreadable:.1%} of the photos may be unreadable, but {len(unreadable)} of {total} "
        f"({len(unreadable) / total:.1%}) in {records.origin} are ({first}). "
        f"Mend or remove them, or raise `max_unreadable` in [data]."
    )


def select_photos(records: Records, packed: PackedImages, sets: tuple[DuplicateSet, ...], data: DataDefinition) -> Selection:
    """Applies, in this order: quarantine, rows that lost a view, small classes, duplicates, splits.

    Args:
        records: of the source.
        sets: duplicates among the packed photos.
    Raises:
        DataError: if a class is too small, or missing in a split.
    """
    readable = records.keep(packed.kept.tolist())
    whole = drop_incomplete_rows(readable, sorted(set(records.views))) if data.views == "pair" else readable
    settled = settle_small_classes(whole, data)
    positions = _positions_in(readable, settled)
    used_sets = _within(sets, positions)
    one_sided = keep_on_one_side(settled, [members.members for members in used_sets], data.split.folds)
    positions = positions[list(one_sided.kept)]
    return Selection(
        records=one_sided.records,
        positions=positions,
        splits=tuple(_moved(splits, positions) for splits in fold_splits(one_sided.records, data.split)),
        omissions=_omissions(settled, one_sided),
        duplicates=_duplicates(settled, used_sets, one_sided),
    )


def report_on(records: Records, packed: PackedImages, selection: Selection, data: DataDefinition, digest: str) -> DataReport:
    """What became of every photo that the source names.

    Args:
        records: of the source.
    """
    # "image file is truncated (35 bytes not processed)": what is told in brackets is no reason of its own.
    unreadable = (Omission(one.photo, one.reason.partition(" (")[0], one.reason) for one in packed.quarantine)
    first = selection.splits[0]
    return DataReport(
        origin=records.origin,
        digest=digest,
        image_size=int(packed.images.shape[1]),
        num_bytes=packed.images.nbytes,
        num_listed=len(records.photos) + len(records.dropped),
        num_kept=len(selection.positions),
        dropped=by_reason(selection.omissions),
        quarantined=by_reason(unreadable),
        regrouped=dict(selection.records.regrouped),
        duplicates=selection.duplicates,
        places=_places(records) if data.places is not None else None,
        num_folds=len(selection.splits),
        splits={name: len(indices) for name, indices in first.items()},
        classes=_class_counts(selection, first),
        values=_value_range(selection.records),
    )


def _positions_in(readable: Records, settled: Records) -> Indices:
    position_of = {photo: position for position, photo in enumerate(readable.photos)}
    return np.array([position_of[photo] for photo in settled.photos], dtype=np.int64)


def _within(sets: tuple[DuplicateSet, ...], positions: Indices) -> list[DuplicateSet]:
    """The sets among the photos at `positions`, told by their places there; what is left of a set must be two photos."""
    place_of = {int(position): place for place, position in enumerate(positions)} if sets else {}
    within = [
        DuplicateSet(tuple(place_of[member] for member in found.members if member in place_of), found.is_exact)
        for found in sets
    ]
    return [found for found in within if len(found.members) > 1]


def _moved(splits: Splits, positions: Indices) -> Splits:
    return Splits(*(positions[indices] for _, indices in splits.items()))


def _omissions(settled: Records, one_sided: OneSided) -> tuple[Omission, ...]:
    before = (Omission(name, reason.value, detail) for name, reason, detail in settled.dropped)
    leaks = (Omission(photo, LEAK, f"its row shows the same as {held_out}") for photo, held_out in one_sided.dropped)
    return (*before, *leaks)


def _duplicates(settled: Records, sets: list[DuplicateSet], one_sided: OneSided) -> DuplicateReport:
    return duplicate_report(
        [tuple(settled.photos[member] for member in found.members) for found in sets],
        sum(found.is_exact for found in sets),
        one_sided.leaks,
        one_sided.contradictions,
    )


def _places(records: Records) -> PlaceReport:
    num_unresolved = sum(dropped.reason is Reason.PLACE_NOT_RESOLVED for dropped in records.dropped)
    return PlaceReport(num_resolved=len(records.photos), num_unresolved=num_unresolved)


def _class_counts(selection: Selection, splits: Splits) -> dict[str, dict[str, int]]:
    records = selection.records
    position_of = {label: position for position, label in enumerate(records.classes)}
    if not position_of:
        return {}
    labels = np.array([position_of[label] for label in records.labels], dtype=np.int64)
    counts = {
        name: np.bincount(labels[np.searchsorted(selection.positions, indices)], minlength=len(position_of))
        for name, indices in splits.items()
    }
    return {label: {name: int(count[position]) for name, count in counts.items()} for label, position in position_of.items()}


def _value_range(records: Records) -> ValueRange | None:
    if not records.values:
        return None
    lowest, median, highest = np.quantile(records.values, (0, 0.5, 1)).tolist()
    return ValueRange(lowest=lowest, median=median, highest=highest)
