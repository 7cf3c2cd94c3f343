"""What is done about duplicates: they stay, on one side of every split; training gives way to validation, both to the test."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from study.data.records import Records, SplitName
from study.errors import DataError

LEAK = "duplicate of a validation or test photo"  # the reason that a report gives
TRAINING = frozenset[SplitName]({"train"})
SEEN_BEFORE_THE_TEST = frozenset[SplitName]({"train", "val"})  # folds deal both to their training, too


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
    photos of their rows, which show the same thing; and so are validation copies of test photos: the validation chooses recipe
    and epoch, and would choose them for photos of the test. The test stays as it is.

    Folds deal the source's training and validation photos anew: what these two share stays, as its group puts it into one fold.

    Args:
        sets: positions of photos that show the same.
        folds: how many the photos outside test are dealt to; 1: the source's own split is used as it is.
    Raises:
        DataError: if that leaves a part of the source's own split without a photo, or without one of a class.
    """
    dropped = _leaking_copies(records, sets, SEEN_BEFORE_THE_TEST)
    if folds == 1:
        dropped = _leaking_copies(records, sets, TRAINING) | dropped
        _check_parts_are_left(records, dropped)
    kept = tuple(index for index in range(len(records.photos)) if index not in dropped)
    return OneSided(
        records=_with_united_groups(records, sets).keep(kept),
        kept=kept,
        dropped=tuple((records.photos[index], records.photos[held_out]) for index, held_out in sorted(dropped.items())),
        leaks=_sets_that_differ_in(records.splits.__getitem__, records, sets),
        contradictions=_sets_that_differ_in(_answers(records).__getitem__, records, sets),
    )


def _leaking_copies(records: Records, sets: Sequence[Sequence[int]], seen: Collection[SplitName]) -> dict[int, int]:
    """Photos to drop of the parts that are seen, and the photo of another part that each row has a copy of."""
    if not records.has_own_split:
        return {}
    held_out_of_row: dict[int, int] = {}
    for members in sets:
        held_out = next((index for index in members if records.splits[index] not in seen), None)
        if held_out is None:
            continue
        for index in members:
            if records.splits[index] in seen:
                held_out_of_row.setdefault(records.rows[index], held_out)
    return {
        index: held_out_of_row[row]
        for index, row in enumerate(records.rows)
        if row in held_out_of_row and records.splits[index] in seen
    }


def _check_parts_are_left(records: Records, dropped: Mapping[int, int]) -> None:
    kinds = list(zip(records.splits, records.labels, strict=True))
    lost = set(kinds) - {kind for index, kind in enumerate(kinds) if index not in dropped}
    if lost:
        part, label = min(lost)
        copies = [index for index in dropped if kinds[index] == (part, label)]
        first = min(copies)
        raise DataError(
            f"the parts of a source's own split must show different photos, but the {len(copies)} photos of {part}"
            f"{f' that show {label!r}' if label else ''} in {records.origin} are all copies of held-out ones (such as "
            f"{records.photos[first]} = {records.photos[dropped[first]]}). Put others there, or give all photos "
            f"without a split of their own: study then cuts one."
        )


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
