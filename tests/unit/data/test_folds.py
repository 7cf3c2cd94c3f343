from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.data.folds import fold_splits
from study.data.records import Records, SplitName
from study.data.splits import split_records
from study.data_definition import SplitDefinition
from study.errors import DataError


def records_of(groups: Sequence[Sequence[str]], splits: Sequence[SplitName] | None = None) -> Records:
    """Records of groups, each told by its photos' labels."""
    labels = tuple(label for group in groups for label in group)
    names = tuple(str(number) for number, group in enumerate(groups) for _ in group)
    no_split: SplitName = ""
    own = tuple(splits or [no_split] * len(labels))
    return Records(tuple(map(str, range(len(labels)))), labels, names, own, tuple(sorted(set(labels))), origin="the test")


untimed = settings(deadline=None)
seeds = st.integers(0, 2**31)
classes = st.sampled_from(["cello", "viola", "violin"])
# Six groups of each class alone, so that it can be dealt to four folds and a test split, and any mixtures beside them.
labelled_groups = st.lists(st.lists(classes, min_size=1, max_size=4), max_size=40).map(
    lambda mixtures: [["cello"]] * 6 + [["viola"]] * 6 + [["violin"]] * 6 + mixtures
)
asked = st.builds(SplitDefinition, folds=st.integers(2, 4), repeats=st.integers(1, 3), seed=seeds, test=st.floats(0.05, 0.2))


@untimed
@given(labelled_groups, asked)
def test_folds_partition_the_photos_outside_the_test_split(groups: list[list[str]], split: SplitDefinition) -> None:
    records = records_of(groups)
    folds = fold_splits(records, split)
    assert len(folds) == split.folds * split.repeats
    for repeat in range(split.repeats):
        of_repeat = folds[repeat * split.folds : (repeat + 1) * split.folds]
        held_out = np.concatenate([*(fold.val for fold in of_repeat), folds[0].test])
        assert sorted(held_out.tolist()) == list(range(len(records.photos)))


@untimed
@given(labelled_groups, asked)
def test_each_fold_is_a_partition_with_one_test_split_for_all(groups: list[list[str]], split: SplitDefinition) -> None:
    records = records_of(groups)
    for fold in fold_splits(records, split):
        together = np.concatenate([indices for _, indices in fold.items()])
        assert sorted(together.tolist()) == list(range(len(records.photos)))
        assert all(indices.dtype == np.int64 and (np.diff(indices) > 0).all() for _, indices in fold.items())
        np.testing.assert_array_equal(fold.test, split_records(records, split).test)


@untimed
@given(labelled_groups, asked)
def test_groups_never_fall_apart_in_any_fold(groups: list[list[str]], split: SplitDefinition) -> None:
    records = records_of(groups)
    for fold in fold_splits(records, split):
        train, val, test = ({records.groups[index] for index in indices} for _, indices in fold.items())
        assert train.isdisjoint(val | test)
        assert val.isdisjoint(test)


@untimed
@given(labelled_groups, asked)
def test_every_fold_shows_every_class_in_training_and_validation(groups: list[list[str]], split: SplitDefinition) -> None:
    records = records_of(groups)
    labels = np.array(records.labels)
    for fold in fold_splits(records, split):
        assert set(labels[fold.train]) == set(labels[fold.val]) == set(records.classes)


@untimed
@given(st.lists(st.integers(6, 30), min_size=2, max_size=5), asked)
def test_folds_are_equal_within_one_group_in_all_and_in_every_class(sizes: list[int], split: SplitDefinition) -> None:
    records = records_of([[f"class{place}"] for place, size in enumerate(sizes) for _ in range(size)])
    labels = np.array(records.labels)
    folds = fold_splits(records, split)[: split.folds]
    assert max(len(fold.val) for fold in folds) - min(len(fold.val) for fold in folds) <= 1
    for label in records.classes:
        numbers = [int((labels[fold.val] == label).sum()) for fold in folds]
        assert max(numbers) - min(numbers) <= 1


def test_one_fold_is_the_split_itself() -> None:
    records = records_of([["cat"]] * 20 + [["dog"]] * 20)
    (only,) = fold_splits(records, SplitDefinition(seed=3))
    for (_, one), (_, other) in zip(only.items(), split_records(records, SplitDefinition(seed=3)).items(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_repeats_and_seeds_deal_anew_and_the_same_seed_deals_the_same() -> None:
    records = records_of([["cat"]] * 30 + [["dog"]] * 30)
    first, again, other = (fold_splits(records, SplitDefinition(folds=3, repeats=2, seed=seed)) for seed in (0, 0, 1))
    as_lists = [[fold.val.tolist() for fold in folds] for folds in (first, again, other)]
    assert as_lists[0] == as_lists[1] != as_lists[2]
    assert as_lists[0][:3] != as_lists[0][3:]


def test_a_first_repeat_does_not_change_with_the_number_of_repeats() -> None:
    records = records_of([["cat"]] * 30 + [["dog"]] * 30)
    one, two = (fold_splits(records, SplitDefinition(folds=3, repeats=repeats)) for repeats in (1, 2))
    assert [fold.val.tolist() for fold in one] == [fold.val.tolist() for fold in two[:3]]


def test_own_test_split_stays_and_the_rest_is_dealt() -> None:
    own: list[SplitName] = ["train", "train", "val", "train", "train", "val", "test", "test"]
    records = records_of([["cat"], ["dog"]] * 4, own)
    folds = fold_splits(records, SplitDefinition(folds=3))
    assert all(fold.test.tolist() == [6, 7] for fold in folds)
    assert sorted(index for fold in folds for index in fold.val) == [0, 1, 2, 3, 4, 5]


def test_own_split_without_a_class_in_validation_can_be_dealt() -> None:
    own: list[SplitName] = ["train", "train", "train", "train", "val"]
    records = records_of([["cat"], ["dog"]] * 2 + [["dog"]], own)
    assert len(fold_splits(records, SplitDefinition(folds=2))) == 2


def test_class_too_small_for_the_folds_is_named() -> None:
    records = records_of([["cat"]] * 20 + [["dog"]] * 4)
    with pytest.raises(DataError, match=r"5 photos or more .* outside the test split.* 'dog' has 3 in the test.*Lower `folds`"):
        fold_splits(records, SplitDefinition(folds=5))


def test_numbers_are_dealt_from_low_to_high() -> None:
    records = replace(records_of([[""]] * 60), values=tuple(map(float, range(60))), classes=())
    for fold in fold_splits(records, SplitDefinition(folds=3, test=0.2)):
        assert Counter(int(index) // 12 for index in fold.val).keys() == {0, 1, 2, 3, 4}
