"""Intervals hold the truth about as often as they say; tests/benchmarks/bench_coverage.py asks 500 studies a design."""

import numpy as np
import pytest

from study.analysis.evidence import StudyEvidence
from study.trial import TrialState
from tests.benchmarks.bench_coverage import Tally, judge
from tests.known_effects import CHOICES, EPOCHS, RATE, RATES, KnownEffects, definition_of

from .evidence_of import evidence, trial

NUM_TRIALS, STOP = 40, 4
DEFINITION = definition_of("random", NUM_TRIALS)


def random_study(world: KnownEffects, seed: int, is_pruned: bool) -> StudyEvidence:
    """Recipes at random; with `is_pruned`, all below the median at epoch STOP end there, but for the first few."""
    rng = np.random.default_rng(seed)
    codes = {key: rng.integers(len(levels), size=NUM_TRIALS) for key, levels in CHOICES.items()}
    rates = rng.uniform(size=NUM_TRIALS)
    curves = world.curves(codes, rates, rng)
    is_stopped = is_pruned & (curves[:, STOP - 1] < np.median(curves[:, STOP - 1])) & (np.arange(NUM_TRIALS) > 4)
    trials = []
    for number in range(NUM_TRIALS):
        searched = {key: levels[codes[key][number]] for key, levels in CHOICES.items()}
        searched_all = searched | {RATE: RATES[0] * (RATES[1] / RATES[0]) ** rates[number]}
        curve = curves[number, : STOP if is_stopped[number] else EPOCHS].tolist()
        state, value = (TrialState.PRUNED, curve[-1]) if is_stopped[number] else (TrialState.COMPLETE, max(curve))
        trials.append(trial(number, value, searched_all, state, curve, recipe={"epochs": EPOCHS, **searched_all}))
    return evidence(trials, DEFINITION)


@pytest.mark.parametrize(("is_pruned", "num_studies"), [(False, 25), (True, 6)])
def test_intervals_hold_the_truth(is_pruned: bool, num_studies: int) -> None:
    world, tally = KnownEffects(0), Tally()
    truth = world.truth(is_grid=False)
    for seed in range(num_studies):
        judge(random_study(world, seed, is_pruned), truth, tally)
    assert np.mean(tally.held) > 0.88
    assert np.mean(np.abs(tally.errors)) < np.median(tally.widths) / 2  # and not because they hold everything
    assert np.mean(tally.wrong_studies) <= 0.12
