"""What the page computes itself: scales, shares, words."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from study.analysis.findings import Estimate
from study.analysis.report.gathering import bins_of, heated
from study.analysis.report.scale import scale_over
from study.analysis.report.sections.calibration import calibration_error
from study.analysis.report.shares import wilson
from study.analysis.report.words import Quality, cost_text, joined, percent, sentence, shown, significant
from study.training.metrics import expected_calibration_error

SHARE = Quality("balanced_accuracy", True)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
def test_a_scale_holds_all_values_between_round_ends_with_few_ticks(values: list[float]) -> None:
    scale = scale_over(values)
    width = scale.high - scale.low
    assert scale.low <= min(values) + 1e-6 * width
    assert max(values) <= scale.high + 1e-6 * width
    assert 2 <= len(scale.ticks) <= 8
    assert scale.place(scale.low) == 0
    assert scale.place(scale.high) == 100


def test_a_scale_of_nothing_and_of_one_value_is_still_one() -> None:
    assert (scale_over([]).low, scale_over([]).high) == (0, 1)
    assert 0 < scale_over([0.5, 0.5]).place(0.5) < 100
    assert scale_over([float("nan"), float("inf"), 1.0, 2.0]).high == 2


def test_values_outside_a_scale_lie_on_its_edge() -> None:
    assert scale_over([0, 1]).place(7) == 100


@pytest.mark.parametrize(("num_right", "num_all"), [(0, 5), (3, 5), (5, 5), (61, 81), (1, 1)])
def test_the_interval_of_a_share_is_scipys(num_right: int, num_all: int) -> None:
    expected = binomtest(num_right, num_all).proportion_ci(method="wilson")
    assert wilson(num_right, num_all) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_the_share_of_nothing_may_be_anything() -> None:
    assert wilson(0, 0) == (0, 1)


def _probabilities(num_examples: int = 300) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    scores = generator.normal(0, 2, (num_examples, 4))
    powers = np.exp(scores)
    return powers / powers.sum(axis=1, keepdims=True), generator.integers(0, 4, num_examples)


def test_the_bins_of_a_calibration_have_the_error_that_training_measures() -> None:
    probabilities, labels = _probabilities()
    expected = expected_calibration_error(torch.tensor(probabilities), torch.tensor(labels))
    bins = bins_of(probabilities, labels)
    assert sum(one.count for one in bins) == len(labels)
    assert calibration_error(bins) == pytest.approx(float(expected), abs=1e-12)


def test_heated_probabilities_are_those_from_before_the_temperature() -> None:
    scores = torch.randn(50, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 5
    cooled = (scores / 2.5).softmax(dim=1).numpy()
    np.testing.assert_allclose(heated(cooled, 2.5), scores.softmax(dim=1).numpy(), atol=1e-12)


def test_shares_are_told_in_percent_and_points_and_other_metrics_as_they_are() -> None:
    estimate = Estimate(0.0213, -0.008, 0.034, 24)
    assert SHARE.text(0.7843) == "78.4\N{NO-BREAK SPACE}%"
    assert SHARE.gap(estimate) == "+2.1 points (−0.8 to 3.4)"
    assert Quality("mae", False).gap(estimate) == "+0.0213 (−0.008 to 0.034)"
    assert Quality("mae", False).estimate(Estimate(1e-5, -2e-5, 4e-5, 3)) == "1e-05 (−2e-05 to 4e-05)"
    assert Quality("mae", False).text(None) == SHARE.text(float("nan")) == "–"


@pytest.mark.parametrize(
    ("value", "told"), [(0.0, "0"), (12345.0, "12,300"), (999.4, "999"), (0.00189234, "0.00189"), (1e-5, "1e-05")]
)
def test_numbers_have_three_digits(value: float, told: str) -> None:
    assert significant(value) == told


def test_a_file_of_weights_is_told_by_its_name() -> None:
    assert shown("/data/w/net.safetensors") == "net.safetensors"
    assert sentence("weights: /data/w/net.safetensors beats none by 3 points (-1 to 2)") == (
        "weights: net.safetensors beats none by 3 points (−1 to 2)."
    )
    assert sentence("t-shirt at 1e-4 to 1e-3") == "t-shirt at 1e-4 to 1e-3."


def test_words_are_joined_and_costs_carry_their_units() -> None:
    assert (joined([]), joined(["a"]), joined(["a", "b", "c"])) == ("", "a", "a, b and c")
    assert cost_text({"seconds": 95.0, "parameters_m": 0.74}) == "training time 1.6 min · parameters 0.74 million"
    assert percent(0.034) == "3.4\N{NO-BREAK SPACE}%"
