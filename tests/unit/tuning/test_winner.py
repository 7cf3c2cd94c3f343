"""Who wins, what chance reaches, and whose weights stay on disk."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    log_loss,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
)

from study.data.examples import Examples
from study.definition import Metric, Objective
from study.search.advisor import Outcome
from study.trial import ConfusionMatrix, Measurement, TrialConfig, TrialState
from study.tuning.chance import chance_level, class_chance
from study.tuning.kept_weights import KeptWeights
from study.tuning.ledger import TrialProgress
from study.tuning.trial_files import weights_file
from study.tuning.winner import best_outcome


def outcome(number: int, value: float | None, state: TrialState = TrialState.COMPLETE) -> Outcome:
    return Outcome(number, state, TrialConfig(), {}, value, num_epochs=3, run_id=f"run-{number}")


def test_the_best_completed_trial_wins_and_the_earlier_of_equals() -> None:
    outcomes = [outcome(0, 0.5), outcome(1, 0.9, TrialState.PRUNED), outcome(2, 0.7), outcome(3, 0.7), outcome(4, None)]
    assert best_outcome(outcomes, Objective()) == outcomes[2]


def test_the_lowest_loss_wins() -> None:
    assert best_outcome([outcome(0, 0.5), outcome(1, 0.3)], Objective(metric="loss")) == outcome(1, 0.3)


def test_without_a_completed_trial_nobody_wins() -> None:
    assert best_outcome([outcome(0, 0.9, TrialState.PRUNED), outcome(1, None, TrialState.FAIL)], Objective()) is None


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "macro_f1", "loss"])
def test_chance_is_what_scikit_learns_dummy_reaches(metric: Metric) -> None:
    labels = np.repeat([0, 1, 2], [86, 8, 6])
    photos = np.zeros((100, 1))
    called = DummyClassifier(strategy="most_frequent").fit(photos, labels).predict(photos)
    shares = DummyClassifier(strategy="prior").fit(photos, labels).predict_proba(photos)
    expected = {
        "accuracy": accuracy_score(labels, called),
        "balanced_accuracy": balanced_accuracy_score(labels, called),
        "macro_f1": f1_score(labels, called, average="macro", zero_division=0),
        "loss": log_loss(labels, shares),
    }
    assert class_chance(metric, np.bincount(labels)) == pytest.approx(expected[metric])


@pytest.mark.parametrize("is_log", [False, True])
def test_chance_for_numbers_is_what_scikit_learns_dummy_reaches(is_log: bool) -> None:
    values = np.random.default_rng(0).normal(3, 1, 50).astype(np.float32)
    train, val = np.arange(30), np.arange(30, 50)
    examples = Examples(
        photos=np.arange(50)[:, None], labels=np.full(50, -1), values=values, train=train, val=val, test=np.array([], int)
    )
    guess = DummyRegressor().fit(np.zeros((30, 1)), values[train]).predict(np.zeros((20, 1)))
    in_units = np.exp if is_log else np.asarray
    expected_mae = mean_absolute_error(in_units(values[val]), in_units(guess))
    assert chance_level("mae", examples, is_log=is_log) == pytest.approx(expected_mae, rel=1e-5)
    assert chance_level("r2", examples) == pytest.approx(r2_score(values[val], guess), rel=1e-4)
    expected_loss = mean_squared_error(values[val], guess) / values[train].var()
    assert chance_level("loss", examples) == pytest.approx(expected_loss, rel=1e-4)


def test_chance_of_the_right_class_among_five_is_their_share() -> None:
    assert class_chance("top5_accuracy", np.array([10, 10, 10, 10, 10, 25, 25])) == pytest.approx(0.8)


def completed(number: int, value: float) -> TrialProgress:
    best = Measurement(
        epoch=1, metrics={"val_balanced_accuracy": value}, confusion=ConfusionMatrix(counts=((1,),)), timestamp_ms=0
    )
    return TrialProgress(number, TrialConfig(), {}, "run", 0.0, state=TrialState.COMPLETE, best=best)


def test_only_the_best_trials_keep_their_weights(tmp_path: Path) -> None:
    weights_file(tmp_path, 0).parent.mkdir()
    weights_file(tmp_path, 0).touch()
    keeper = KeptWeights(tmp_path, Objective(), num_kept=2, earlier=[outcome(0, 0.6), outcome(1, 0.9, TrialState.PRUNED)])
    for number, value in ((0, 0.6), (2, 0.5), (3, 0.8), (4, 0.7)):
        weights_file(tmp_path, number).parent.mkdir(exist_ok=True)
        weights_file(tmp_path, number).touch()
        if number:
            keeper.trial_ended(completed(number, value))
    assert sorted(file.name for file in (tmp_path / "trials").iterdir()) == ["00003.safetensors", "00004.safetensors"]


def test_a_trial_over_a_limit_takes_no_place_from_one_that_may_win(tmp_path: Path) -> None:
    objective = Objective.model_validate({"constraints": ("parameters_m <= 5",)})
    keeper = KeptWeights(tmp_path, objective, num_kept=1, earlier=[])
    (tmp_path / "trials").mkdir()
    for number, value, parameters_m in ((0, 0.6, 1.0), (1, 0.9, 60.0)):
        weights_file(tmp_path, number).touch()
        trial = completed(number, value)
        trial.facts = {"parameters_m": parameters_m}
        keeper.trial_ended(trial)
    assert [file.name for file in (tmp_path / "trials").iterdir()] == ["00000.safetensors"]
