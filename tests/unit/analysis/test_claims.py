"""A claim beside what was found: the verdict follows from the interval, whichever way round the contrast was taken."""

from dataclasses import replace
from pathlib import Path

import pytest

from study.analysis.claims import Judgement, Verdict, judge
from study.analysis.findings import AlteredTest, Comparison, ConfirmedRecipe, Contrast, Estimate, FactorEffect, Level
from study.definition import parse_definition

FACTOR = ['factor = "imbalance"']
BETTER = [*FACTOR, 'better = "weighted_loss"', 'worse = "none"']
ALIKE = [*FACTOR, 'alike = ["none", "weighted_loss"]', "margin = 0.03"]


def comparison(low: float, high: float, *, is_shown: bool, level: str = "weighted_loss", reference: str = "none") -> Comparison:
    """One contrast: `level` minus `reference` lies between `low` and `high`."""
    difference = Estimate((low + high) / 2, low, high, 24)
    contrast = Contrast("imbalance", level, reference, difference, 0.01, 0.02 if is_shown else 0.4, is_shown)
    levels = [Level(name, Estimate(0.6, 0.5, 0.7, 12), 12, 0) for name in (level, reference)]
    effect = FactorEffect("imbalance", 0.5, levels, [contrast], False, "what was found")
    return Comparison(["s"], "val_balanced_accuracy", True, [], [effect], [], [], [], [], None, "", [])


def confirmed_at(low: float, high: float) -> Comparison:
    recipe = ConfirmedRecipe(0, "winner", {}, None, None, Estimate((low + high) / 2, low, high, 5), 0.01, {})
    return replace(comparison(0, 0, is_shown=False), effects=[], confirmed=[recipe])


def judged(lines: list[str], found: Comparison | None, objective: str = "balanced_accuracy") -> Judgement:
    space = '[space]\nimbalance = { choices = ["none", "weighted_loss"] }\n'
    text = f'name = "s"\ndata.generated = "instruments"\nobjective.metric = "{objective}"\n{space}[[claims]]\ntext = "x"\n'
    return judge(parse_definition(text + "\n".join(lines), Path("/s.toml")), found)[0]


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (comparison(0.01, 0.05, is_shown=True), Verdict.CONFIRMED),
        (comparison(-0.05, -0.01, is_shown=True), Verdict.REFUTED),
        (comparison(-0.01, 0.05, is_shown=False), Verdict.NOT_SHOWN),
        (comparison(-0.05, -0.01, is_shown=True, level="none", reference="weighted_loss"), Verdict.CONFIRMED),
    ],
)
def test_better_is_confirmed_by_a_shown_difference_of_its_sign(found: Comparison, verdict: Verdict) -> None:
    assert judged(BETTER, found).verdict is verdict


def test_of_a_loss_the_smaller_is_the_better() -> None:
    assert judged(BETTER, comparison(-0.05, -0.01, is_shown=True), objective="loss").verdict is Verdict.CONFIRMED


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (comparison(-0.02, 0.02, is_shown=False), Verdict.CONFIRMED),
        (comparison(0.001, 0.02, is_shown=True), Verdict.CONFIRMED),  # there, and too small to matter
        (comparison(-0.02, 0.08, is_shown=False), Verdict.NOT_SHOWN),  # not shown to differ is not shown to be alike
        (comparison(0.001, 0.031, is_shown=True), Verdict.NOT_SHOWN),  # may be within, may be beyond
        (comparison(0.04, 0.08, is_shown=True), Verdict.REFUTED),
        (comparison(-0.08, -0.04, is_shown=True), Verdict.REFUTED),
    ],
)
def test_alike_is_confirmed_by_an_interval_within_the_margin_only(found: Comparison, verdict: Verdict) -> None:
    assert judged(ALIKE, found).verdict is verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.62, 0.70, Verdict.CONFIRMED),  # above the figure less 5 points
        (0.50, 0.599, Verdict.REFUTED),
        (0.50, 0.70, Verdict.NOT_SHOWN),  # too wide to say
        (0.601, 0.640, Verdict.CONFIRMED),
        (0.599, 0.640, Verdict.NOT_SHOWN),  # a hair lower: one thousandth does not turn a claim round
        (0.58, 0.649, Verdict.NOT_SHOWN),
    ],
)
def test_a_figure_is_reached_or_missed_where_the_whole_interval_is_on_one_side_of_it_less_the_margin(
    low: float, high: float, verdict: Verdict
) -> None:
    assert judged(["figure = 0.65"], confirmed_at(low, high)).verdict is verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.60, 0.69, Verdict.CONFIRMED), (0.66, 0.75, Verdict.NOT_SHOWN), (0.71, 0.80, Verdict.REFUTED)],
)
def test_of_a_loss_the_margin_is_allowed_above_the_figure(low: float, high: float, verdict: Verdict) -> None:
    assert judged(["figure = 0.65"], confirmed_at(low, high), objective="loss").verdict is verdict


def test_a_question_left_open_is_answered_by_any_shown_difference() -> None:
    assert judged(FACTOR, comparison(0.01, 0.05, is_shown=True)).verdict is Verdict.ANSWERED
    assert judged(FACTOR, comparison(-0.01, 0.05, is_shown=False)).verdict is Verdict.NOT_SHOWN


def test_without_a_result_nothing_is_judged() -> None:
    assert judged(BETTER, None).verdict is Verdict.NOT_MEASURED
    assert judged([], confirmed_at(0.6, 0.7)).verdict is Verdict.NOT_MEASURED  # in words only


def test_the_interval_is_told_in_the_claims_direction() -> None:
    found = judged(BETTER, comparison(-0.05, -0.01, is_shown=True, level="none", reference="weighted_loss"))
    assert found.sureness == "difference +3.0 points (1.0 to 5.0), p = 0.020, n = 24"


def altered_at(low: float, high: float) -> Comparison:
    estimate = Estimate((low + high) / 2, low, high, 10)
    found = AlteredTest(0, "greyscale", Estimate(0.4, 0.3, 0.5, 10), estimate, None, 0.001, True, "")
    return replace(confirmed_at(0.6, 0.7), altered=[found])


@pytest.mark.parametrize(
    ("loses", "low", "high", "verdict"),
    [
        ("true", 0.06, 0.20, Verdict.CONFIRMED),
        ("true", -0.01, 0.04, Verdict.REFUTED),
        ("true", 0.02, 0.20, Verdict.NOT_SHOWN),
        ("false", -0.01, 0.04, Verdict.CONFIRMED),
        ("false", 0.06, 0.20, Verdict.REFUTED),
    ],
)
def test_a_loss_on_altered_photos_is_judged_where_its_whole_interval_is_on_one_side_of_the_margin(
    loses: str, low: float, high: float, verdict: Verdict
) -> None:
    lines = ['altered = "greyscale"', f"loses = {loses}", "[confirm]", 'altered_tests = ["greyscale"]']
    assert judged(lines, altered_at(low, high)).verdict is verdict
    assert judged(lines, confirmed_at(0.6, 0.7)).verdict is Verdict.NOT_SHOWN
