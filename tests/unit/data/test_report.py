"""What became of every photo: quarantine, rows that lost a view, small classes, leaks; and that nothing is lost silently."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.data.duplicate_sides import LEAK
from study.data.duplicates import DuplicateSet
from study.data.packed import PackedImages, Quarantined
from study.data.records import Dropped, Reason, Records, SplitName
from study.data.report import MOST_EXAMPLES, DataReport, Omission, by_reason
from study.data.selection import check_readable, report_on, select_photos
from study.data_definition import DataDefinition, PlacesDefinition
from study.errors import DataError

DATA = DataDefinition(generated="instruments")


def records_of(labels: Sequence[str], splits: Sequence[SplitName] | None = None) -> Records:
    photos = tuple(f"photo-{place}" for place in range(len(labels)))
    no_split: SplitName = ""
    own = tuple(splits or [no_split] * len(labels))
    return Records(photos, tuple(labels), photos, own, tuple(sorted(set(labels))), origin="the test")


def packed_without(records: Records, unreadable: Sequence[int]) -> PackedImages:
    kept = np.array([place for place in range(len(records.photos)) if place not in unreadable], dtype=np.int64)
    images = np.zeros((len(kept), 2, 2, 3), dtype=np.uint8)
    quarantine = tuple(Quarantined(records.photos[place], "it is damaged") for place in sorted(unreadable))
    return PackedImages(Path("unused.npy"), "digest", images, kept, quarantine)


def reported(
    records: Records, unreadable: Sequence[int] = (), sets: Sequence[DuplicateSet] = (), data: DataDefinition = DATA
) -> DataReport:
    packed = packed_without(records, unreadable)
    return report_on(records, packed, select_photos(records, packed, tuple(sets), data), data, "digest")


def is_complete(report: DataReport) -> bool:
    left_out = [*report.dropped.values(), *report.quarantined.values()]
    return report.num_listed == report.num_kept + sum(reason.num_photos for reason in left_out)


@settings(deadline=None)
@given(
    st.sets(st.integers(0, 79), max_size=10),
    st.lists(st.sets(st.integers(0, 69), min_size=2, max_size=3), max_size=5),
    st.booleans(),
    st.integers(0, 5),
)
def test_every_photo_that_is_listed_is_accounted_for(
    unreadable: set[int], sets: list[set[int]], has_own_split: bool, num_dropped: int
) -> None:
    own: list[SplitName] = ["train", "train", "train", "train", "val", "val", "test", "test"] * 10
    dropped = [Dropped(f"row {row}", Reason.TARGET_MISSING, "") for row in range(num_dropped)]
    records = records_of(["cat", "dog"] * 40, own if has_own_split else None).with_dropped(dropped)
    found = [DuplicateSet(tuple(sorted(members)), is_exact=False) for members in sets]
    report = reported(records, sorted(unreadable), found)
    assert report.num_listed == 80 + num_dropped
    assert is_complete(report)
    assert sum(report.splits.values()) == report.num_kept
    assert sum(sum(counts.values()) for counts in report.classes.values()) == report.num_kept


def test_unreadable_photos_are_in_quarantine_with_their_reason() -> None:
    report = reported(records_of(["cat", "dog"] * 20), [3, 7])
    assert report.quarantined["it is damaged"].num_photos == 2
    assert [example.photo for example in report.quarantined["it is damaged"].examples] == ["photo-3", "photo-7"]
    assert report.num_kept == 38


def test_unreadable_photos_are_counted_by_the_reason_without_its_figures() -> None:
    records = records_of(["cat", "dog"] * 20)
    packed = packed_without(records, [3, 7])
    quarantine = tuple(Quarantined(f"photo-{place}", f"it is cut off ({place} bytes are missing)") for place in (3, 7))
    packed = replace(packed, quarantine=quarantine)
    report = report_on(records, packed, select_photos(records, packed, (), DATA), DATA, "digest")
    assert report.quarantined.keys() == {"it is cut off"}
    assert report.quarantined["it is cut off"].examples[1].detail == "it is cut off (7 bytes are missing)"


def test_splits_count_packed_photos() -> None:
    records = records_of(["cat", "dog"] * 20)
    packed = packed_without(records, [0, 1])
    selection = select_photos(records, packed, (), DATA)
    together = np.concatenate([indices for _, indices in selection.splits[0].items()])
    assert sorted(together.tolist()) == list(range(38))


def test_a_photo_that_loses_its_partner_is_dropped_with_the_view_that_it_lacks() -> None:
    photos = 48
    records = replace(
        records_of([label for label in ("cat", "dog") * 12 for _ in range(2)]),
        views=("front", "back") * (photos // 2),
        rows=tuple(place // 2 for place in range(photos)),
        groups=tuple(str(place // 2) for place in range(photos)),
    )
    report = reported(records, [5], data=DataDefinition(generated="instruments", views="pair"))
    (example,) = report.dropped[Reason.VIEW_MISSING].examples
    assert (example.photo, example.detail) == ("photo-4", "row 2 has no usable photo of back")
    assert is_complete(report)


def test_a_class_that_quarantine_made_too_small_is_settled_as_the_definition_says() -> None:
    records = records_of(["cat"] * 12 + ["dog"] * 12 + ["emu"] * 3)
    data = DataDefinition(generated="instruments", min_class_size=3, small_classes="drop")
    packed = packed_without(records, [26])
    selection = select_photos(records, packed, (), data)
    report = report_on(records, packed, selection, data, "digest")
    assert set(report.classes) == {"cat", "dog"}
    assert report.dropped[Reason.CLASS_TOO_SMALL].num_photos == 2
    assert max(selection.positions) == 23
    assert is_complete(report)


def test_leaks_are_counted_told_and_dropped_from_training_and_validation() -> None:
    own: list[SplitName] = ["train", "train", "train", "train", "val", "val", "val", "val", "test", "test", "test", "test"]
    report = reported(records_of(["cat", "dog"] * 6, own), sets=[DuplicateSet((0, 4), True), DuplicateSet((6, 9), False)])
    assert report.dropped[LEAK].num_photos == 2
    told = [(example.photo, example.detail) for example in report.dropped[LEAK].examples]
    assert told == [("photo-0", "its row shows the same as photo-4"), ("photo-6", "its row shows the same as photo-9")]
    found = report.duplicates
    assert (found.num_sets, found.num_exact_sets, found.num_photos, found.num_leaks) == (2, 1, 4, 2)
    assert (found.num_contradictions, found.contradictions) == (1, (("photo-6", "photo-9"),))
    assert is_complete(report)


@pytest.mark.parametrize("is_number", [False, True])
def test_a_part_whose_photos_are_all_copies_of_held_out_ones_is_told_as_that(is_number: bool) -> None:
    """Somebody's validation folder may be a copy of the test folder."""
    parts: tuple[SplitName, ...] = ("train", "val", "test")
    records = records_of(["cat", "cat", "dog", "dog"] * 3, [part for part in parts for _ in range(4)])
    if is_number:
        records = replace(records, labels=("",) * 12, classes=(), values=tuple(map(float, range(12))))
    copied = range(4, 8) if is_number else (4, 5)
    told = "the 4 photos of val" if is_number else "the 2 photos of val that show 'cat'"
    with pytest.raises(DataError, match=rf"but {told} in the test are all copies .*photo-4 = photo-8.*\. Put others there"):
        reported(records, sets=[DuplicateSet((place, place + 4), True) for place in copied])


def test_sets_that_are_left_with_one_photo_are_none() -> None:
    records = records_of(["cat"] * 12 + ["dog"] * 12 + ["emu"])
    data = DataDefinition(generated="instruments", min_class_size=3, small_classes="drop")
    assert reported(records, sets=[DuplicateSet((0, 24), True)], data=data).duplicates.num_sets == 0


def test_places_are_counted_where_they_are_asked_for() -> None:
    dropped = [Dropped("photo-x", Reason.PLACE_NOT_RESOLVED, "Atlantis"), Dropped("photo-y", Reason.FILE_MISSING, "")]
    records = records_of(["Italy", "France"] * 10).with_dropped(dropped)
    places = PlacesDefinition(columns=("city",))
    data = DataDefinition(table="makers.csv", images=("photo",), target="country", places=places)
    report = reported(records, data=data)
    assert report.places is not None
    assert (report.places.num_resolved, report.places.num_unresolved) == (20, 1)
    assert reported(records).places is None


def test_numbers_are_reported_by_their_range() -> None:
    records = replace(records_of([""] * 21), values=tuple(map(float, range(21))), classes=())
    report = reported(records)
    assert report.classes == {}
    assert report.values is not None
    assert (report.values.lowest, report.values.median, report.values.highest) == (0, 10, 20)


def test_reasons_are_counted_in_full_and_shown_by_their_first_photos() -> None:
    omissions = [Omission(f"photo-{place}", "file missing", "") for place in range(50)]
    (left_out,) = by_reason(omissions).values()
    assert left_out.num_photos == 50
    assert len(left_out.examples) == MOST_EXAMPLES


def test_a_report_survives_json() -> None:
    report = reported(records_of(["cat", "dog"] * 20), [3, 7], [DuplicateSet((0, 4), True)])
    assert DataReport.model_validate_json(report.model_dump_json()) == report


def test_as_many_unreadable_photos_as_the_definition_puts_up_with_are_no_error() -> None:
    records = records_of(["cat", "dog"] * 20)
    check_readable(packed_without(records, [0, 1]), records, DATA)


def test_more_unreadable_photos_than_that_are_an_error_that_names_the_first() -> None:
    records = records_of(["cat", "dog"] * 20)
    with pytest.raises(
        DataError, match=r"at most 5.0% .* 3 of 40 \(7.5%\) in the test are \(photo-0: it is damaged; .*\)\. Mend"
    ):
        check_readable(packed_without(records, [0, 1, 2]), records, DATA)
