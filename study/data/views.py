"""Several photos of one thing: what each view is called, and what is done where one of a pair is missing."""

import re
from collections import defaultdict
from collections.abc import Sequence

from study.data.records import Dropped, Reason, Records


def view_names(columns: Sequence[str]) -> tuple[str, ...]:
    """What the photo columns show: their names without the words that all share at the beginning or the end.

    ("image_front", "image_back") and ("front photo", "back photo") → ("front", "back"). Words end at "_", "-", "." or a space:
    ("image_back", "image_bottom") are not "ack" and "ottom". One column says nothing about views: its photos have the view "".
    """
    if len(columns) < 2:
        return ("",) * len(columns)
    words = [re.split(r"([_\-. ]+)", column) for column in columns]  # words and what stands between them, in turn
    fewest = min(map(len, words))
    start = next((place for place in range(fewest) if len({name[place] for name in words}) > 1), fewest)
    end = next((place for place in range(fewest - start) if len({name[-1 - place] for name in words}) > 1), fewest - start)
    start, end = start - start % 2, end - end % 2  # a shared mark goes with the word before it, or after it
    names = tuple("".join(name[start : len(name) - end]) for name in words)
    return names if all(names) and len(set(names)) == len(names) else tuple(columns)


def drop_incomplete_rows(records: Records, views: Sequence[str]) -> Records:
    """The rows that have a photo of each of `views`; photos of the others are dropped, and what they lack is named.

    To be called again after photos were lost for another reason: one view that cannot be read takes its partner along.
    """
    views_of: dict[int, set[str]] = defaultdict(set)
    for row, view in zip(records.rows, records.views, strict=True):
        views_of[row].add(view)
    lacking = {row: [view for view in views if view not in found] for row, found in views_of.items()}
    kept = [index for index, row in enumerate(records.rows) if not lacking[row]]
    dropped = [
        Dropped(photo, Reason.VIEW_MISSING, f"row {row} has no usable photo of {' and '.join(lacking[row])}")
        for photo, row in zip(records.photos, records.rows, strict=True)
        if lacking[row]
    ]
    return records.keep(kept).with_dropped(dropped)
