import numpy as np
import pytest

from study.training.imbalance import inverse_frequencies, make_strategy
from study.trial import Imbalance

LABELS = np.repeat([0, 1, 2, 0], [60, 30, 10, 50]).astype(np.int64)
TRAIN = np.arange(100, dtype=np.int64)  # the last 50 photos are in other splits


@pytest.mark.parametrize("kind", ["none", "weighted_loss"])
def test_every_training_photo_is_shown_once_an_epoch_in_a_new_order(kind: Imbalance) -> None:
    strategy = make_strategy(kind, TRAIN, LABELS, 3, seed=0)
    first, second = strategy.epoch_order(1), strategy.epoch_order(2)
    assert np.array_equal(np.sort(first), TRAIN)
    assert np.array_equal(np.sort(second), TRAIN)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("kind", ["none", "weighted_loss", "balanced_subset", "weighted_sampling"])
def test_a_strategy_knows_how_many_photos_an_epoch_shows(kind: Imbalance) -> None:
    strategy = make_strategy(kind, TRAIN, LABELS, 3, seed=0)
    assert strategy.num_shown == len(strategy.epoch_order(1)) == len(strategy.epoch_order(2))


def test_only_weighted_loss_weighs_the_loss() -> None:
    weights = {kind: make_strategy(kind, TRAIN, LABELS, 3, 0).class_weights for kind in ("none", "balanced_subset")}
    assert weights == {"none": None, "balanced_subset": None}
    found = make_strategy("weighted_loss", TRAIN, LABELS, 3, 0).class_weights
    assert found is not None
    # 1/60 : 1/30 : 1/10 = 1 : 2 : 6
    np.testing.assert_allclose(found, [1 / 9, 2 / 9, 6 / 9], rtol=1e-6)


def test_weights_sum_to_1_and_a_class_without_photos_has_none() -> None:
    weights = inverse_frequencies(np.array([5, 0, 1]))
    np.testing.assert_allclose(weights, [1 / 6, 0, 5 / 6])


def test_the_balanced_subset_has_the_rarest_class_count_of_each_and_is_the_same_every_epoch() -> None:
    strategy = make_strategy("balanced_subset", TRAIN, LABELS, 3, seed=0)
    first, second = strategy.epoch_order(1), strategy.epoch_order(2)
    assert np.bincount(LABELS[first]).tolist() == [10, 10, 10]
    assert len(set(first)) == 30
    assert set(first) <= set(TRAIN)
    assert set(first) == set(second)
    assert not np.array_equal(first, second)
    assert set(make_strategy("balanced_subset", TRAIN, LABELS, 3, seed=1).epoch_order(1)) != set(first)


def test_weighted_sampling_draws_as_many_photos_and_every_class_as_often() -> None:
    strategy = make_strategy("weighted_sampling", TRAIN, LABELS, 3, seed=0)
    draws = [strategy.epoch_order(epoch) for epoch in range(1, 101)]
    assert {len(drawn) for drawn in draws} == {100}
    shares = np.bincount(LABELS[np.concatenate(draws)]) / 10_000
    np.testing.assert_allclose(shares, 1 / 3, atol=0.02)  # four standard deviations of 10,000 draws
    assert set(np.concatenate(draws)) <= set(TRAIN)


@pytest.mark.parametrize("kind", ["none", "weighted_loss", "balanced_subset", "weighted_sampling"])
def test_the_seed_and_the_epoch_decide_the_order(kind: Imbalance) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return list(make_strategy(kind, TRAIN, LABELS, 3, seed).epoch_order(epoch))

    assert order(3, 5) == order(3, 5)
    assert order(3, 5) != order(4, 5)
    assert order(3, 5) != order(3, 6)
