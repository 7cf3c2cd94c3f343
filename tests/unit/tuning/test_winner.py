"""Who wins, what chance reaches, and whose weights stay on disk."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
from study.definition import Metric, StudyDefinition, parse_definition
from study.search.advisor import Outcome
from study.trial import Measurement, TrialConfig, TrialState
from study.tuning.chance import chance_level, class_chance
from study.tuning.confirm import recipes_to_confirm
from study.tuning.kept_weights import NUM_RESERVED, KeptWeights
from study.tuning.ledger import TrialProgress
from study.tuning.trial_files import state_file, weights_file
from study.tuning.winner import best_recipe

FOLDS = 'head = { choices = ["replace", "append"] }\nfold = { choices = [0, 1, 2, 3, 4] }'


def outcome(number: int, value: float | None, state: TrialState = TrialState.COMPLETE, **searched: Any) -> Outcome:
    searched = searched or {"optimizer.lr": 0.001 * (number + 1)}
    return Outcome(number, state, TrialConfig(), searched, value, num_epochs=3, run_id=f"run-{number}")


def definition(objective: str = 'metric = "balanced_accuracy"', confirm: str = "", space: str = "") -> StudyDefinition:
    lr = '"optimizer.lr" = { low = 1e-4, high = 1e-1, log = true }'
    text = f"""
name = "won"
data = {{ generated = "instruments", split.folds = 5 }}
objective = {{ {objective} }}
[space]
{space or lr}
[search]
{'sampler = "grid"' if space else ""}
pruner = "none"
{confirm}
"""
    return parse_definition(text, Path("/somewhere/won.toml"))


def winner_of(outcomes: Sequence[Outcome], study: StudyDefinition) -> Outcome | None:
    recipe = best_recipe(outcomes, study)
    return recipe.trials[0] if recipe is not None else None


def test_the_best_completed_trial_wins_and_the_earlier_of_equals() -> None:
    outcomes = [outcome(0, 0.5), outcome(1, 0.9, TrialState.PRUNED), outcome(2, 0.7), outcome(3, 0.7), outcome(4, None)]
    assert winner_of(outcomes, definition()) == outcomes[2]


def test_the_lowest_loss_wins() -> None:
    assert winner_of([outcome(0, 0.5), outcome(1, 0.3)], definition('metric = "loss"')) == outcome(1, 0.3)


def test_without_a_completed_trial_nobody_wins() -> None:
    assert winner_of([outcome(0, 0.9, TrialState.PRUNED), outcome(1, None, TrialState.FAIL)], definition()) is None


def test_where_folds_are_searched_the_best_mean_wins_with_its_best_trial() -> None:
    lucky = [outcome(fold, value, head="append", fold=fold) for fold, value in enumerate([0.7, 0.7, 0.7, 0.7, 0.85])]
    steady = [outcome(5 + fold, value, head="replace", fold=fold) for fold, value in enumerate([0.8, 0.8, 0.81, 0.8, 0.8])]
    found = best_recipe([*lucky, *steady], definition(space=FOLDS))
    assert found is not None
    assert found.trials[0].number == 7
    assert found.mean == pytest.approx(0.802)


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


def completed(number: int, value: float, **searched: Any) -> TrialProgress:
    best = Measurement(epoch=1, metrics={"val_balanced_accuracy": value}, timestamp_ms=0)
    searched = searched or {"optimizer.lr": 0.001 * (number + 1)}
    return TrialProgress(number, TrialConfig(), searched, "run", 0.0, state=TrialState.COMPLETE, best=best)


def test_only_the_best_trials_keep_their_weights(tmp_path: Path) -> None:
    weights_file(tmp_path, 0).parent.mkdir()
    weights_file(tmp_path, 0).touch()
    keeper = KeptWeights(tmp_path, definition(), num_kept=2, earlier=[outcome(0, 0.6), outcome(1, 0.9, TrialState.PRUNED)])
    for number, value in ((0, 0.6), (2, 0.5), (3, 0.8), (4, 0.7)):
        weights_file(tmp_path, number).parent.mkdir(exist_ok=True)
        weights_file(tmp_path, number).touch()
        if number:
            keeper.trial_ended(completed(number, value))
    assert sorted(file.name for file in (tmp_path / "trials").iterdir()) == ["00003.safetensors", "00004.safetensors"]


def test_a_trial_over_a_limit_takes_no_place_from_one_that_may_win(tmp_path: Path) -> None:
    limited = definition('constraints = ["parameters_m <= 5"]')
    keeper = KeptWeights(tmp_path, limited, num_kept=1, earlier=[])
    (tmp_path / "trials").mkdir()
    for number, value, parameters_m in ((0, 0.6, 1.0), (1, 0.9, 60.0)):
        weights_file(tmp_path, number).touch()
        trial = completed(number, value)
        trial.facts = {"parameters_m": parameters_m}
        keeper.trial_ended(trial)
    assert [file.name for file in (tmp_path / "trials").iterdir()] == ["00000.safetensors"]


RECIPES = 6


def repeated_study(sampler: str) -> StudyDefinition:
    """Six recipes, each on five folds, as the shipped studies of the paper have them."""
    space = f"freeze_depth = {{ choices = {[level / 10 for level in range(RECIPES)]} }}\nfold = {{ choices = [0, 1, 2, 3, 4] }}"
    found = definition(space=space, confirm="[confirm]\ntop = 2\nseeds = 3")
    sampler_of = found.search.sampler.model_copy(update={"name": sampler})
    return found.model_copy(update={"search": found.search.model_copy(update={"sampler": sampler_of})})


@pytest.mark.parametrize("sampler", ["grid", "tpe"])
@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_confirmed_has_its_weights_in_whatever_order_folds_came_and_after_a_resume(
    seed: int, sampler: str, tmp_path: Path
) -> None:
    """Folds differ by more than recipes do, so the three best trials are mostly one recipe's on its easy folds."""
    rng, study = np.random.default_rng(seed), repeated_study(sampler)
    points = [(level, fold) for level in range(RECIPES) for fold in range(5)]
    trials = list[tuple[int, float, dict[str, Any]]]()
    for number, place in enumerate(rng.permutation(len(points)).tolist()):
        level, fold = points[place]
        value = 0.6 + 0.01 * level + 0.05 * fold + rng.normal(0, 0.02)
        trials.append((number, float(value), {"freeze_depth": level / 10, "fold": fold}))
    outcomes = [outcome(number, value, **searched) for number, value, searched in trials]
    (tmp_path / "trials").mkdir()
    for began, ended in ((0, 13), (13, len(trials))):  # a driver dies after the thirteenth
        keeper = KeptWeights(tmp_path, study, num_kept=3, earlier=outcomes[:began])
        for number, value, searched in trials[began:ended]:
            weights_file(tmp_path, number).touch()
            keeper.trial_ended(completed(number, value, **searched))
    keeper.settle()
    chosen = {one.number for one in recipes_to_confirm(outcomes, study, top=2)}
    best = {number for number, *_ in sorted(trials, key=lambda trial: -trial[1])[:3]}
    assert {int(file.stem) for file in (tmp_path / "trials").iterdir()} == chosen | best
    KeptWeights(tmp_path, study, num_kept=3, earlier=outcomes).settle()  # resumed once more
    assert {int(file.stem) for file in (tmp_path / "trials").iterdir()} == chosen | best


def test_a_long_adaptive_search_over_folds_keeps_no_more_than_a_reserve(tmp_path: Path) -> None:
    study = definition(space="").model_copy(update={"space": repeated_study("tpe").space})
    keeper = KeptWeights(tmp_path, study, num_kept=3, earlier=[])
    (tmp_path / "trials").mkdir()
    for number in range(60):
        weights_file(tmp_path, number).touch()
        keeper.trial_ended(completed(number, 0.5 + number / 1000, freeze_depth=number / 100, fold=number % 5))
    assert len(list((tmp_path / "trials").iterdir())) == NUM_RESERVED
    keeper.settle()
    assert sorted(int(file.stem) for file in (tmp_path / "trials").iterdir()) == [57, 58, 59]


@pytest.mark.parametrize("state", [TrialState.FAIL, TrialState.PRUNED])
def test_a_trial_that_is_no_answer_leaves_nothing(state: TrialState, tmp_path: Path) -> None:
    """As one that fails when its best weights are measured on the test split, or that is stopped after it was saved."""
    keeper = KeptWeights(tmp_path, definition(), num_kept=2, earlier=[])
    left_by(tmp_path, 0)
    keeper.trial_ended(TrialProgress(0, TrialConfig(), {}, "run", 0.0, state=state, best=completed(0, 0.9).best))
    assert list((tmp_path / "trials").iterdir()) == []


def test_an_interrupted_trial_keeps_what_it_goes_on_from(tmp_path: Path) -> None:
    keeper = KeptWeights(tmp_path, definition(), num_kept=2, earlier=[])
    left_by(tmp_path, 0)
    keeper.trial_ended(TrialProgress(0, TrialConfig(), {}, "run", 0.0, state=TrialState.INTERRUPTED))
    assert state_file(tmp_path, 0).exists()


def test_what_a_failed_trial_left_behind_a_dead_driver_is_deleted_on_resume(tmp_path: Path) -> None:
    for number in (0, 1):
        left_by(tmp_path, number)
    KeptWeights(tmp_path, definition(), num_kept=2, earlier=[outcome(0, 0.6), outcome(1, None, TrialState.FAIL)])
    assert sorted((tmp_path / "trials").iterdir()) == [weights_file(tmp_path, 0), state_file(tmp_path, 0)]


def left_by(folder: Path, number: int) -> None:
    for file in (weights_file(folder, number), state_file(folder, number)):
        file.parent.mkdir(exist_ok=True)
        file.touch()
