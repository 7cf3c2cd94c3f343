import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.training.batches import split_batches


@given(num_photos=st.integers(1, 300), batch_size=st.integers(1, 80))
def test_batches_hold_every_photo_once_in_order(num_photos: int, batch_size: int) -> None:
    order = np.random.default_rng(0).permutation(num_photos)
    batches = split_batches(order, batch_size)
    assert np.array_equal(np.concatenate(batches), order)
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert len(batches[-1]) <= batch_size + 1


@pytest.mark.parametrize(
    ("num_photos", "batch_size", "sizes"),
    [(8, 4, [4, 4]), (9, 4, [4, 5]), (10, 4, [4, 4, 2]), (3, 64, [3]), (1, 64, [1]), (3, 1, [1, 2]), (5, 2, [2, 3])],
)
def test_a_last_batch_of_one_photo_joins_the_one_before_it(num_photos: int, batch_size: int, sizes: list[int]) -> None:
    assert [len(batch) for batch in split_batches(np.arange(num_photos), batch_size)] == sizes
