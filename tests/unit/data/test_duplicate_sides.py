from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from study.data.duplicate_sides import keep_on_one_side
from study.data.folds import fold_splits
from study.data.records import Records, SplitName
from study.data_definition import SplitDefinition

untimed = settings(deadline=None)


def records_of(labels: Sequence[str], splits: Sequence[SplitName] | None = None, rows: Sequence[int] = ()) -> Records:
    photos = tuple(f"photo-{place}" for place in range(len(labels)))
    no_split: SplitName = ""
    own = tuple(splits or [no_split] * len(labels))
    return Records(photos, tuple(labels), photos, own, tuple(sorted(set(labels))), origin="the test", rows=tuple(rows))


@untimed
@given(
    st.lists(st.sets(st.integers(0, 59), min_size=2, max_size=4), max_size=8),
    st.sampled_from([1, 3]),
    st.integers(0, 2**31),
)
def test_duplicates_never_fall_into_two_splits_of_any_fold(sets: list[set[int]], folds: int, seed: int) -> None:
    members = [tuple(sorted(found)) for found in sets]
    records = records_of(["cat", "dog"] * 30)
    assert Counter(records.groups).most_common(1)[0][1] == 1
    one_sided = keep_on_one_side(records, members)
    assert one_sided.records.photos == records.photos
    for splits in fold_splits(one_sided.records, SplitDefinition(folds=folds, seed=seed)):
        side_of = {int(index): name for name, indices in splits.items() for index in indices}
        assert all(len({side_of[index] for index in found}) == 1 for found in members)


def test_groups_that_share_a_duplicate_become_one() -> None:
    records = replace(records_of(["a"] * 6), groups=("x", "x", "y", "y", "z", "w"))
    groups = keep_on_one_side(records, [(1, 2), (3, 4)]).records.groups
    assert groups == ("x", "x", "x", "x", "x", "w")


def test_a_training_copy_of_a_held_out_photo_is_dropped_and_told() -> None:
    records = records_of(["a"] * 5, ["train", "val", "train", "test", "train"])
    one_sided = keep_on_one_side(records, [(0, 1), (2, 4)])
    assert one_sided.kept == (1, 2, 3, 4)
    assert one_sided.records.photos == ("photo-1", "photo-2", "photo-3", "photo-4")
    assert one_sided.dropped == (("photo-0", "photo-1"),)
    assert one_sided.leaks == (("photo-0", "photo-1"),)


def test_the_other_training_photos_of_its_row_go_with_it() -> None:
    records = records_of(["a"] * 5, ["train", "train", "test", "train", "test"], rows=(0, 0, 1, 2, 0))
    one_sided = keep_on_one_side(records, [(1, 2)])
    assert one_sided.dropped == (("photo-0", "photo-2"), ("photo-1", "photo-2"))
    assert one_sided.kept == (2, 3, 4)


def test_a_validation_copy_of_a_test_photo_is_dropped_and_told() -> None:
    """The validation chooses the recipe and the epoch: on photos of the test, it would choose for them."""
    one_sided = keep_on_one_side(records_of(["a"] * 4, ["train", "val", "test", "val"]), [(1, 2)])
    assert one_sided.kept == (0, 2, 3)
    assert one_sided.dropped == (("photo-1", "photo-2"),)
    assert one_sided.leaks == (("photo-1", "photo-2"),)


def test_what_all_three_parts_share_stays_in_the_test_alone() -> None:
    one_sided = keep_on_one_side(records_of(["a"] * 5, ["train", "val", "test", "train", "val"]), [(0, 1, 2)])
    assert one_sided.kept == (2, 3, 4)
    assert one_sided.dropped == (("photo-0", "photo-2"), ("photo-1", "photo-2"))


def test_with_folds_a_validation_copy_of_a_test_photo_is_dropped_and_told() -> None:
    """Outside its own fold it would be trained on."""
    one_sided = keep_on_one_side(records_of(["a"] * 3, ["train", "val", "test"]), [(1, 2)], folds=3)
    assert one_sided.kept == (0, 2)
    assert one_sided.dropped == (("photo-1", "photo-2"),)
    assert one_sided.leaks == (("photo-1", "photo-2"),)


def test_with_folds_what_training_and_validation_share_stays_in_one_group() -> None:
    one_sided = keep_on_one_side(records_of(["a"] * 3, ["train", "val", "test"]), [(0, 1)], folds=3)
    assert one_sided.kept == (0, 1, 2)
    assert len(set(one_sided.records.groups[:2])) == 1


own_parts: st.SearchStrategy[list[SplitName]] = st.permutations(["train", "val", "test"] * 20)


@untimed
@given(own_parts, st.permutations(range(60)), st.lists(st.integers(2, 4), max_size=8))
def test_the_parts_of_the_sources_own_split_share_nothing(own: list[SplitName], order: list[int], sizes: list[int]) -> None:
    ends = np.cumsum([0, *sizes])
    sets = [tuple(sorted(order[start:end])) for start, end in pairwise(ends)]
    records = keep_on_one_side(records_of(["cat"] * 60, own), sets).records
    group_in = {
        part: {group for group, found in zip(records.groups, records.splits, strict=True) if found == part} for part in own
    }
    assert all(group_in[one].isdisjoint(group_in[other]) for one, other in combinations(sorted(group_in), 2))


@untimed
@given(own_parts, st.permutations(range(60)), st.lists(st.integers(2, 4), max_size=8), st.integers(1, 3), st.integers(0, 2**31))
def test_no_fold_trains_on_what_its_test_or_validation_shows(
    own: list[SplitName], order: list[int], sizes: list[int], repeats: int, seed: int
) -> None:
    ends = np.cumsum([0, *sizes])
    sets = [tuple(sorted(order[start:end])) for start, end in pairwise(ends)]  # a photo is in one set at most
    records = keep_on_one_side(records_of(["cat"] * 60, own), sets, folds=3).records
    for splits in fold_splits(records, SplitDefinition(folds=3, repeats=repeats, seed=seed)):
        train, val, test = ({records.groups[index] for index in indices} for _, indices in splits.items())
        assert train.isdisjoint(val | test)
        assert val.isdisjoint(test)


def test_duplicates_with_different_labels_contradict_each_other() -> None:
    one_sided = keep_on_one_side(records_of(["a", "b", "b", "b"]), [(0, 1), (2, 3)])
    assert one_sided.contradictions == (("photo-0", "photo-1"),)
    assert one_sided.leaks == ()


def test_duplicates_with_different_numbers_contradict_each_other() -> None:
    records = replace(records_of([""] * 4), values=(1.0, 2.0, 3.0, 3.0), classes=())
    assert keep_on_one_side(records, [(0, 1), (2, 3)]).contradictions == (("photo-0", "photo-1"),)
