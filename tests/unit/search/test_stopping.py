"""When a search has found enough."""

from pathlib import Path
from typing import Any

from study.definition import parse_definition
from study.search.outcomes import Outcome
from study.search.stopping import StopRules, num_repetitions
from study.trial import TrialConfig, TrialState

FOLDS = "fold = { choices = [0, 1, 2] }"


def rules(stop: str, space: str = "") -> StopRules:
    text = f"""
name = "stopped"
data = {{ generated = "instruments", split.folds = 3 }}
[space]
head = {{ choices = ["replace", "append"] }}
{space}
[search]
stop = {{ {stop} }}
"""
    definition = parse_definition(text, Path("/somewhere/stopped.toml"))
    return StopRules(definition.search.stop, definition.objective, num_repetitions(definition.space))


def outcome(number: int, value: float, **searched: Any) -> Outcome:
    return Outcome(number, TrialState.COMPLETE, TrialConfig(), searched, value, num_epochs=1, run_id=None)


def test_one_trial_that_reaches_the_target_is_enough_where_nothing_is_repeated() -> None:
    stopping = rules("target = 0.9")
    stopping.add(outcome(0, 0.91, head="append"))
    assert stopping.reason(0.0, 0.0) == "val_balanced_accuracy 0.91 reached the target 0.9"


def test_an_easy_fold_does_not_reach_the_target_for_its_recipe() -> None:
    stopping = rules("target = 0.9", FOLDS)
    stopping.add(outcome(0, 0.97, head="append", fold=0))
    stopping.add(outcome(1, 0.92, head="append", fold=1))
    assert stopping.reason(0.0, 0.0) is None
    stopping.add(outcome(2, 0.75, head="append", fold=2))
    assert stopping.reason(0.0, 0.0) is None, "its mean is 0.88"
    for fold in range(3):
        stopping.add(outcome(3 + fold, 0.93, head="replace", fold=fold))
    assert stopping.reason(0.0, 0.0) == "val_balanced_accuracy 0.93 reached the target 0.9"


def test_patience_begins_with_the_first_recipe_that_has_all_its_folds() -> None:
    stopping = rules("patience = 2", FOLDS)
    for fold in range(2):
        stopping.add(outcome(fold, 0.5, head="append", fold=fold))
    assert stopping.reason(0.0, 0.0) is None
    stopping.add(outcome(2, 0.5, head="append", fold=2))
    for fold in range(2):
        assert stopping.reason(0.0, 0.0) is None
        stopping.add(outcome(3 + fold, 0.9, head="replace", fold=fold))
    assert stopping.reason(0.0, 0.0) == "none of the last 2 trials was better than the best"


def test_seeds_that_range_over_billions_are_counted_and_not_listed() -> None:
    assert rules("target = 0.9", f"{FOLDS}\nseed = {{ low = 0, high = 2000000000 }}")._num_repetitions == 3 * 2_000_000_001
