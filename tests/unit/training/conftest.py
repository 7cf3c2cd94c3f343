"""A data set that is learnt in seconds: three classes that differ by colour and stripes, of 24, 12 and 6 training photos."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from study.data.folds import Fold
from study.data.report import DataReport
from study.data.splits import Splits
from study.data.statistics import channel_statistics
from study.data.study_data import StudyData

SIZE_PX = 32
NUM_TRAIN = (24, 12, 6)
NUM_VAL = (6, 5, 4)
NUM_TEST = (2, 2, 2)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Sums are the same bit for bit, and a busy machine does not make a second thread wait."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _photo(label: int, generator: np.random.Generator) -> np.ndarray:
    photo = generator.integers(0, 60, (SIZE_PX, SIZE_PX, 3))
    match label:
        case 0:
            photo[..., 0] += 150
        case 1:
            photo[::4, :, 1] += 190
        case _:
            photo[:, ::4, 2] += 190
    return photo.astype(np.uint8)


@pytest.fixture(scope="session")
def striped_data() -> StudyData:
    generator = np.random.default_rng(0)
    per_split = [np.repeat([0, 1, 2], numbers) for numbers in (NUM_TRAIN, NUM_VAL, NUM_TEST)]
    split_of = np.repeat([0, 1, 2], [len(labels) for labels in per_split])
    labels = np.concatenate(per_split)
    order = generator.permutation(len(labels))
    labels, split_of = labels[order].astype(np.int64), split_of[order]
    images = np.stack([_photo(label, generator) for label in labels])
    images.flags.writeable = False  # as a memory map of a packed array is
    splits = Splits(*(np.flatnonzero(split_of == split) for split in range(3)))
    return StudyData(
        folder=Path("unused"),
        images=images,
        labels=labels,
        classes=("red", "rows", "columns"),
        photos=tuple(map(str, range(len(labels)))),
        views=np.full(len(labels), ""),
        rows=np.arange(len(labels)),
        folds=(Fold(splits, channel_statistics(images, splits.train)),),
        report=DataReport(),
        digest="striped",
    )
