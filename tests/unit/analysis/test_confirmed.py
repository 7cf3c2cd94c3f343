"""What repetitions show, against figures worked out otherwise."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import t as student_t
from scipy.stats import ttest_rel

from study.analysis.comparison import compare
from study.analysis.confirmed import confirmed_recipes, paired_comparisons, recommended_recipe
from study.analysis.evidence import StudyEvidence, TrialEvidence
from study.analysis.sentences import Unit
from study.intervals import mean_interval
from study.trial import TrialState

from .evidence_of import definition, evidence, trial

UNIT = Unit("balanced_accuracy", True)
SPACE = 'head = { choices = ["replace", "append"] }\nbackbone = { choices = ["resnet18", "alexnet"] }'
RECIPES: Sequence[dict[str, Any]] = (
    {"head": "append", "backbone": "alexnet"},
    {"head": "append", "backbone": "resnet18"},
    {"head": "replace", "backbone": "resnet18"},  # the defaults of [trial]
)


def confirmed(test: Sequence[Sequence[float]], folds: int = 1, costs: Sequence[float] = (61, 11, 12)) -> StudyEvidence:
    """A study whose recipe i had the test values `test[i]`, by fold and then by seed; the first has the best val."""
    study = definition(SPACE, top=f"data.split.folds = {folds}" if folds > 1 else "")
    trials = [trial(number, 0.9 - number / 10, recipe) for number, recipe in enumerate(RECIPES[: len(test)])]
    repetitions = list[TrialEvidence]()
    for recipe, values in enumerate(test):
        for place, value in enumerate(values):
            searched = {
                **RECIPES[recipe],
                "seed": 1000 + place % (len(values) // folds),
                "fold": place // (len(values) // folds),
            }
            metrics = {"test_balanced_accuracy": value}
            one = trial(
                len(repetitions),
                0.9 - recipe / 10 + place / 1000,
                searched,
                metrics=metrics,
                costs={"parameters_m": costs[recipe]},
            )
            repetitions.append(one)
    return evidence(trials, study, repetitions)


def test_over_seeds_the_interval_is_students() -> None:
    values = [0.70, 0.74, 0.71, 0.69, 0.73]
    (found,) = confirmed_recipes(confirmed([values]))
    assert found.test is not None
    half = student_t.ppf(0.975, 4) * np.std(values, ddof=1) / np.sqrt(5)
    assert [found.test.value, found.test.high] == pytest.approx([0.714, 0.714 + half])
    assert found.test.n == 5
    assert found.test_sd == pytest.approx(np.std(values, ddof=1))


def test_over_folds_the_variance_is_raised_by_the_share_held_out() -> None:
    folds = {fold: [0.7 + 0.02 * fold, 0.72 + 0.02 * fold] for fold in range(5)}
    found = mean_interval({(fold, seed): value for fold, two in folds.items() for seed, value in enumerate(two)}, ratio=1 / 4)
    assert found is not None
    means = [np.mean(two) for two in folds.values()]
    error = np.std(means, ddof=1) * np.sqrt(1 / 5 + 1 / 4)
    assert found.high - found.mean == pytest.approx(student_t.ppf(0.975, 4) * error)
    assert found.n == 10


def test_the_corrected_interval_holds_the_truth_where_the_plain_one_does_not() -> None:
    """Folds that share training photos err together, here by as much as half of their variance."""
    rng = np.random.default_rng(0)
    held = {0.0: 0, 0.25: 0}
    for _ in range(400):
        shared = rng.normal(0, 1)
        values = {(fold, 0): shared * np.sqrt(0.2) + rng.normal(0, np.sqrt(0.8)) for fold in range(5)}
        for ratio in held:
            found = mean_interval(values, ratio)
            assert found is not None
            held[ratio] += found.low <= 0 <= found.high
    assert held[0.0] / 400 < 0.90
    assert 0.92 <= held[0.25] / 400 <= 0.98


def test_the_best_on_validation_wins_whatever_test_says_and_the_definitions_values_are_the_baseline() -> None:
    roles = {one.trial: one.role for one in confirmed_recipes(confirmed([[0.6, 0.7], [0.8, 0.9], [0.5, 0.6]]))}
    assert roles == {0: "winner", 1: "runner-up", 2: "baseline"}


def test_a_recipe_that_was_beaten_in_the_race_does_not_win_by_its_easier_rounds() -> None:
    found = confirmed_recipes(confirmed([[0.6, 0.7, 0.65], [0.9, 0.95]]))
    assert [(one.trial, one.role) for one in found] == [(0, "winner"), (1, "runner-up")]


def test_while_repetitions_are_to_come_a_recipe_with_fewer_is_not_beaten_by_that() -> None:
    whole = confirmed([[0.7, 0.7, 0.7], [0.8, 0.8], [0.6, 0.6]])
    assert [one.is_beaten for one in confirmed_recipes(whole)] == [False, True, True]
    running = replace(whole, is_confirming=True)
    assert [one.is_beaten for one in confirmed_recipes(running)] == [False, False, False]
    assert any("more are to come" in warning for warning in compare([running]).warnings)


def test_pairs_are_compared_on_the_same_seeds() -> None:
    first, second = [0.80, 0.82, 0.84, 0.86, 0.81], [0.75, 0.78, 0.79, 0.82, 0.75]
    (pair,) = paired_comparisons(confirmed([first, second]), UNIT)
    assert pair.p_value == pytest.approx(ttest_rel(first, second).pvalue)
    assert pair.is_shown
    assert pair.sentence.startswith("trial 0 beats trial 1 on test by 4.8 points (")


def test_without_a_significant_difference_the_cheaper_is_recommended() -> None:
    study = confirmed([[0.80, 0.84, 0.79], [0.81, 0.80, 0.82]])
    pairs = paired_comparisons(study, UNIT)
    assert pairs[0].sentence.startswith("no significant difference between trials 0 and 1 on test: 0.0 points (")
    recommended = recommended_recipe(confirmed_recipes(study), pairs)
    assert recommended is not None
    assert recommended.trial == 1


def test_with_a_significant_difference_the_winner_is_recommended_whatever_it_costs() -> None:
    study = confirmed([[0.90, 0.91, 0.92], [0.70, 0.71, 0.73]])
    recommended = recommended_recipe(confirmed_recipes(study), paired_comparisons(study, UNIT))
    assert recommended is not None
    assert recommended.trial == 0


def test_repetitions_that_all_agree_are_no_proof_when_there_are_few() -> None:
    (pair,) = paired_comparisons(confirmed([[0.75, 0.5, 0.75], [0.5, 0.25, 0.5]]), UNIT)
    assert (pair.difference.value, pair.p_value, pair.is_shown) == (0.25, 0.25, False)


def test_a_single_repetition_has_no_interval_and_recommends_nothing() -> None:
    (found,) = confirmed_recipes(confirmed([[0.8]]))
    assert found.test is None
    assert found.test_sd is None
    assert recommended_recipe([found], []) is None


def test_a_saving_of_next_to_nothing_does_not_unseat_the_winner() -> None:
    study = confirmed([[0.80, 0.84, 0.79], [0.81, 0.80, 0.82]], costs=(11.2, 11.0))
    recommended = recommended_recipe(confirmed_recipes(study), paired_comparisons(study, UNIT))
    assert recommended is not None
    assert recommended.trial == 0


def test_a_repetition_that_failed_dethrones_nobody() -> None:
    study = confirmed([[0.90, 0.91, 0.905, 0.902, 0.9], [0.7] * 5])
    broken = replace(study.repetitions[4], state=TrialState.FAIL, value=None, metrics={})
    found = confirmed_recipes(replace(study, repetitions=[*study.repetitions[:4], broken, *study.repetitions[5:]]))
    assert [(one.trial, one.role, one.is_beaten) for one in found] == [(0, "winner", False), (1, "runner-up", False)]


def test_two_photos_of_fifty_told_apart_alike_twice_are_no_proof() -> None:
    (pair,) = paired_comparisons(confirmed([[41 / 50, 43 / 50], [40 / 50, 42 / 50]]), UNIT)
    assert pair.p_value == 0.5
    assert not pair.is_shown


def test_a_pair_that_is_clear_only_by_itself_is_told_as_such() -> None:
    study = confirmed([[0.80, 0.82, 0.81, 0.84, 0.83], [0.79, 0.80, 0.80, 0.82, 0.83], [0.79, 0.83, 0.80, 0.84, 0.83]])
    pair = next(one for one in paired_comparisons(study, UNIT) if (one.first, one.second) == (0, 1))
    assert pair.difference.low > 0
    assert pair.p_value < 0.05
    assert not pair.is_shown
    assert pair.sentence.startswith("no significant difference between trials 0 and 1 on test: 1.2 points (")
    assert pair.sentence.endswith(", by itself clear, not among 3 pairs")


def test_what_is_recommended_for_its_cost_says_that_a_promotion_asks_for_more() -> None:
    found = compare([confirmed([[0.80, 0.84, 0.79], [0.81, 0.80, 0.82]])])
    assert "leave no room for a loss of more than 2.0 points." in found.answer[2]
