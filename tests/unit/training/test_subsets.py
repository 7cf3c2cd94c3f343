import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from study.training.subsets import draw_share

LABELS = np.repeat(np.array([0, 1, 2]), [60, 20, 4])
ROWS = np.arange(len(LABELS)) // 2
INDICES = np.flatnonzero(np.arange(len(LABELS)) % 12 < 10)
SHARES = st.floats(0.01, 1.0)


@given(SHARES, SHARES, st.integers(0, 1000))
def test_a_smaller_share_is_part_of_a_larger_one(one: float, other: float, seed: int) -> None:
    small, large = (draw_share(INDICES, LABELS, ROWS, share, seed) for share in sorted((one, other)))
    assert set(small) <= set(large) <= set(INDICES)


@given(SHARES, st.integers(0, 1000))
def test_each_class_gives_its_share_in_whole_rows(share: float, seed: int) -> None:
    drawn = draw_share(INDICES, LABELS, ROWS, share, seed)
    for label in range(3):
        rows_there = np.unique(ROWS[INDICES[LABELS[INDICES] == label]])
        rows_drawn = np.unique(ROWS[drawn[LABELS[drawn] == label]])
        assert len(rows_drawn) == max(1, round(share * len(rows_there)))
    assert set(INDICES[np.isin(ROWS[INDICES], ROWS[drawn])]) == set(drawn)


def test_the_whole_share_is_everything_and_another_seed_draws_others() -> None:
    assert (draw_share(INDICES, LABELS, ROWS, 1.0, 0) == INDICES).all()
    assert set(draw_share(INDICES, LABELS, ROWS, 0.5, 0)) != set(draw_share(INDICES, LABELS, ROWS, 0.5, 1))
