import json
import math

import pytest

from study.training.early_stopping import EarlyStopping


def stopped_after(values: list[float], patience: int | None, *, is_maximized: bool = True) -> int | None:
    stopping = EarlyStopping(patience, is_maximized)
    for epoch, value in enumerate(values, start=1):
        stopping.observe(value)
        if stopping.should_stop:
            return epoch
    return None


def test_a_training_stops_after_as_many_epochs_without_a_better_objective_as_patience() -> None:
    assert stopped_after([0.1, 0.3, 0.2, 0.3, 0.9], patience=2) == 4  # an equal value is not better
    assert stopped_after([0.1, 0.3, 0.2, 0.4, 0.3], patience=2) is None


def test_a_lower_objective_is_better_where_it_is_minimized() -> None:
    assert stopped_after([3.0, 2.0, 2.5], patience=1, is_maximized=False) == 3
    assert stopped_after([3.0, 2.0, 1.0], patience=1, is_maximized=False) is None


def test_without_patience_a_training_never_stops_and_the_best_is_known_all_the_same() -> None:
    stopping = EarlyStopping(None, is_maximized=True)
    assert [stopping.observe(value) for value in (0.2, 0.5, 0.4, 0.6)] == [True, True, False, True]
    assert (stopping.best, stopping.should_stop) == (0.6, False)


@pytest.mark.parametrize("is_maximized", [True, False])
def test_nan_is_never_the_best(is_maximized: bool) -> None:
    stopping = EarlyStopping(2, is_maximized)
    assert [stopping.observe(value) for value in (math.nan, 0.5, math.nan)] == [False, True, False]
    assert stopping.best == 0.5


def test_its_state_is_plain_and_goes_on() -> None:
    stopping = EarlyStopping(2, is_maximized=True)
    for value in (0.1, 0.3, 0.2):
        stopping.observe(value)
    again = EarlyStopping(2, is_maximized=True)
    again.load_state_dict(json.loads(json.dumps(stopping.state_dict())))
    assert again == stopping
    again.observe(0.3)
    assert again.should_stop
