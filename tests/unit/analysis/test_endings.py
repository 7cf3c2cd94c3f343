"""Endings of pruned trials: drawn around what they would have reached."""

import numpy as np
import pytest

from study.analysis.endings import NUM_DRAWS, draw_endings

EPOCHS = 10


def stopped_curves(num: int, seed: int, stop: int = 3) -> tuple[np.ndarray, list[list[float]], np.ndarray, np.ndarray]:
    """Whole curves, and what is left of them when every second of the worse half at epoch `stop` is stopped."""
    rng = np.random.default_rng(seed)
    level = rng.integers(2, size=num)
    height = 0.6 + 0.05 * level + rng.normal(0, 0.03, num)
    pace = np.exp(rng.normal(0.7, 0.2, num) + 0.3 * level)
    epochs = np.arange(1, EPOCHS + 1)
    whole = height[:, None] * (1 - np.exp(-epochs / pace[:, None])) + rng.normal(0, 0.004, (num, EPOCHS))
    is_complete = (whole[:, stop - 1] > np.median(whole[:, stop - 1])) | (rng.random(num) < 0.2)
    curves = [list(curve if complete else curve[:stop]) for curve, complete in zip(whole, is_complete, strict=True)]
    return whole, curves, is_complete, level[:, None].astype(float)


def test_measured_endings_are_kept_and_the_same_seed_draws_the_same() -> None:
    whole, curves, is_complete, factors = stopped_curves(40, 0)
    horizons = np.full(40, EPOCHS)
    drawn, again = (draw_endings(curves, is_complete, horizons, factors, np.random.default_rng(1)) for _ in range(2))
    assert drawn.shape == (40, NUM_DRAWS)
    assert np.array_equal(drawn, again)
    assert np.allclose(drawn[is_complete], whole[is_complete].max(axis=1)[:, None])


def test_stopped_trials_are_drawn_around_their_endings_though_only_the_worse_were_stopped() -> None:
    errors, spreads, is_held = [], [], []
    for seed in range(4):
        whole, curves, is_complete, factors = stopped_curves(60, seed)
        drawn = draw_endings(curves, is_complete, np.full(60, EPOCHS), factors, np.random.default_rng(seed))[~is_complete]
        truth = whole[~is_complete].max(axis=1)
        errors += list(drawn.mean(axis=1) - truth)
        spreads += list(drawn.std(axis=1))
        is_held += list((drawn.min(axis=1) < truth) & (truth < drawn.max(axis=1)))
    assert abs(np.mean(errors)) < 0.015  # the stopped ones' last value lies 0.15 below their ending
    assert np.std(errors) < 2 * np.mean(spreads)
    assert np.mean(is_held) > 0.85  # of 30 draws, the least and the greatest hold 94 % of all


def test_a_pruned_trials_ending_is_no_worse_than_what_it_has_shown() -> None:
    _, curves, is_complete, factors = stopped_curves(40, 2)
    drawn = draw_endings(curves, is_complete, np.full(40, EPOCHS), factors, np.random.default_rng(0))
    shown = np.array([max(curve) for curve in curves])
    assert (drawn >= shown[:, None] - 1e-12).all()


def test_a_trial_of_fewer_epochs_ends_at_its_own_horizon() -> None:
    _, curves, is_complete, factors = stopped_curves(60, 3)
    stopped = int(np.flatnonzero(~is_complete)[0])
    endings = []
    for own in (4, EPOCHS):
        horizons = np.full(60, EPOCHS)
        horizons[stopped] = own
        endings.append(draw_endings(curves, is_complete, horizons, factors, np.random.default_rng(0))[stopped].mean())
    assert endings[0] < endings[1]
    assert endings[0] == pytest.approx(max(curves[stopped]), abs=0.15)
