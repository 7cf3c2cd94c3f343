"""Which photos are for training, for validation (what the search sees) and for the final test."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from study.data.sources import Records
from study.definition import SplitDefinition
from study.errors import DataError

Indices = npt.NDArray[np.int64]
Groups = list[Indices]

# One for each split.
SMALLEST_STRATUM = 3
# Where classes share groups, a shuffle may leave a split without a class that has few: so it was with 11 % of 4,000 small
# collections of mixed groups at the first shuffle, with 0.4 % after 100. Where each group has one class, the first one serves.
MOST_SHUFFLES = 100


@dataclass(frozen=True, eq=False)
class Splits:
    """Positions of the photos of each split: int64, ascending, disjoint, together all photos. `test` may be empty."""

    train: Indices
    val: Indices
    test: Indices

    def items(self) -> tuple[tuple[str, Indices], ...]:
        """Name and indices, in the order train, val, test."""
        return (("train", self.train), ("val", self.val), ("test", self.test))


def split_records(records: Records, split: SplitDefinition) -> Splits:
    """The source's own split, or else one that is cut here: by group, stratified by class, the same for the same seed.

    In each stratum (the groups whose photos show the same set of classes) validation and test get their share of the groups,
    within one group and at least one.

    Raises:
        DataError: if a class has no photo in one of the splits, or too few groups to be cut.
    """
    if records.has_own_split:
        splits = _own_split(records)
    else:
        _check_every_class_can_be_cut(records)
        splits = _first_complete_cut(records, split)
    for name, classes in _missing_classes(records, splits).items():
        raise DataError(
            f"every class must have a photo in every split, but {classes[0]!r} has none in {name} of "
            f"{records.origin}{_and_more(classes)}. {_remedy(records)}"
        )
    return splits


def _own_split(records: Records) -> Splits:
    names = np.array(records.splits)
    return Splits(*(np.flatnonzero(names == name).astype(np.int64) for name in ("train", "val", "test")))


def _first_complete_cut(records: Records, split: SplitDefinition) -> Splits:
    generator = np.random.default_rng(split.seed)
    for _ in range(MOST_SHUFFLES):
        splits = _cut(records, split, generator)
        if not _missing_classes(records, splits):
            break
    return splits


def _cut(records: Records, split: SplitDefinition, generator: np.random.Generator) -> Splits:
    parts: dict[str, list[Indices]] = {"train": [], "val": [], "test": []}
    carry_val = carry_test = 0.0
    for groups in _strata(records):
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


def _strata(records: Records) -> list[Groups]:
    """Groups by the set of classes that they show, in a fixed order.

    Strata of fewer than 3 groups cannot be cut: together they make one, which joins the largest if it is still too small.
    """
    strata: dict[tuple[str, ...], Groups] = defaultdict(list)
    for indices in _members(records):
        strata[tuple(sorted({records.labels[index] for index in indices}))].append(indices)
    ordered = [strata[classes] for classes in sorted(strata)]
    large = [groups for groups in ordered if len(groups) >= SMALLEST_STRATUM]
    rest = [group for groups in ordered if len(groups) < SMALLEST_STRATUM for group in groups]
    if rest and len(rest) < SMALLEST_STRATUM and large:
        largest = max(large, key=len)
        return [groups + rest if groups is largest else groups for groups in large]
    return [*large, rest] if rest else large


def _members(records: Records) -> Groups:
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
            f"validation and test, but {small[0]!r} has {groups_of[small[0]]} in {records.origin}{_and_more(small)}. "
            f"Add photos of it, or remove the class."
        )


def _missing_classes(records: Records, splits: Splits) -> dict[str, list[str]]:
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


def _and_more(names: Sequence[str]) -> str:
    return f" (and so for {len(names) - 1} more)" if len(names) > 1 else ""
