"""Classes with too few photos to learn from, or to judge by."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from study.data.records import Dropped, Reason, Records, Regrouped
from study.data_definition import DataDefinition
from study.errors import DataError

OTHER = "other"


def settle_small_classes(records: Records, definition: DataDefinition) -> Records:
    """The records without classes of fewer than `min_class_size` groups, as `small_classes` says.

    Counted are groups, not photos: ten photos of one thing are one example. "drop" leaves such photos out; "other" calls them
    "other", together with a class of that name if there is one. Targets that are numbers have no classes and stay as they are.

    Raises:
        DataError: if there is a small class and `small_classes` is "error"; if what became "other" is still too small; or if
            fewer than 2 classes are left.
    """
    if records.values is not None:
        return records
    num_groups = count_groups(records)
    small = {label: num_groups[label] for label in records.classes if num_groups[label] < definition.min_class_size}
    if not small:
        return records
    match definition.small_classes:
        case "drop":
            settled = _without(records, small, definition.min_class_size)
        case "other":
            settled = _as_other(records, small, definition.min_class_size)
        case _:
            raise _too_small(records, small, definition.min_class_size)
    if len(settled.classes) < 2:
        raise DataError(
            f"a study needs 2 classes or more, but {records.origin} has {len(settled.classes)} of at least "
            f"{definition.min_class_size} independent photos. Lower `min_class_size` in [data], or add photos."
        )
    return settled


def count_groups(records: Records) -> Counter[str]:
    """How many groups show each class: photos that are independent of each other."""
    return Counter(label for _, label in set(zip(records.groups, records.labels, strict=True)))


def _without(records: Records, small: Mapping[str, int], minimum: int) -> Records:
    kept = [index for index, label in enumerate(records.labels) if label not in small]
    dropped = [
        Dropped(photo, Reason.CLASS_TOO_SMALL, f"{label!r} has {small[label]} of the {minimum} groups that a class needs")
        for photo, label in zip(records.photos, records.labels, strict=True)
        if label in small
    ]
    classes = tuple(label for label in records.classes if label not in small)
    return replace(records.keep(kept).with_dropped(dropped), classes=classes)


def _as_other(records: Records, small: Mapping[str, int], minimum: int) -> Records:
    labels = tuple(OTHER if label in small else label for label in records.labels)
    regrouped = tuple(Regrouped(label, number) for label, number in small.items() if label != OTHER)
    settled = replace(records, labels=labels, classes=tuple(sorted(set(labels))), regrouped=(*records.regrouped, *regrouped))
    together = count_groups(settled)[OTHER]
    if together < minimum:
        raise DataError(
            f"a class must have {minimum} independent photos or more (`min_class_size`), but {_listed(small)} in "
            f"{records.origin} have {together} together, too few for {OTHER!r}. "
            f'Set small_classes = "drop" in [data], lower `min_class_size`, or add photos.'
        )
    return settled


def _too_small(records: Records, small: Mapping[str, int], minimum: int) -> DataError:
    return DataError(
        f"a class must have {minimum} groups of photos or more (`min_class_size`), but {records.origin} has {_listed(small)}. "
        f'Add photos, or set small_classes = "drop" or "other" in [data].'
    )


def _listed(small: Mapping[str, int], most: int = 5) -> str:
    """Names and sizes for a message, the smallest first."""
    ordered = sorted(small, key=lambda label: (small[label], label))
    more = f" and {len(small) - most} more" if len(small) > most else ""
    return ", ".join(f"{label!r} ({small[label]})" for label in ordered[:most]) + more
