"""Contrasts of a linear model against figures worked out otherwise."""

import numpy as np
import pytest
from scipy.stats import t as student_t
from scipy.stats import ttest_ind

from study.analysis.factors import Factor
from study.analysis.matched import Design, holm


def factor(codes: list[int], key: str = "head") -> Factor:
    return Factor(key, ("a", "b", "c"), np.array(codes))


def test_two_groups_alone_are_compared_as_welch_does() -> None:
    first, second = np.array([0.1, 0.3, 0.2]), np.array([0.9, 0.5, 0.7, 0.8])
    design = Design.of([factor([0, 0, 0, 1, 1, 1, 1])])
    found = design.fit.estimate(design.contrast(0, 1, 0)[None], np.concatenate([first, second])[:, None])
    welch = ttest_ind(second, first, equal_var=False)
    interval = welch.confidence_interval(0.95)
    assert found.values[0] == pytest.approx(second.mean() - first.mean())
    # Bell and McCaffrey's degrees of freedom suppose equal noise, Welch's do not: 4.7 and 5.0 here.
    assert (found.low[0], found.high[0]) == pytest.approx((interval.low, interval.high), abs=0.02)
    assert found.p_values[0] == pytest.approx(welch.pvalue, abs=0.002)


def test_a_level_of_few_trials_is_judged_by_their_few_residuals() -> None:
    codes = [0] * 50 + [1] * 3
    values = np.random.default_rng(0).normal(0, 1, 53)
    design = Design.of([factor(codes)])
    found = design.fit.estimate(design.contrast(0, 1, 0)[None], values[:, None])
    half = (found.high[0] - found.low[0]) / 2
    error = np.sqrt(values[:50].var(ddof=1) / 50 + values[50:].var(ddof=1) / 3)
    assert student_t.ppf(0.975, 3) < half / error < student_t.ppf(0.975, 2)


def test_a_difference_is_matched_on_the_other_factor() -> None:
    # Level b was tried mostly where the other factor is good: unmatched, it would look 0.3 better instead of 0.1.
    first, second = [0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 0]
    noise = np.array([1, -1, 1, -1, 1, -1]) * 1e-3
    values = 0.1 * np.array(first) + 0.6 * np.array(second) + noise
    design = Design.of([factor(first), factor(second, "other")])
    found = design.fit.estimate(design.contrast(0, 1, 0)[None], values[:, None])
    assert found.values[0] == pytest.approx(0.1, abs=0.005)
    assert found.low[0] < 0.1 < found.high[0]


def test_levels_that_never_differ_alone_are_not_told_apart() -> None:
    codes = [0, 0, 0, 1, 1, 1]
    design = Design.of([factor(codes), factor(codes, "other")])
    found = design.fit.estimate(design.contrast(0, 1, 0)[None], np.arange(6.0)[:, None])
    assert not found.is_known(0)


def test_a_level_of_a_single_trial_has_no_interval() -> None:
    design = Design.of([factor([0, 0, 0, 1, 1, 2])])
    rows = np.stack([design.contrast(0, 1, 0), design.contrast(0, 2, 0)])
    found = design.fit.estimate(rows, np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.9])[:, None])
    assert found.is_known(0)
    assert not found.is_known(1)


def test_values_without_noise_have_no_interval() -> None:
    design = Design.of([factor([0, 0, 1, 1])])
    assert not design.fit.estimate(design.contrast(0, 1, 0)[None], np.array([1.0, 1.0, 2.0, 2.0])[:, None]).is_known(0)


def test_draws_that_differ_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    design = Design.of([factor([0, 1] * 12)])
    measured = rng.normal(0, 1, (24, 1))
    drawn = measured + rng.normal(0, 1, (24, 30)) * (np.arange(24)[:, None] < 6)
    row = design.contrast(0, 1, 0)[None]
    narrow, wide = (design.fit.estimate(row, values) for values in (np.repeat(measured, 30, axis=1), drawn))
    assert wide.high[0] - wide.low[0] > narrow.high[0] - narrow.low[0]
    assert narrow.low[0] == pytest.approx(design.fit.estimate(row, measured).low[0])


def test_a_marginal_mean_is_the_mean_at_a_level_where_the_design_is_balanced() -> None:
    design = Design.of([factor([0, 0, 1, 1]), factor([0, 1, 0, 1], "other")])
    values = np.array([0.1, 0.2, 0.5, 0.7])
    rows = np.stack([design.marginal(0, 0), design.marginal(0, 1)])
    assert design.fit.estimate(rows, values[:, None]).values == pytest.approx([0.15, 0.6])


def test_holm_corrects_as_in_his_paper() -> None:
    # Sorted: 0.01·4, 0.02·3 = 0.06, 0.04·2 = 0.08, 0.05·1 raised to 0.08.
    assert holm([0.04, 0.01, 0.05, 0.02]) == pytest.approx([0.08, 0.04, 0.08, 0.06])
    assert holm([]) == []
