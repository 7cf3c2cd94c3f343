"""Classes that are too small: an error, left out or called "other", and counted by what is independent."""

from typing import Any

import pytest

from study.data.records import Reason, Records, SplitName
from study.data.small_classes import settle_small_classes
from study.data_definition import DataDefinition
from study.errors import DataError

# Ten photos of each violin's group count once.
NUM_GROUPS = {"violin": 6, "viola": 4, "cello": 2, "gamba": 1}


NO_SPLIT: SplitName = ""


def records_of(num_groups: dict[str, int], photos_a_group: int = 1) -> Records:
    groups = [f"{label}-{number}" for label, count in num_groups.items() for number in range(count)] * photos_a_group
    return Records(
        photos=tuple(f"{place:03d}" for place in range(len(groups))),
        labels=tuple(group.split("-")[0] for group in groups),
        groups=tuple(groups),
        splits=(NO_SPLIT,) * len(groups),
        classes=tuple(sorted(num_groups)),
        origin="the test",
    )


def settled(records: Records, **keys: Any) -> Records:
    return settle_small_classes(records, DataDefinition(folder="x", **keys))


def test_nothing_happens_to_classes_that_are_large_enough() -> None:
    records = records_of(NUM_GROUPS)
    assert settled(records) is records
    assert settled(records, min_class_size=1, small_classes="drop") is records


def test_a_small_class_is_an_error_that_names_it_with_its_size() -> None:
    with pytest.raises(DataError, match=r"3 groups.*`min_class_size`\), but the test has 'gamba' \(1\), 'cello' \(2\)\."):
        settled(records_of(NUM_GROUPS), min_class_size=3)


def test_groups_are_counted_and_not_photos() -> None:
    with pytest.raises(DataError, match=r"'gamba' \(1\)"):
        settled(records_of(NUM_GROUPS, photos_a_group=10), min_class_size=2)


def test_dropped_photos_of_small_classes_are_told_with_their_reason() -> None:
    kept = settled(records_of(NUM_GROUPS, photos_a_group=2), min_class_size=3, small_classes="drop")
    assert kept.classes == ("viola", "violin")
    assert set(kept.labels) == {"viola", "violin"}
    assert len(kept.dropped) == 2 * (2 + 1)
    assert len(kept.photos) == 2 * (6 + 4)
    assert kept.dropped[0] == ("010", Reason.CLASS_TOO_SMALL, "'cello' has 2 of the 3 groups that a class needs")


def test_small_classes_together_become_other_and_that_is_told() -> None:
    records = records_of(NUM_GROUPS)
    kept = settled(records, min_class_size=3, small_classes="other")
    assert kept.photos == records.photos
    assert kept.classes == ("other", "viola", "violin")
    assert kept.labels[-3:] == ("other",) * 3
    assert kept.regrouped == (("cello", 2), ("gamba", 1))


def test_a_small_class_that_is_called_other_takes_the_others_in() -> None:
    kept = settled(records_of(NUM_GROUPS | {"other": 1}), min_class_size=3, small_classes="other")
    assert kept.labels.count("other") == 4
    assert kept.regrouped == (("cello", 2), ("gamba", 1))


def test_other_that_is_still_too_small_is_an_error() -> None:
    with pytest.raises(DataError, match=r"'gamba' \(1\), 'cello' \(2\) in the test have 3 together, too few for 'other'"):
        settled(records_of(NUM_GROUPS), min_class_size=4, small_classes="other")


@pytest.mark.parametrize("small_classes", ["drop", "other"])
def test_a_single_class_left_is_an_error(small_classes: str) -> None:
    with pytest.raises(DataError, match=r"2 classes or more, but the test has 1 of at least 2"):
        settled(
            records_of({"violin": 5, "cello": 1} if small_classes == "drop" else {"a": 1, "b": 1}),
            min_class_size=2,
            small_classes=small_classes,
        )


def test_a_class_that_lost_its_last_photo_is_still_missed() -> None:
    records = records_of(NUM_GROUPS).keep(range(12))  # all but gamba's one
    with pytest.raises(DataError, match=r"'gamba' \(0\)"):
        settled(records)
    assert settled(records, small_classes="drop", min_class_size=2).classes == ("cello", "viola", "violin")


def test_numbers_have_no_classes() -> None:
    records = Records(("a",), ("",), ("a",), ("",), (), "the test", values=(1.0,))
    assert settle_small_classes(records, DataDefinition(folder="x")) is records


def test_kept_records_are_a_subset_in_the_order_asked_for() -> None:
    records = Records(
        ("a", "b", "c"), ("x", "y", "x"), ("g", "g", "h"), ("", "", ""), ("x", "y"), "the test", views=("f", "b", "f")
    )
    kept = records.keep([2, 0])
    assert (kept.photos, kept.labels, kept.groups, kept.views, kept.rows) == (
        ("c", "a"),
        ("x", "x"),
        ("h", "g"),
        ("f", "f"),
        (2, 0),
    )
    assert kept.classes == ("x", "y")
    assert kept.values is None
    assert records.keep([]).photos == records.keep([]).views == ()
