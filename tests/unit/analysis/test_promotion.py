"""The rules by which a champion is replaced, one test each; the interval against SciPy's."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_1samp, ttest_ind

from study.analysis.differences import welch
from study.analysis.findings import Estimate, PairedComparison
from study.analysis.promotion import Rule, decide, forced
from study.analysis.standings import Standing

GOOD, POOR = Estimate(0.80, 0.78, 0.82, 5), Estimate(0.70, 0.68, 0.72, 5)


def standing(version: int, test: Estimate | None, **changes: Any) -> Standing:
    made = Standing(
        f"version {version}", f"pets-{version}", version, "d" * 32, "test_accuracy", True, test, {"parameters_m": 10.0}
    )
    return replace(made, **changes)


def pair(first: int, second: int, difference: Estimate, is_shown: bool = True, num_pairs: int = 1) -> PairedComparison:
    return PairedComparison(first, second, difference, 0.01, is_shown, "", "pets", num_pairs)


def test_without_repetitions_nothing_is_promoted_whatever_the_search_found() -> None:
    decision = decide(standing(2, None), standing(1, POOR))
    assert (decision.is_granted, decision.rule) == (False, Rule.CONFIRMED)
    assert "[confirm]" in decision.sentences[0]
    assert not decide(standing(2, None), None).is_granted


def test_while_more_repetitions_are_to_come_nothing_is_promoted() -> None:
    decision = decide(standing(2, GOOD, is_confirming=True), standing(1, POOR))
    assert (decision.is_granted, decision.rule) == (False, Rule.CONFIRMED)
    assert "study resume pets-2" in decision.sentences[0]


def test_where_there_is_no_champion_a_confirmed_version_becomes_it() -> None:
    decision = decide(standing(1, POOR), None)
    assert (decision.is_granted, decision.rule) == (True, Rule.NO_CHAMPION)
    assert "0.700 (0.680 to 0.720, n = 5)" in decision.sentences[0]


def test_figures_on_other_test_photos_are_not_compared() -> None:
    decision = decide(standing(2, GOOD, data_digest="e" * 32), standing(1, POOR))
    assert (decision.is_granted, decision.rule) == (False, Rule.SAME_DATA)
    assert "dddddddddddd" in decision.sentences[0]
    assert "eeeeeeeeeeee" in decision.sentences[0]


def test_figures_of_other_metrics_are_not_compared() -> None:
    decision = decide(standing(2, GOOD, metric="test_macro_f1"), standing(1, POOR))
    assert (decision.is_granted, decision.rule) == (False, Rule.SAME_QUESTION)


def test_a_champion_that_was_never_confirmed_cannot_be_beaten() -> None:
    decision = decide(standing(2, GOOD), standing(1, None))
    assert (decision.is_granted, decision.rule) == (False, Rule.CHAMPION_CONFIRMED)


def test_better_beyond_the_interval_is_promoted_and_worse_is_not() -> None:
    won, lost = decide(standing(2, GOOD), standing(1, POOR)), decide(standing(2, POOR), standing(1, GOOD))
    assert (won.is_granted, won.rule) == (True, Rule.BETTER)
    assert (lost.is_granted, lost.rule) == (False, Rule.NOT_WORSE)
    assert won.difference is not None
    assert won.difference.value == pytest.approx(0.10)
    assert any("+0.100" in sentence and "Welch" in sentence for sentence in won.sentences)


def test_of_a_metric_that_is_minimised_less_is_better() -> None:
    low, high = (standing(one, test, is_maximized=False) for one, test in ((2, POOR), (1, GOOD)))
    decision = decide(low, high)
    assert decision.rule is Rule.BETTER
    assert decision.difference is not None
    assert 0 < decision.difference.low < 0.10 < decision.difference.high
    assert decide(high, low).rule is Rule.NOT_WORSE


@pytest.mark.parametrize(
    ("cost", "champions", "rule"),
    [
        ({"parameters_m": 5.0}, {"parameters_m": 10.0}, Rule.CHEAPER),
        ({"parameters_m": 9.8}, {"parameters_m": 10.0}, Rule.NOT_CHEAPER),  # within what measurements differ by
        ({"parameters_m": 20.0}, {"parameters_m": 10.0}, Rule.NOT_CHEAPER),
        ({"parameters_m": 5.0, "latency_ms": 9.0}, {"parameters_m": 10.0, "latency_ms": 3.0}, Rule.NOT_CHEAPER),  # it is slower
        ({"flops_g": 1.0}, {"parameters_m": 10.0}, Rule.NOT_CHEAPER),
        (None, None, Rule.NOT_CHEAPER),
    ],
)
def test_an_equal_must_be_cheaper(cost: dict[str, float] | None, champions: dict[str, float] | None, rule: Rule) -> None:
    sure = Estimate(0.700, 0.698, 0.702, 5)
    decision = decide(standing(2, sure, cost=cost), standing(1, replace(sure, value=0.701), cost=champions))
    assert decision.rule is rule
    assert decision.is_granted == (rule is Rule.CHEAPER)
    assert "No difference shown" in decision.sentences[-1]


def test_repetitions_on_the_same_seeds_and_folds_decide_as_pairs() -> None:
    """Each mean moves with the folds by more than they differ: Welch sees nothing, pairs do."""
    wide = Estimate(0.75, 0.65, 0.85, 5)
    first, second = standing(7, wide, study="pets"), standing(3, replace(wide, value=0.73), study="pets")
    assert decide(first, second).rule is Rule.NOT_CHEAPER
    difference = Estimate(0.02, 0.01, 0.03, 5)
    for one in (pair(7, 3, difference), pair(3, 7, Estimate(-0.02, -0.03, -0.01, 5))):
        assert decide(first, second, [one]).rule is Rule.BETTER
        assert decide(second, first, [one]).rule is Rule.NOT_WORSE
    elsewhere = replace(second, study="dogs")  # its trial 3 is another's
    assert decide(first, elsewhere, [pair(7, 3, difference)]).rule is Rule.NOT_CHEAPER


def test_a_difference_that_the_comparison_does_not_show_moves_no_champion() -> None:
    """Its own interval leaves 0 out; corrected for the study's three pairs it is told as no difference."""
    wide = Estimate(0.75, 0.65, 0.85, 5)
    first, second = standing(7, wide, study="pets"), standing(3, replace(wide, value=0.73), study="pets")
    for difference in (Estimate(0.02, 0.001, 0.039, 5), Estimate(-0.01, -0.0199, -0.0001, 5)):
        decision = decide(first, second, [pair(7, 3, difference, is_shown=False, num_pairs=3)])
        assert decision.rule is Rule.NOT_CHEAPER
        assert "corrected with the 2 others of its study (Holm)" in decision.sentences[1]
        assert "No difference shown, by itself clear, not among 3 pairs" in decision.sentences[2]


SEEDS = {(0, 100 + seed): value for seed, value in enumerate((0.70, 0.78, 0.66, 0.82, 0.74))}
WIDE = Estimate(0.74, 0.66, 0.82, 5)


def ahead(by: float) -> dict[tuple[int, int], float]:
    return {place: value + by + 0.001 * (number % 3) for number, (place, value) in enumerate(SEEDS.items())}


@pytest.mark.parametrize("study", ["pets", "pets-again"])
def test_any_two_that_share_seeds_and_folds_are_compared_in_pairs_whatever_study_they_are_of(study: str) -> None:
    champion = standing(3, WIDE, study="pets", repetitions=SEEDS)
    candidate = standing(7, replace(WIDE, value=0.76), study=study, repetitions=ahead(0.02))
    decision = decide(candidate, champion)
    assert decision.rule is Rule.BETTER
    assert "paired on the 5 seeds and folds that both were trained with" in decision.sentences[1]
    assert decision.difference is not None
    assert decision.difference.value == pytest.approx(0.0208)
    assert decide(champion, candidate).rule is Rule.NOT_WORSE


def test_a_recipe_that_the_race_stopped_is_compared_on_the_rounds_that_it_ran() -> None:
    champion = standing(3, WIDE, repetitions=SEEDS)
    stopped = standing(7, WIDE, repetitions=dict(list(ahead(-0.02).items())[:3]))
    assert "paired on the 3 seeds" in decide(stopped, champion).sentences[1]


def test_repetitions_with_other_seeds_are_compared_as_two_samples_and_it_is_said() -> None:
    champion = standing(3, WIDE, repetitions=SEEDS)
    others = {(fold, seed + 50): value for (fold, seed), value in ahead(0.02).items()}
    decision = decide(standing(7, replace(WIDE, value=0.76), repetitions=others), champion)
    assert decision.rule is Rule.NOT_CHEAPER
    assert "Welch's interval, unpaired: their seeds and folds differ" in decision.sentences[1]
    unknown = decide(standing(7, replace(WIDE, value=0.76), repetitions=others), replace(champion, repetitions={}))
    assert "unpaired: the repetitions of version 3 are not known one by one" in unknown.sentences[1]


def test_the_champion_itself_stays() -> None:
    decision = decide(standing(1, GOOD), standing(1, None))
    assert (decision.is_granted, decision.rule) == (True, Rule.IS_CHAMPION)
    assert "0.800" in decision.sentences[0]


def test_the_trial_of_another_study_of_the_same_name_is_not_the_champion() -> None:
    """The stores were deleted, the registry was not: the name and the trial's number are the same, the model is not."""
    champion = standing(3, GOOD, study="pets", study_run="")
    for test, rule in ((None, Rule.CONFIRMED), (POOR, Rule.NOT_WORSE)):
        decision = decide(standing(3, test, study="pets", study_run="new"), champion)
        assert (decision.is_granted, decision.rule) == (False, rule)


def test_pairs_of_a_study_say_nothing_of_another_study_of_the_same_name() -> None:
    wide = Estimate(0.75, 0.65, 0.85, 5)
    candidate = standing(7, wide, study="pets", study_run="new")
    champion = standing(3, replace(wide, value=0.73), study="pets", study_run="")
    told = [pair(7, 3, Estimate(0.02, 0.01, 0.03, 5))]
    assert decide(candidate, champion, told).rule is Rule.NOT_CHEAPER
    assert decide(candidate, replace(champion, study_run="new"), told).rule is Rule.BETTER


def test_force_keeps_the_figures_that_it_overrules() -> None:
    refused = decide(standing(2, POOR), standing(1, GOOD))
    decision = forced(refused, "the champion's licence")
    assert (decision.is_granted, decision.rule) == (True, Rule.FORCED)
    assert decision.sentences == (*refused.sentences, "Forced: the champion's licence")


def test_the_interval_is_welchs() -> None:
    generator = np.random.default_rng(0)
    samples = generator.normal(0.8, 0.01, 5), generator.normal(0.7, 0.05, 8)
    estimates = []
    for sample in samples:
        interval = ttest_1samp(sample, 0).confidence_interval()
        estimates.append(Estimate(float(sample.mean()), float(interval.low), float(interval.high), len(sample)))
    found, expected = welch(*estimates), ttest_ind(*samples, equal_var=False).confidence_interval()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_repetitions_that_never_vary_have_a_difference_without_width() -> None:
    found = welch(Estimate(0.8, 0.8, 0.8, 3), Estimate(0.7, 0.7, 0.7, 3))
    assert (found.low, found.high) == pytest.approx((0.1, 0.1))


def test_no_difference_shown_is_not_equality_while_the_interval_leaves_room_for_a_loss() -> None:
    wide = Estimate(0.80, 0.65, 0.95, 3)
    cheap, dear = standing(2, wide, cost={"latency_ms": 9.0}), standing(1, replace(wide, value=0.88), cost={"latency_ms": 10.0})
    decision = decide(cheap, dear)
    assert (decision.is_granted, decision.rule) == (False, Rule.NOT_CHEAPER)
    assert "more seeds" in decision.sentences[-1]


def test_two_repetitions_that_differ_by_the_same_are_no_proof() -> None:
    alike = standing(2, Estimate(0.81, 0.81, 0.81, 2)), standing(1, Estimate(0.80, 0.80, 0.80, 2))
    assert decide(*alike).rule is Rule.NOT_CHEAPER
