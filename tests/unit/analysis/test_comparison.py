"""The answer of whole studies, bad ones included."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from study.analysis.comparison import compare
from study.analysis.evidence import StudyEvidence, TrialEvidence
from study.analysis.findings import Comparison, FactorEffect
from study.errors import DefinitionError
from study.printing.comparison import comparison_of, print_comparison
from study.trial import TrialState
from tests.known_effects import KnownEffects, simulated_study

from .evidence_of import definition, evidence, trial

GRID = """
head = { choices = ["replace", "append"] }
imbalance = { choices = ["none", "weighted_loss"] }
seed = { choices = [0, 1, 2, 3] }
"""
RANDOM = {"head": "append", "optimizer.name": "adam", "optimizer.lr": 1e-3}


def grid(gain: float = 0.05, together: float = 0.0, noise: float = 0.01) -> list[TrialEvidence]:
    """Sixteen trials in which "append" gains, and gains more together with the weighted loss."""
    rng, trials = np.random.default_rng(1), list[TrialEvidence]()
    for head, imbalance, seed in product(("replace", "append"), ("none", "weighted_loss"), range(4)):
        is_both = head == "append" and imbalance == "weighted_loss"
        value = 0.7 + gain * (head == "append") + together * is_both + rng.normal(0, noise)
        trials.append(trial(len(trials), value, {"head": head, "imbalance": imbalance, "seed": seed}))
    return trials


def grid_study(trials: Sequence[TrialEvidence], objective: str = "") -> StudyEvidence:
    return evidence(trials, definition(GRID, top=objective, search='sampler = "grid"'))


def effect(comparison: Comparison, factor: str) -> FactorEffect:
    return next(one for one in comparison.effects if one.factor == factor)


def numbers_are_sound(comparison: Comparison) -> bool:
    """Every number is finite, so that `--json` is JSON, and no interval is of no width."""
    json.dumps(comparison_of(comparison), allow_nan=False)
    contrasts = [contrast for one in comparison.effects for contrast in one.contrasts]
    return all(contrast.difference.low < contrast.difference.value < contrast.difference.high for contrast in contrasts)


def test_an_ablation_tells_the_factor_that_mattered_and_that_the_other_did_not() -> None:
    found = compare([grid_study(grid())])
    assert {one.factor for one in found.effects} == {"head", "imbalance"}  # the seed is a block
    head = effect(found, "head")
    assert re.fullmatch(r"append beats replace by \d\.\d points \(.* to .*, n = 16\)", head.sentence)
    assert head.contrasts[0].difference.low < -0.05 < head.contrasts[0].difference.high
    assert not head.is_exploratory
    assert effect(found, "imbalance").sentence.startswith("no difference shown (")
    assert [level.name for level in head.levels] == ["append", "replace"]
    assert numbers_are_sound(found)


def test_where_lower_is_better_the_lower_level_wins() -> None:
    found = compare([grid_study(grid(), 'objective.metric = "loss"')])
    assert effect(found, "head").sentence.startswith("replace beats append by 0.0")
    assert effect(found, "head").levels[0].name == "replace"
    assert found.leaderboard[0].value == min(one.value for one in found.leaderboard if one.value is not None)


def test_an_interaction_is_named_with_the_levels_that_make_it() -> None:
    found = compare([grid_study(grid(together=0.1))])
    (interaction,) = found.interactions
    assert interaction.is_shown
    assert interaction.factors == ("head", "imbalance")
    assert "is 9" in interaction.sentence or "is 10" in interaction.sentence or "is 11" in interaction.sentence
    assert "higher with none than with weighted_loss (imbalance)" in interaction.sentence  # replace minus append
    assert not compare([grid_study(grid())]).interactions[0].is_shown


def test_a_repeated_result_is_counted_once() -> None:
    trials = grid()
    told = [trial(16 + number, one.value, one.searched, curve=(), repeats=one.number) for number, one in enumerate(trials)]
    once, twice = compare([grid_study(trials)]), compare([grid_study([*trials, *told])])
    assert effect(once, "head").contrasts == effect(twice, "head").contrasts
    assert "16 trials repeat the result of an earlier one and are counted once." in twice.warnings


def test_the_search_that_looks_at_results_is_called_exploratory_everywhere() -> None:
    found = compare([simulated_study(KnownEffects(0), "tpe", 24, 0)])
    assert all(one.is_exploratory for one in found.effects)
    assert "exploratory" in found.method
    assert all("(exploratory)" in sentence for sentence in found.answer if " beats " in sentence)


def test_pruned_trials_count_and_the_method_says_how() -> None:
    found = compare([simulated_study(KnownEffects(1), "random + median", 40, 1)])
    assert sum(level.num_pruned for level in effect(found, "head").levels) > 10
    assert sum(level.num_pruned + level.num_complete for level in effect(found, "head").levels) == 40
    assert "imputed" in found.method
    assert numbers_are_sound(found)


def test_the_same_evidence_gives_the_same_answer() -> None:
    study = simulated_study(KnownEffects(1), "random + median", 30, 1)
    assert compare([study]) == compare([study])


def test_a_conditional_key_is_compared_only_where_it_exists() -> None:
    rng, trials = np.random.default_rng(0), list[TrialEvidence]()
    for number in range(60):
        is_sgd, momentum = bool(rng.integers(2)), float(rng.uniform(0.8, 0.9))
        searched: dict[str, Any] = {**RANDOM, "optimizer.name": "sgd" if is_sgd else "adam"}
        searched |= {"optimizer.lr": float(10 ** rng.uniform(-4, -1)), "head": ("append", "replace")[number % 2]}
        searched |= {"optimizer.momentum": momentum} if is_sgd else {}
        value = 0.5 + 0.2 * is_sgd + (2 * (momentum - 0.85) if is_sgd else 0.0) + rng.normal(0, 0.01)
        trials.append(trial(number, value, searched))
    found = compare([evidence(trials)])
    found_momentum = effect(found, "optimizer.momentum")
    num_sgd = sum("optimizer.momentum" in one.searched for one in trials)
    assert sum(level.num_complete for level in found_momentum.levels) == num_sgd
    clearest = found_momentum.contrasts[0].difference
    assert clearest.low < -2 / 15 < clearest.high  # two thirds of the range apart, at 2 a unit


def test_several_studies_are_compared_within_each() -> None:
    one = evidence(
        [trial(n, one.value, one.searched, study="one") for n, one in enumerate(grid())], definition(GRID, name="one")
    )
    higher = [trial(n, (one.value or 0) + 0.2, one.searched, study="two") for n, one in enumerate(grid(noise=0.012))]
    two = evidence(higher, definition(GRID, name="two"))
    found = compare([one, two])
    head = effect(found, "head").contrasts[0].difference
    assert head.n == 32
    assert head.high - head.low < 0.03  # the 0.2 between the studies is no noise
    assert found.leaderboard[0].study == "two"


def test_trials_that_say_nothing_of_a_factor_are_counted_and_it_is_said_why() -> None:
    one = evidence(
        [trial(n, one.value, one.searched, study="one") for n, one in enumerate(grid())], definition(GRID, name="one")
    )
    fixed = [
        trial(n, 0.5 + n / 100, {"imbalance": ("none", "weighted_loss")[n % 2]}, study="two", recipe={"head": "other"})
        for n in range(4)
    ]
    two = evidence(fixed, definition('imbalance = { choices = ["none", "weighted_loss"] }', name="two"))
    found = compare([one, two])
    assert "head: 4 of 20 trials are left out of its effect: other (two) is searched by no study." in found.warnings


def on_photos(name: str, digest: str, gain: float) -> StudyEvidence:
    trials = [trial(n, (one.value or 0) + gain, one.searched, study=name) for n, one in enumerate(grid())]
    return replace(evidence(trials, definition(GRID, name=name)), data_digest=digest)


def test_a_best_of_one_studys_photos_is_not_called_the_best_of_anothers(capsys: pytest.CaptureFixture[str]) -> None:
    found = compare([on_photos("easy", "d", 0.2), on_photos("hard", "e", 0.0), on_photos("again", "e", 0.1)])
    easy, hard, *_ = found.answer
    assert re.match(r"On the photos of easy: best so far is trial \d+ \(", easy)
    assert re.match(r"On the photos of hard and again: best so far is trial \d+ of again \(", hard)
    assert "the best of 16," in easy
    assert "the best of 32," in hard
    assert found.recommended is None
    assert [len(board) for board in found.leaderboards] == [16, 32]
    assert [found.leaderboards[0][0].study, found.leaderboards[1][0].study] == ["easy", "again"]
    print_comparison(comparison_of(found))
    printed = capsys.readouterr().out
    assert "leaderboard: val_balanced_accuracy on the photos of easy" in printed
    assert "leaderboard: val_balanced_accuracy on the photos of hard and again" in printed


def test_studies_of_different_objectives_are_not_compared() -> None:
    with pytest.raises(DefinitionError, match="same objective .* has val_balanced_accuracy and .* has val_loss"):
        compare([grid_study(grid()), grid_study(grid(), 'objective.metric = "loss"')])


@pytest.mark.parametrize(
    ("trials", "sentence"),
    [
        ([], "No trial completed (there is none), so there is no best recipe."),
        (
            [trial(0, 0.7, RANDOM)],
            "head, optimizer.name, optimizer.lr, optimizer.momentum: nothing can be told: a single trial has a value.",
        ),
        ([trial(n, 0.7, RANDOM) for n in range(5)], "head: nothing can be told: only append was tried."),
        (
            [trial(n, None, RANDOM, TrialState.FAIL) for n in range(4)],
            "No trial completed (4 fail), so there is no best recipe.",
        ),
        (
            [trial(n, 0.1 * n, RANDOM | {"head": ("append", "replace")[n % 2]}, TrialState.PRUNED) for n in range(1, 9)],
            "No trial completed (8 pruned), so there is no best recipe.",
        ),
        (
            [trial(n, 0.5, RANDOM | {"head": ("append", "replace")[n % 2]}) for n in range(12)],
            "head: no difference: all 12 trials have the same value.",
        ),
    ],
)
def test_a_study_that_tells_nothing_says_so(trials: list[TrialEvidence], sentence: str) -> None:
    found = compare([evidence(trials)])
    assert any(one.startswith(sentence.removesuffix(".")) for one in found.answer), found.answer
    assert found.recommended is None
    assert numbers_are_sound(found)
    print_comparison(comparison_of(found))


def test_where_all_were_pruned_they_are_compared_at_the_epoch_that_all_reached() -> None:
    rng = np.random.default_rng(0)
    trials = [
        trial(n, 0.5 + 0.1 * (n % 2) + rng.normal(0, 0.01), RANDOM | {"head": ("append", "replace")[n % 2]}, TrialState.PRUNED)
        for n in range(12)
    ]
    found = compare([evidence(trials)])
    assert effect(found, "head").sentence.startswith("replace beats append by ")
    assert "compared at epoch 2" in found.method
    assert any("after 2 epochs" in one for one in found.warnings)


def test_with_fewer_trials_than_parameters_each_factor_is_compared_alone_or_not_at_all() -> None:
    rng = np.random.default_rng(0)
    trials = [
        trial(n, float(rng.uniform()), {"head": ("append", "replace")[n % 2], "optimizer.name": "adam", "optimizer.lr": rate})
        for n, rate in enumerate((1e-4, 1e-3, 1e-2, 1e-1, 3e-4))
    ]
    found = compare([evidence(trials)])
    assert numbers_are_sound(found)
    assert effect(found, "head").contrasts
    assert any("Few trials (5)" in one for one in found.warnings)


def test_failed_trials_are_left_out_and_the_level_that_fails_is_named() -> None:
    trials = [
        *grid(),
        *(trial(16 + n, None, {"head": "append", "imbalance": "none", "seed": n}, TrialState.FAIL) for n in range(3)),
    ]
    found = compare([grid_study(trials)])
    assert any("3 failed trials are left out" in one and "with" in one for one in found.warnings)
    assert effect(found, "head").contrasts[0].difference.n == 16


def test_two_objectives_show_their_front() -> None:
    study = definition('head = { choices = ["append", "replace"] }', top='objective.cost = "parameters_m"')
    costs = [(0.9, 60), (0.8, 10), (0.7, 20), (0.95, 100)]
    trials = [
        trial(n, value, {"head": ("append", "replace")[n % 2]}, costs={"parameters_m": cost})
        for n, (value, cost) in enumerate(costs)
    ]
    found = compare([evidence(trials, study)])
    assert [one.number for one in found.front] == [3, 0, 1]
    assert any(sentence.startswith("No trial beats these in both objectives: trial 3 (") for sentence in found.answer)


def test_an_unconfirmed_best_is_called_a_single_measurement() -> None:
    found = compare([grid_study(grid())])
    assert "without an interval" in found.answer[0]
    assert found.recommended is None


def test_everything_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_comparison(comparison_of(compare([grid_study(grid(together=0.1))])))
    printed = capsys.readouterr().out
    for part in (
        "Best so far is trial",
        "effects",
        "interactions",
        "leaderboard: val_balanced_accuracy",
        "Nothing was confirmed",
    ):
        assert part in printed


def test_what_all_shown_recipes_have_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    print_comparison(
        comparison_of(compare([grid_study([*grid(gain=0.3)[8:], trial(20, 0.1, {"head": "replace", "seed": 0})])]))
    )
    board = capsys.readouterr().out.partition("leaderboard")[2]
    assert board.count("append") == 8  # the ninth differs
    print_comparison(comparison_of(compare([grid_study(grid(gain=0.3)[8:])])))
    board = capsys.readouterr().out.partition("leaderboard")[2]
    assert board.count("append") == 1
    assert "all: append" in board


@pytest.mark.parametrize("seed", range(12))
def test_whatever_the_trials_there_is_an_answer_with_sound_numbers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.integers(-6, 7)
    trials = list[TrialEvidence]()
    for number in range(int(rng.integers(1, 25))):
        name = ("adam", "sgd")[rng.integers(2)]
        searched: dict[str, Any] = {"head": ("append", "replace")[rng.integers(2)], "optimizer.name": name}
        searched["optimizer.lr"] = float(10 ** rng.uniform(-4, -1))
        searched |= {"optimizer.momentum": float(rng.uniform(0.8, 0.9))} if name == "sgd" else {}
        state = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)[rng.choice(3, p=[0.4, 0.4, 0.2])]
        value = None if state is TrialState.FAIL else float(scale * (0.5 if rng.random() < 0.3 else rng.random()))
        trials.append(trial(number, value, searched, state))
    found = compare([evidence(trials, definition(top='objective.metric = "loss"'))])
    assert found.answer
    assert numbers_are_sound(found)
    print_comparison(comparison_of(found))


def test_where_folds_are_searched_the_answer_and_the_leaderboard_begin_with_the_best_mean() -> None:
    """One recipe is good on each fold, the other lucky on one."""
    space = 'head = { choices = ["replace", "append"] }\nfold = { choices = [0, 1, 2, 3, 4] }'
    study = definition(space, top="data.split.folds = 5", search='sampler = "grid"\npruner = "none"')
    lucky = [trial(fold, 0.85 if fold == 4 else 0.70, {"head": "append", "fold": fold}) for fold in range(5)]
    steady = [trial(5 + fold, 0.81 if fold == 2 else 0.80, {"head": "replace", "fold": fold}) for fold in range(5)]
    found = compare([evidence([*lucky, *steady], study)])
    assert [one.number for one in found.leaderboard] == [7, 5, 6, 8, 9, 4, 0, 1, 2, 3]
    assert found.leaderboard[0].recipe_mean == pytest.approx(0.802)
    assert found.answer[0].startswith("Best so far is trial 7 (head replace) with balanced_accuracy 0.810 on validation: its ")
    assert "recipe's mean over 5 folds and seeds is 0.802, the best of 10" in found.answer[0]
