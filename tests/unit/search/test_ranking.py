"""Which recipe is the best, where recipes are tried on several folds and where they are not."""

from pathlib import Path
from typing import Any

import pytest

from study.definition import StudyDefinition, parse_definition
from study.search.outcomes import Outcome
from study.search.ranking import RankedRecipe, ranked_outcomes
from study.trial import TrialConfig, TrialState


def definition(search: str = 'sampler = "grid"\npruner = "none"', metric: str = "balanced_accuracy") -> StudyDefinition:
    text = f"""
name = "ranked"
data = {{ generated = "instruments", split.folds = 5 }}
objective.metric = "{metric}"
[space]
head = {{ choices = ["replace", "append"] }}
fold = {{ choices = [0, 1, 2, 3, 4] }}
[search]
{search}
"""
    return parse_definition(text, Path("/somewhere/ranked.toml"))


def outcomes(**values: list[float | None]) -> list[Outcome]:
    """Of each recipe, its value on each fold; None for a trial that failed, nothing for one that never began."""
    trials = [(head, fold, value) for head, of_folds in values.items() for fold, value in enumerate(of_folds)]
    return [outcome(number, value, head=head, fold=fold) for number, (head, fold, value) in enumerate(trials)]


def outcome(number: int, value: float | None, **searched: Any) -> Outcome:
    state = TrialState.FAIL if value is None else TrialState.COMPLETE
    return Outcome(number, state, TrialConfig(), searched, value, num_epochs=1, run_id=f"run-{number}")


def names(ranked: list[RankedRecipe[Outcome]]) -> list[str]:
    return [one.recipe["head"] for one in ranked]


def test_a_recipe_that_is_good_on_every_fold_comes_before_one_that_is_lucky_on_one() -> None:
    ranked = ranked_outcomes(outcomes(steady=[0.80] * 5, lucky=[0.70, 0.70, 0.70, 0.70, 0.85]), definition())
    assert names(ranked) == ["steady", "lucky"]
    assert [one.mean for one in ranked] == pytest.approx([0.80, 0.73])
    assert [[trial.number for trial in one.trials] for one in ranked] == [[0, 1, 2, 3, 4], [9, 5, 6, 7, 8]]


def test_of_a_loss_the_lower_mean_and_the_lower_value_are_the_better() -> None:
    found = ranked_outcomes(outcomes(steady=[0.3, 0.2], lucky=[0.5, 0.1]), definition(metric="loss"))
    assert names(found) == ["steady", "lucky"]
    assert [one.trials[0].number for one in found] == [1, 3]


def test_a_fold_that_one_recipe_lacks_counts_for_nobody() -> None:
    ranked = ranked_outcomes(outcomes(worse=[0.7, 0.7, 0.7, 0.9, 0.9], better=[0.75, 0.75, 0.75, None, 0.91]), definition())
    assert names(ranked) == ["better", "worse"]


def test_a_recipe_that_failed_on_most_folds_comes_last_and_spoils_no_comparison() -> None:
    broken = [None, None, None, None, 0.95]
    ranked = ranked_outcomes(outcomes(lucky=[0.7, 0.7, 0.7, 0.7, 0.9], steady=[0.8] * 5, broken=broken), definition())
    assert names(ranked) == ["steady", "lucky", "broken"]


def test_a_recipe_that_was_beaten_in_a_race_comes_last_whatever_its_first_folds_gave() -> None:
    values = outcomes(best=[0.9, 0.9, 0.6, 0.6, 0.6], other=[0.9, 0.9, 0.5, 0.5, 0.5], beaten=[0.95, 0.95])
    race = definition('sampler = "grid"\npruner = "wilcoxon"')
    assert names(ranked_outcomes(values, race)) == ["best", "other", "beaten"]
    assert [one.is_beaten for one in ranked_outcomes(values, race)] == [False, False, True]


def test_a_race_that_a_stop_rule_ends_in_the_middle_of_a_round_beats_nobody_by_that() -> None:
    values = outcomes(better=[0.9, 0.9], worse=[0.8, 0.8, 0.8])
    stopped = definition('sampler = "grid"\npruner = "wilcoxon"\nstop.hours = 1')
    assert names(ranked_outcomes(values, stopped)) == ["better", "worse"]


@pytest.mark.parametrize("search", ['sampler = "tpe"', 'sampler = "random"', 'sampler = "grid"\ntrials = 4'])
def test_where_not_every_repetition_was_planned_fewer_of_them_are_no_defeat(search: str) -> None:
    values = outcomes(often=[0.6, 0.6, 0.6], once=[0.9])
    assert names(ranked_outcomes(values, definition(f'{search}\npruner = "wilcoxon"'))) == ["once", "often"]


def test_where_no_fold_is_common_to_all_each_recipe_is_worth_its_own_mean() -> None:
    single = [outcome(0, 0.7, head="append", fold=1), outcome(1, 0.8, head="replace", fold=2)]
    assert names(ranked_outcomes(single, definition())) == ["replace", "append"]


def test_where_nothing_is_repeated_recipes_are_ranked_by_their_value_and_the_earlier_of_equals_is_first() -> None:
    single = [outcome(0, 0.5, head="a"), outcome(1, 0.7, head="b"), outcome(2, 0.7, head="c"), outcome(3, None, head="d")]
    assert names(ranked_outcomes(single, definition())) == ["b", "c", "a"]
