"""Which photos are for training, for validation (what the search sees) and for the final test."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from study.data.records import Records
from study.data_definition import SplitDefinition
from study.errors import DataError

Indices = npt.NDArray[np.int64]
Groups = list[Indices]

# One for each split.
SMALLEST_STRATUM = 3
# Where classes share groups, a shuffle may leave a split without a class that has few: so it was with 11 % of 4,000 small
# collections of mixed groups at the first shuffle, with 0.4 % after 100. Where each group has one class, the first one serves.
MOST_SHUFFLES = 100
# Photos whose target is a number are cut as if these were classes: the lowest fifth of the groups, the next, …
MOST_VALUE_CLASSES = 5


@dataclass(frozen=True, eq=False)
class Splits:
    """Positions of the photos of each split: int64, ascending, disjoint. `test` may be empty."""

    train: Indices
    val: Indices
    test: Indices

    def items(self) -> tuple[tuple[str, Indices], ...]:
        """Name and indices, in the order train, val, test."""
        return (("train", self.train), ("val", self.val), ("test", self.test))


def split_records(records: Records, split: SplitDefinition) -> Splits:
    """The source's own split, or else one that is cut here: by group, stratified by class, the same for the same seed.

    In each stratum (the groups whose photos show the same set of classes) validation and test get their share of the groups,
    within one group and at least one. Together the splits hold all photos.

    Raises:
        DataError: if a class has no photo in one of the splits, or too few groups to be cut.
    """
    if records.has_own_split:
        splits = own_split(records)
    else:
        # So that each value class has a group to give to the smaller split.
        records = with_value_classes(records, max(SMALLEST_STRATUM, math.ceil(1 / min(split.validation, split.test))))
        _check_every_class_can_be_cut(records)
        splits = _first_complete_cut(records, split)
    check_complete(records, splits)
    return splits


def own_split(records: Records) -> Splits:
    """The split that the source brings."""
    names = np.array(records.splits)
    return Splits(*(np.flatnonzero(names == name).astype(np.int64) for name in ("train", "val", "test")))


def check_complete(records: Records, splits: Splits, where: str = "") -> None:
    """Checks that training and validation show every class, and the test too, if there is one.

    Args:
        where: what a message adds to a split's name, as " of fold 2".
    Raises:
        DataError: naming the class and the split that lacks it.
    """
    for name, classes in missing_classes(records, splits).items():
        raise DataError(
            f"every class must have a photo in every split, but {classes[0]!r} has none in {name}{where} of "
            f"{records.origin}{and_more(classes)}. {_remedy(records)}"
        )


def with_value_classes(records: Records, smallest: int) -> Records:
    """Records whose target is a number, with up to five classes of equally many groups, from low to high; others unchanged.

    Args:
        smallest: how many groups a class needs at least, so that it can be cut; fewer classes are made where there are few.
    """
    if records.values is None:
        return records
    members = members_of(records)
    values = np.array(records.values)
    order = np.argsort([values[indices].mean() for indices in members], kind="stable")
    number = min(max(len(members) // (2 * smallest), 1), MOST_VALUE_CLASSES)
    labels = [""] * len(values)
    for rank, place in enumerate(order):
        for index in members[place]:
            labels[index] = f"values, part {rank * number // len(members) + 1} of {number}"
    return replace(records, labels=tuple(labels), classes=tuple(sorted(set(labels))))


def _first_complete_cut(records: Records, split: SplitDefinition) -> Splits:
    generator = np.random.default_rng(split.seed)
    for _ in range(MOST_SHUFFLES):
        splits = _cut(records, split, generator)
        if not missing_classes(records, splits):
            break
    return splits


def _cut(records: Records, split: SplitDefinition, generator: np.random.Generator) -> Splits:
    parts: dict[str, list[Indices]] = {"train": [], "val": [], "test": []}
    carry_val = carry_test = 0.0
    for groups in _cuttable_strata(records):
        shuffled = [groups[place] for place in generator.permutation(len(groups))]
        num_val, carry_val = _share_of(len(groups), split.validation, carry_val)
        num_test, carry_test = _share_of(len(groups), split.test, carry_test)
        while num_val + num_test > len(groups) - 1:  # training needs a group, too
            num_val, num_test = (num_val - 1, num_test) if num_val >= num_test else (num_val, num_test - 1)
        parts["val"] += shuffled[:num_val]
        parts["test"] += shuffled[num_val : num_val + num_test]
        parts["train"] += shuffled[num_val + num_test :]
    return Splits(**{name: np.sort(np.concatenate(groups)) for name, groups in parts.items()})


def _share_of(num_groups: int, share: float, carry: float) -> tuple[int, float]:
    """How many groups of a stratum a split gets, and what the next stratum owes it.

    Carrying the rounding on keeps the total within one group, too: ten classes of 10 photos at 0.15 give 15, not 20.
    """
    wanted = num_groups * share + carry
    taken = max(1, round(wanted))
    return taken, min(max(wanted - taken, -0.5), 0.5)


def strata_of(records: Records) -> list[Groups]:
    """Groups by the set of classes that they show, in a fixed order."""
    strata: dict[tuple[str, ...], Groups] = defaultdict(list)
    for indices in members_of(records):
        strata[tuple(sorted({records.labels[index] for index in indices}))].append(indices)
    return [strata[classes] for classes in sorted(strata)]


def _cuttable_strata(records: Records) -> list[Groups]:
    """Strata of fewer than 3 groups cannot be cut: together they make one, which joins the largest if it is still too small."""
    strata = strata_of(records)
    large = [groups for groups in strata if len(groups) >= SMALLEST_STRATUM]
    rest = [group for groups in strata if len(groups) < SMALLEST_STRATUM for group in groups]
    if rest and len(rest) < SMALLEST_STRATUM and large:
        largest = max(large, key=len)
        return [groups + rest if groups is largest else groups for groups in large]
    return [*large, rest] if rest else large


def members_of(records: Records) -> Groups:
    """The photos of each group, groups in the order of their first photo."""
    members: dict[str, list[int]] = defaultdict(list)
    for index, group in enumerate(records.groups):
        members[group].append(index)
    return [np.array(indices, dtype=np.int64) for indices in members.values()]


def _check_every_class_can_be_cut(records: Records) -> None:
    groups_of = Counter(label for _, label in set(zip(records.groups, records.labels, strict=True)))
    small = sorted((label for label in records.classes if groups_of[label] < SMALLEST_STRATUM), key=groups_of.__getitem__)
    if small:
        raise DataError(
            f"a class must have {SMALLEST_STRATUM} photos or more that are independent of each other, one each for train, "
            f"validation and test, but {small[0]!r} has {groups_of[small[0]]} in {records.origin}{and_more(small)}. "
            f'Add photos of it, or set min_class_size = {SMALLEST_STRATUM} and small_classes = "drop" or "other" in [data].'
        )


def missing_classes(records: Records, splits: Splits) -> dict[str, list[str]]:
    """Splits that lack a class, and which: without it they have no recall to show, and training nothing to learn it from.

    An empty test split lacks nothing: a source may bring none.
    """
    labels = np.array(records.labels)
    missing = {
        name: sorted(set(records.classes) - set(labels[indices].tolist()))
        for name, indices in splits.items()
        if len(indices) or name != "test"
    }
    return {name: classes for name, classes in missing.items() if classes}


def _remedy(records: Records) -> str:
    if records.has_own_split:
        return "Move some of its photos there, or remove the class from the other splits."
    return "Raise that split's share or change the seed in [data.split], or add photos."


def and_more(names: Sequence[str]) -> str:
    """How many are not named, for the end of a message that names the first."""
    return f" (and so for {len(names) - 1} more)" if len(names) > 1 else ""
