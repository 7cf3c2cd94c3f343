"""The photos outside the test split in k parts, each of which is validation once; once, or cut anew several times."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from study.data.records import Records
from study.data.splits import (
    MOST_SHUFFLES,
    Splits,
    and_more,
    check_complete,
    missing_classes,
    own_split,
    split_records,
    strata_of,
    with_value_classes,
)
from study.data.statistics import ChannelStatistics
from study.data_definition import SplitDefinition
from study.errors import DataError

Indices = npt.NDArray[np.int64]

# Keeps the folds' random streams apart from the one that the test split is cut with (numpy's `spawn_key`).
_FOLD_STREAM = 1


@dataclass(frozen=True, eq=False)
class Fold:
    """One way to part the photos, and the statistics of its training photos."""

    splits: Splits
    statistics: ChannelStatistics


def fold_splits(records: Records, split: SplitDefinition) -> tuple[Splits, ...]:
    """One split, or `folds` × `repeats` of them, the folds of one repeat side by side; the same for the same seed.

    Folds share one test split: the source's own, or the one that would be cut without folds. The other photos are dealt to the
    folds by group and stratified by class: of the groups that show the same classes, a fold has as many as another, or one
    more; and so of all groups.

    Raises:
        DataError: if a class has no photo in a split, or too few groups for the folds.
    """
    if split.folds == 1:
        return (split_records(records, split),)
    test = (own_split(records) if records.has_own_split else split_records(records, split)).test
    pool = np.setdiff1d(np.arange(len(records.photos)), test)
    rest = with_value_classes(records.keep(pool.tolist()), split.folds)
    _check_every_class_can_be_dealt(rest, split.folds)
    return tuple(
        _splits(pool, fold, part, test)
        for repeat in range(split.repeats)
        for part, fold in _first_complete_deal(rest, split, repeat)
    )


def _splits(pool: Indices, fold: Indices, part: int, test: Indices) -> Splits:
    return Splits(train=pool[fold != part], val=pool[fold == part], test=test)


def _first_complete_deal(rest: Records, split: SplitDefinition, repeat: int) -> Iterator[tuple[int, Indices]]:
    """Each fold's number, and the fold of every photo."""
    sequence = np.random.SeedSequence(split.seed, spawn_key=(_FOLD_STREAM, repeat))
    generator = np.random.default_rng(sequence)
    everything = np.arange(len(rest.photos))
    nothing = everything[:0]
    for _ in range(MOST_SHUFFLES):
        fold = _dealt(rest, split.folds, generator)
        if not any(missing_classes(rest, _splits(everything, fold, part, nothing)) for part in range(split.folds)):
            break
    for part in range(split.folds):
        check_complete(rest, _splits(everything, fold, part, nothing), f" of fold {part}")
        yield part, fold


def _dealt(rest: Records, num_folds: int, generator: np.random.Generator) -> Indices:
    """The fold of every photo: groups are dealt like cards, and the next stratum goes on where the last one ended."""
    fold = np.empty(len(rest.photos), dtype=np.int64)
    num_dealt = 0
    for groups in strata_of(rest):
        for place in generator.permutation(len(groups)):
            fold[groups[place]] = num_dealt % num_folds
            num_dealt += 1
    return fold


def _check_every_class_can_be_dealt(rest: Records, num_folds: int) -> None:
    groups_of = Counter(label for _, label in set(zip(rest.groups, rest.labels, strict=True)))
    small = sorted((label for label in rest.classes if groups_of[label] < num_folds), key=groups_of.__getitem__)
    if small:
        raise DataError(
            f"a class must have {num_folds} photos or more that are independent of each other outside the test split, one for "
            f"each fold, but {small[0]!r} has {groups_of[small[0]]} in {rest.origin}{and_more(small)}. "
            f"Lower `folds` in [data.split], add photos of it, or leave such classes out (`min_class_size`, `small_classes`)."
        )
