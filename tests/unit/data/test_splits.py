from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.data.records import Records, SplitName
from study.data.sources import InstrumentSource, Target
from study.data.splits import Splits, split_records
from study.data_definition import SplitDefinition
from study.errors import DataError


def records_of(groups: Sequence[Sequence[str]], splits: Sequence[SplitName] | None = None) -> Records:
    """Records of groups, each told by its photos' labels."""
    labels = tuple(label for group in groups for label in group)
    photos = tuple(f"{number:04d}" for number in range(len(labels)))
    names = tuple(str(number) for number, group in enumerate(groups) for _ in group)
    no_split: SplitName = ""
    own = tuple(splits or [no_split] * len(labels))
    return Records(photos, labels, names, own, classes=tuple(sorted(set(labels))), origin="the test")


def single(num_of: dict[str, int]) -> list[list[str]]:
    return [[label] for label, number in num_of.items() for _ in range(number)]


def labels_in(records: Records, indices: np.ndarray) -> Counter[str]:
    return Counter(np.array(records.labels)[indices].tolist())


untimed = settings(deadline=None)  # a busy machine is no failure
shares = st.tuples(st.floats(0.05, 0.4), st.floats(0.05, 0.4))
seeds = st.integers(0, 2**31)
views = st.sampled_from(["front", "back", "side"])
# Three groups of each class alone, so that it can be cut, and any mixtures beside them.
labelled_groups = st.lists(st.lists(views, min_size=1, max_size=4), max_size=70).map(
    lambda mixtures: [*single({"front": 3, "back": 3, "side": 3}), *mixtures]
)


def cut(groups: Sequence[Sequence[str]], asked: tuple[float, float], seed: int) -> tuple[Records, Splits]:
    records = records_of(groups)
    return records, split_records(records, SplitDefinition(validation=asked[0], test=asked[1], seed=seed))


@untimed
@given(labelled_groups, shares, seeds)
def test_splits_partition_the_photos(groups: list[list[str]], asked: tuple[float, float], seed: int) -> None:
    records, splits = cut(groups, asked, seed)
    together = np.concatenate([indices for _, indices in splits.items()])
    assert sorted(together.tolist()) == list(range(len(records.photos)))
    assert all(indices.dtype == np.int64 and (np.diff(indices) > 0).all() for _, indices in splits.items())


@untimed
@given(labelled_groups, shares, seeds)
def test_groups_never_fall_into_two_splits(groups: list[list[str]], asked: tuple[float, float], seed: int) -> None:
    records, splits = cut(groups, asked, seed)
    splits_of: dict[str, set[str]] = defaultdict(set)
    for name, indices in splits.items():
        for index in indices:
            splits_of[records.groups[index]].add(name)
    assert all(len(names) == 1 for names in splits_of.values())


@untimed
@given(labelled_groups, shares, seeds)
def test_every_split_shows_every_class(groups: list[list[str]], asked: tuple[float, float], seed: int) -> None:
    records, splits = cut(groups, asked, seed)
    assert all(set(labels_in(records, indices)) == set(records.classes) for _, indices in splits.items())


@untimed
@given(st.lists(st.integers(3, 40), min_size=2, max_size=6), shares, seeds)
def test_shares_hold_within_one_group_in_every_class(sizes: list[int], asked: tuple[float, float], seed: int) -> None:
    records, splits = cut(single({f"class{place}": size for place, size in enumerate(sizes)}), asked, seed)
    taken = {name: labels_in(records, indices) for name, indices in splits.items()}
    for place, size in enumerate(sizes):
        label = f"class{place}"
        for name, share in zip(("val", "test"), asked, strict=True):
            number = taken[name][label]
            # One group is the least that a split can get, and the least that it must leave for training.
            assert abs(number - share * size) <= 1 or number == 1 or taken["train"][label] == 1


@untimed
@given(st.integers(10, 40), st.integers(0, 100))
def test_rounding_does_not_add_up_over_classes(num_classes: int, seed: int) -> None:
    groups = single({f"class{place:02d}": 10 for place in range(num_classes)})
    _, splits = cut(groups, (0.15, 0.25), seed)  # 1.5 and 2.5 a class
    assert abs(len(splits.val) - 1.5 * num_classes) <= 1
    assert abs(len(splits.test) - 2.5 * num_classes) <= 1


@untimed
@given(labelled_groups, seeds)
def test_same_seed_gives_the_same_split(groups: list[list[str]], seed: int) -> None:
    _, first = cut(groups, (0.2, 0.2), seed)
    _, second = cut(groups, (0.2, 0.2), seed)
    assert all(np.array_equal(one, other) for (_, one), (_, other) in zip(first.items(), second.items(), strict=True))


def test_another_seed_gives_another_split() -> None:
    records = records_of(single({"cat": 50, "dog": 50}))
    first, second = (split_records(records, SplitDefinition(seed=seed)) for seed in (0, 1))
    assert not np.array_equal(first.val, second.val)


def test_own_split_is_used_as_it_is() -> None:
    own: list[SplitName] = ["val", "train", "train", "val", "test", "test"]
    splits = split_records(records_of([["a"], ["b"], ["a"], ["b"], ["a"], ["b"]], own), SplitDefinition())
    assert [indices.tolist() for _, indices in splits.items()] == [[1, 2], [0, 3], [4, 5]]


def test_own_split_may_have_no_test() -> None:
    splits = split_records(records_of([["a"], ["b"], ["a"], ["b"]], ["train", "train", "val", "val"]), SplitDefinition())
    assert splits.test.tolist() == []
    assert splits.test.dtype == np.int64


@pytest.mark.parametrize(
    ("groups", "own", "missing"),
    [
        (["a", "b", "a", "b", "c"], ["train", "train", "val", "val", "test"], "'c' has none in train"),
        (["a", "b", "a", "b", "c"], ["train", "train", "val", "val", "val"], "'c' has none in train"),
        (["a", "b", "a"], ["train", "train", "val"], "'b' has none in val"),
        (["a", "b", "a", "b", "a"], ["train", "train", "val", "val", "test"], "'b' has none in test"),
    ],
)
def test_class_that_an_own_split_lacks_is_an_error_that_names_it(groups: list[str], own: list[SplitName], missing: str) -> None:
    with pytest.raises(DataError, match=rf"{missing} of the test\. Move some of its photos there"):
        split_records(records_of([[label] for label in groups], own), SplitDefinition())


def test_class_too_small_to_be_cut_is_named_with_its_count() -> None:
    with pytest.raises(DataError, match=r"3 photos or more .* 'dog' has 1 in the test \(and so for 1 more\)\. Add photos"):
        split_records(records_of(single({"ant": 2, "cat": 9, "dog": 1})), SplitDefinition())


def test_photos_of_one_group_do_not_make_a_class_large_enough() -> None:
    with pytest.raises(DataError, match="'dog' has 2"):
        split_records(records_of([["dog"] * 9, ["dog"] * 9, *single({"cat": 9})]), SplitDefinition())


def test_smallest_class_is_in_every_split() -> None:
    records = records_of(single({"cat": 200, "dog": 3}))
    splits = split_records(records, SplitDefinition(validation=0.05, test=0.05))
    assert [labels_in(records, indices)["dog"] for _, indices in splits.items()] == [1, 1, 1]


def test_classes_that_only_share_groups_are_shuffled_until_each_split_shows_them() -> None:
    pairs = [["front", "back"], ["back", "side"], ["side", "front"]]
    for seed in range(20):
        records = records_of(pairs * 2)
        splits = split_records(records, SplitDefinition(validation=0.34, test=0.34, seed=seed))
        assert all(set(labels_in(records, indices)) == set(records.classes) for _, indices in splits.items())


def test_rare_mixtures_of_classes_are_cut_together() -> None:
    rare = [["front"], ["back"], ["front", "side"], ["back", "side"], ["side"]]
    records = records_of([*[["front", "back", "side"]] * 20, *rare])
    splits = split_records(records, SplitDefinition(validation=0.2, test=0.2))
    assert len({records.groups[index] for index in splits.val}) == 5
    assert len({records.groups[index] for index in splits.test}) == 5


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("target", ["type", "country", "view"])
def test_instruments_are_split_by_instrument_for_every_target(target: Target, seed: int) -> None:
    records = InstrumentSource(60, target, seed, 32).records
    splits = split_records(records, SplitDefinition(seed=seed))
    train, val, test = ({records.groups[index] for index in indices} for _, indices in splits.items())
    assert train.isdisjoint(val | test)
    assert val.isdisjoint(test)


@untimed
@given(st.lists(st.floats(-5, 5), min_size=3, max_size=60), st.tuples(st.floats(0.05, 0.3), st.floats(0.05, 0.3)), seeds)
def test_numbers_are_cut_within_one_group_of_the_request(numbers: list[float], asked: tuple[float, float], seed: int) -> None:
    records = replace(records_of([[""]] * len(numbers)), values=tuple(numbers), classes=())
    splits = split_records(records, SplitDefinition(validation=asked[0], test=asked[1], seed=seed))
    for indices, share in ((splits.val, asked[0]), (splits.test, asked[1])):
        assert abs(len(indices) - share * len(numbers)) <= 1


def test_splits_of_numbers_reach_from_low_to_high() -> None:
    records = replace(records_of([[""]] * 100), values=tuple(map(float, range(100))), classes=())
    for _, indices in split_records(records, SplitDefinition(validation=0.2, test=0.2)).items():
        assert {index // 20 for index in indices} == {0, 1, 2, 3, 4}


def test_two_numbers_cannot_be_cut() -> None:
    records = replace(records_of([[""]] * 2), values=(1.0, 2.0), classes=())
    with pytest.raises(DataError, match="3 photos or more"):
        split_records(records, SplitDefinition())
