"""What was found, in words."""

import pytest

from study.analysis.findings import Contrast, Estimate, Level
from study.analysis.sentences import Unit, contrast_sentence, effect_sentence

ACCURACY, MAE = Unit("accuracy", True), Unit("mae", False)


def contrast(level: str, reference: str, low: float, high: float, is_shown: bool) -> Contrast:
    return Contrast("imbalance", level, reference, Estimate((low + high) / 2, low, high, 24), 0.01, 0.01, is_shown)


def level(name: str, mean: float) -> Level:
    return Level(name, Estimate(mean, mean - 0.1, mean + 0.1, 12), 12, 0)


def test_a_difference_of_shares_is_told_in_points_and_the_better_level_comes_first() -> None:
    found = contrast("balanced_subset", "weighted_loss", -0.034, -0.008, is_shown=True)
    assert contrast_sentence(found, ACCURACY) == "weighted_loss beats balanced_subset by 2.1 points (0.8 to 3.4, n = 24)"


def test_where_lower_is_better_the_lower_level_beats_the_other_in_the_metrics_own_unit() -> None:
    found = contrast("sgd", "adam", 12.5, 37.5, is_shown=True)
    assert contrast_sentence(found, MAE) == "adam beats sgd by 25 in mae (12.5 to 37.5, n = 24)"


def test_no_difference_is_told_with_its_interval() -> None:
    found = contrast("replace", "append", -0.004, 0.011, is_shown=False)
    levels = [level("replace", 0.8), level("append", 0.79)]
    assert effect_sentence(levels, [found], ACCURACY) == "no difference shown (-0.4 to 1.1 points, n = 24)"


def test_of_several_levels_those_that_the_best_was_not_shown_to_beat_are_named() -> None:
    found = [contrast("a", "c", 0.01, 0.03, True), contrast("a", "b", -0.01, 0.02, False), contrast("b", "c", 0.0, 0.03, False)]
    sentence = effect_sentence([level("a", 0.8), level("b", 0.79), level("c", 0.7)], found, ACCURACY)
    assert sentence == "a beats c by 2.0 points (1.0 to 3.0, n = 24); no difference shown between a and b"


@pytest.mark.parametrize(("value", "words"), [(-0.0001, "0.0"), (0.0125, "1.2"), (-0.02, "-2.0")])
def test_a_difference_that_rounds_to_nothing_has_no_sign(value: float, words: str) -> None:
    assert ACCURACY.number(value) == words


def test_an_interval_without_zero_that_correction_undoes_is_told_as_that() -> None:
    levels = [Level(name, Estimate(0.7, 0.6, 0.8, 12), 12, 0) for name in ("a", "b")]
    contrast = Contrast("head", "a", "b", Estimate(0.04, 0.003, 0.08, 24), 0.04, 0.3, False)
    told = effect_sentence(levels, [contrast], Unit("accuracy", True))
    assert told == "no difference shown (0.3 to 8.0 points, by itself clear, not among all comparisons, n = 24)"
