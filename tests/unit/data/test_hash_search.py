import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.data.hash_search import close_pairs

untimed = settings(deadline=None)
# Few set bits, so that many hashes are close; a few of them twice.
hashes = st.lists(st.sets(st.integers(0, 63), max_size=4).map(lambda bits: sum(1 << bit for bit in bits)), max_size=30)


def found(values: np.ndarray, max_distance: int) -> list[tuple[int, int]]:
    batches = list(close_pairs(values, max_distance))
    return [tuple(sorted(pair)) for first, second in batches for pair in zip(first.tolist(), second.tolist(), strict=True)]


def compared_one_by_one(values: np.ndarray, max_distance: int) -> list[tuple[int, int]]:
    return [
        (one, other)
        for one in range(len(values))
        for other in range(one + 1, len(values))
        if (int(values[one]) ^ int(values[other])).bit_count() <= max_distance
    ]


@untimed
@given(hashes, st.integers(0, 8))
def test_each_close_pair_is_found_once_and_no_other(drawn: list[int], max_distance: int) -> None:
    values = np.array(drawn, dtype=np.uint64)
    assert sorted(found(values, max_distance)) == compared_one_by_one(values, max_distance)


@pytest.mark.parametrize("max_distance", [0, 1, 4, 16, 61, 62, 63, 64])
def test_every_distance_can_be_asked_for(max_distance: int) -> None:
    values = np.array([0, 0, 1, 2**64 - 1, 2**63, 2**64 - 2], dtype=np.uint64)
    assert sorted(found(values, max_distance)) == compared_one_by_one(values, max_distance)


@pytest.mark.parametrize("number", [0, 1])
def test_there_is_no_pair_of_fewer_than_two(number: int) -> None:
    assert found(np.zeros(number, dtype=np.uint64), 4) == []


def test_a_hundred_planted_pairs_are_found_among_many() -> None:
    generator = np.random.default_rng(0)
    values = generator.integers(0, 2**64, 50_000, dtype=np.uint64)
    for place in range(100):
        flipped = generator.choice(64, place % 5, replace=False)
        values[-1 - place] = values[place] ^ np.bitwise_xor.reduce(np.uint64(1) << flipped.astype(np.uint64), initial=0)
    assert sorted(found(values, 4)) == [(place, 49_999 - place) for place in range(100)]
