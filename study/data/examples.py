"""What a model gives one answer to: a photo, or all photos of one thing together."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from study.data.study_data import StudyData

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Examples:
    """The examples of one fold. Positions of examples are not positions of photos, unless every photo is an example.

    Attributes:
        photos: int64 [num_examples, num_views], positions in `StudyData.images`; the views in the order of
            `StudyData.example_views`.
        labels: int64 [num_examples], positions in the classes; -1 in no split, and where the target is a number.
        values: float32 [num_examples], the target where it is a number, else None.
        train: positions of examples, int64, ascending; `val` and `test` likewise, and the three are disjoint.
    """

    photos: Indices
    labels: Indices
    values: npt.NDArray[np.float32] | None
    train: Indices
    val: Indices
    test: Indices

    @property
    def num_views(self) -> int:
        """Photos of one example."""
        return int(self.photos.shape[1])

    def photos_of(self, examples: Indices) -> Indices:
        """Positions of the photos of these examples, those of one next to each other: int64 [len(examples) * num_views]."""
        return self.photos[examples].reshape(-1)


def examples_of(data: StudyData) -> Examples:
    """The examples of the fold that `data` speaks of.

    Where every photo is an example, positions of both are the same, and photos in no split are examples in no split. Else an
    example is a row whose photos are all in one split, in the order of the rows: the same in every fold.
    """
    if not data.example_views:
        everything = np.arange(len(data.images), dtype=np.int64)[:, np.newaxis]
        return Examples(everything, data.labels, data.values, **dict(data.splits.items()))
    photos = _photos_of_rows(data)
    split_of_example = _split_of_photos(data)[photos]
    assert (split_of_example == split_of_example[:, :1]).all(), "the photos of a row are in one split"
    parts = {name: np.flatnonzero(split_of_example[:, 0] == code) for code, (name, _) in enumerate(data.splits.items())}
    first = photos[:, 0]  # the photos of a row have the same target
    return Examples(photos, data.labels[first], None if data.values is None else data.values[first], **parts)


def _split_of_photos(data: StudyData) -> Indices:
    """The number of each photo's split, -1 in none: int64 [num_photos]."""
    split_of = np.full(len(data.images), -1, dtype=np.int64)
    for code, (_, indices) in enumerate(data.splits.items()):
        split_of[indices] = code
    return split_of


def _photos_of_rows(data: StudyData) -> Indices:
    """The photos of each row that has one of every view in a split: int64 [num_rows, num_views]."""
    used = np.flatnonzero(_split_of_photos(data) >= 0)
    names = np.array(data.example_views)
    order = np.argsort(names)
    view_of = order[np.searchsorted(names, data.views[used], sorter=order)]
    photos = used[np.lexsort((view_of, data.rows[used]))]
    _, starts, sizes = np.unique(data.rows[photos], return_index=True, return_counts=True)
    whole = starts[sizes == len(names)]
    of_rows: Indices = photos[whole[:, np.newaxis] + np.arange(len(names))]
    return of_rows
