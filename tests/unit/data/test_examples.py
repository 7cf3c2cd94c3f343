from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from study.data.dataset import prepare_data
from study.data.examples import examples_of
from study.data.folds import Fold
from study.data.report import DataReport
from study.data.splits import Splits
from study.data.statistics import ChannelStatistics
from study.data.study_data import StudyData
from study.definition import StudyDefinition

DefinitionOf = Callable[[str], StudyDefinition]

INSTRUMENTS = 'generated = "instruments"\nnum_photos = 80\nimage_size = 16\n'


def data_of(rows: list[int], views: list[str], splits: Splits, example_views: tuple[str, ...]) -> StudyData:
    num_photos = len(rows)
    return StudyData(
        folder=Path("unused"),
        images=np.zeros((num_photos, 2, 2, 3), dtype=np.uint8),
        labels=np.array(rows, dtype=np.int64) % 2,
        classes=("even", "odd"),
        photos=tuple(map(str, range(num_photos))),
        views=np.array(views),
        rows=np.array(rows, dtype=np.int64),
        folds=(Fold(splits, ChannelStatistics((0.5,) * 3, (0.5,) * 3)),),
        report=DataReport(),
        digest="few",
        example_views=example_views,
    )


# Rows 7, 3 and 4 are whole; row 5 lost its back to no split at all, row 6 never had one.
PAIRS = data_of(
    [7, 3, 3, 7, 5, 5, 4, 4, 6],
    ["front", "back", "front", "back", "front", "back", "front", "back", "front"],
    Splits(np.array([0, 3, 4]), np.array([1, 2]), np.array([6, 7])),
    ("back", "front"),
)


def test_every_photo_is_an_example_where_views_are_told_apart() -> None:
    data = replace(PAIRS, example_views=())
    examples = examples_of(data)
    assert examples.photos.tolist() == [[photo] for photo in range(9)]
    assert examples.num_views == 1
    assert examples.labels is data.labels
    for name, indices in data.splits.items():
        assert np.array_equal(getattr(examples, name), indices)


def test_a_pair_is_a_row_whose_photos_are_all_in_one_split() -> None:
    examples = examples_of(PAIRS)
    assert examples.num_views == 2
    # Rows 3, 4, 7, each with its back before its front.
    assert examples.photos.tolist() == [[1, 2], [7, 6], [3, 0]]
    assert (examples.train.tolist(), examples.val.tolist(), examples.test.tolist()) == ([2], [0], [1])
    assert examples.labels.tolist() == [1, 0, 1]


def test_photos_of_an_example_are_next_to_each_other() -> None:
    assert examples_of(PAIRS).photos_of(np.array([2, 0])).tolist() == [3, 0, 1, 2]


def test_examples_are_the_same_in_every_fold_and_only_their_splits_differ() -> None:
    (first,) = PAIRS.folds
    other = Fold(Splits(np.array([1, 2]), np.array([0, 3, 4]), first.splits.test), first.statistics)
    data = replace(PAIRS, folds=(first, other))
    one, two = examples_of(data), examples_of(data.with_fold(1))
    assert np.array_equal(one.photos, two.photos)
    assert (two.train.tolist(), two.val.tolist(), two.test.tolist()) == ([0], [2], [1])


def test_numbers_are_those_of_the_rows() -> None:
    values = np.array(PAIRS.rows, dtype=np.float32) * 10
    found = examples_of(replace(PAIRS, values=values)).values
    assert found is not None
    assert found.dtype == np.float32
    assert found.tolist() == [30, 40, 70]


def test_prepared_pairs_have_two_views_of_one_instrument(tmp_path: Path, definition_of: DefinitionOf) -> None:
    data = prepare_data(definition_of(INSTRUMENTS + 'views = "pair"'), tmp_path)
    assert data.example_views == ("back", "front")
    examples = examples_of(data)
    assert len(examples.photos) == sum(len(indices) for _, indices in data.splits.items()) / 2
    assert (data.views[examples.photos] == ["back", "front"]).all()
    assert (data.rows[examples.photos][:, 0] == data.rows[examples.photos][:, 1]).all()
    for name, indices in data.splits.items():
        assert set(examples.photos_of(getattr(examples, name)).tolist()) == set(indices.tolist())
    assert np.array_equal(data.labels[examples.photos[:, 1]], examples.labels)


@pytest.mark.parametrize("views", ["each", "pair"])
def test_photos_in_no_split_are_in_no_example_of_a_split(tmp_path: Path, definition_of: DefinitionOf, views: str) -> None:
    data = prepare_data(definition_of(INSTRUMENTS + f'views = "{views}"'), tmp_path)
    examples = examples_of(data)
    splits = np.concatenate([examples.train, examples.val, examples.test])
    assert len(set(splits.tolist())) == len(splits)
    assert (examples.labels[splits] >= 0).all()
