"""What is done about duplicates: they stay, on one side of every split, and training gives way to validation and test."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from study.data.records import Records, SplitName

LEAK = "duplicate of a validation or test photo"  # the reason that a report gives
TRAINING = frozenset[SplitName]({"train"})
DEALT_TO_FOLDS = frozenset[SplitName]({"train", "val"})  # each of these photos is in most folds' training


@dataclass(frozen=True, eq=False)
class OneSided:
    """Records of which no set of duplicates can fall apart, and what was found on the way.

    Attributes:
        records: without copies of held-out photos that training could see; duplicates share a group.
        kept: positions of the photos among the records given, ascending.
        dropped: (photo, copy of which photo) for each that was left out.
        leaks: sets of photos, by id, that the source's own split puts on more than one side.
        contradictions: sets of photos, by id, that the source labels differently, or gives different numbers.
    """

    records: Records
    kept: tuple[int, ...]
    dropped: tuple[tuple[str, str], ...]
    leaks: tuple[tuple[str, ...], ...]
    contradictions: tuple[tuple[str, ...], ...]


def keep_on_one_side(records: Records, sets: Sequence[Sequence[int]], folds: int = 1) -> OneSided:
    """The records with the groups of each set's photos made one, so that whoever splits by group keeps duplicates together.

    Where the source has its own split and a set lies in two of its parts, the training copies are dropped, with all training
    photos of their rows, which show the same thing. Validation and test stay as they are, also where they share a photo: that
    one is reported only, and the reader decides.

    Folds deal the source's training and validation photos anew, so that each is trained on: there the copies of test photos are
    dropped from both, and what these two share stays, as its group puts it into one fold.

    Args:
        sets: positions of photos that show the same.
        folds: how many the photos outside test are dealt to; 1: the source's own split is used as it is.
    """
    dropped = _leaking_copies(records, sets, TRAINING if folds == 1 else DEALT_TO_FOLDS)
    kept = tuple(index for index in range(len(records.photos)) if index not in dropped)
    return OneSided(
        records=_with_united_groups(records, sets).keep(kept),
        kept=kept,
        dropped=tuple((records.photos[index], records.photos[held_out]) for index, held_out in sorted(dropped.items())),
        leaks=_sets_that_differ_in(records.splits.__getitem__, records, sets),
        contradictions=_sets_that_differ_in(_answers(records).__getitem__, records, sets),
    )


def _leaking_copies(records: Records, sets: Sequence[Sequence[int]], trained: Collection[SplitName]) -> dict[int, int]:
    """Photos of the parts that are trained on to drop, and the held-out photo that each row has a copy of."""
    if not records.has_own_split:
        return {}
    held_out_of_row: dict[int, int] = {}
    for members in sets:
        held_out = next((index for index in members if records.splits[index] not in trained), None)
        if held_out is None:
            continue
        for index in members:
            if records.splits[index] in trained:
                held_out_of_row.setdefault(records.rows[index], held_out)
    return {
        index: held_out_of_row[row]
        for index, row in enumerate(records.rows)
        if row in held_out_of_row and records.splits[index] in trained
    }


def _answers(records: Records) -> Sequence[object]:
    """What a model is to say of each photo."""
    return records.labels if records.values is None else records.values


def _sets_that_differ_in(
    value_of: Callable[[int], object], records: Records, sets: Iterable[Sequence[int]]
) -> tuple[tuple[str, ...], ...]:
    return tuple(
        tuple(records.photos[index] for index in members) for members in sets if len({value_of(index) for index in members}) > 1
    )


def _with_united_groups(records: Records, sets: Iterable[Sequence[int]]) -> Records:
    """The records with one group for all groups that a set touches: the name of one of them."""
    parent: dict[str, str] = {}

    def root_of(group: str) -> str:
        while group in parent:
            group = parent[group]
        return group

    for members in sets:
        first, *others = sorted({root_of(records.groups[index]) for index in members})
        parent.update(dict.fromkeys(others, first))
    if not parent:
        return records
    return replace(records, groups=tuple(root_of(group) for group in records.groups))
