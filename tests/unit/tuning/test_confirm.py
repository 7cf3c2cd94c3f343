"""Which recipes are repeated, with which seeds and folds, and what the repetitions say."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.storages import InMemoryStorage
from scipy.stats import bootstrap

from study.definition import StudyDefinition, parse_definition
from study.search.advisor import Advisor, Outcome
from study.search.outcomes import Proposal
from study.tracking.records import TrialRecord
from study.trial import TrialConfig, TrialState
from study.tuning.confirm import confirming_definition, link_tags, recipes_to_confirm, summarized
from study.tuning.repetitions import interval_of


def definition(extra: str = "") -> StudyDefinition:
    return parse_definition(
        f"""
name = "sure"
[data]
generated = "instruments"
{extra}
[space]
head = {{ choices = ["replace", "append"] }}
"optimizer.name" = {{ choices = ["adam", "sgd"] }}
"optimizer.momentum" = {{ low = 0.8, high = 0.99, when = {{ "optimizer.name" = ["sgd"] }} }}
[search]
trials = 8
[confirm]
top = 2
seeds = 3
""",
        Path("/somewhere/sure.toml"),
    )


def outcome(number: int, value: float | None, state: TrialState = TrialState.COMPLETE, **searched: Any) -> Outcome:
    return Outcome(number, state, TrialConfig(), searched, value, num_epochs=3, run_id=f"run-{number}")


def test_the_best_recipes_are_repeated_each_once() -> None:
    outcomes = [
        outcome(0, 0.7, head="append"),
        outcome(1, 0.9, head="replace", seed=1),
        outcome(2, 0.8, head="replace", seed=2),  # the same recipe as the best
        outcome(3, 0.95, TrialState.PRUNED, head="append"),
        outcome(4, 0.6, head="other"),
    ]
    assert [one.number for one in recipes_to_confirm(outcomes, definition(), top=2)] == [1, 0]


@pytest.mark.parametrize(("split", "num_folds"), [("", 1), ("split.folds = 3", 3)])
def test_every_recipe_gets_the_same_fresh_seeds_on_every_fold(split: str, num_folds: int) -> None:
    adam: dict[str, Any] = {"head": "append", "optimizer.name": "adam"}
    sgd: dict[str, Any] = {"head": "replace", "optimizer.name": "sgd", "optimizer.momentum": 0.9}
    repeated = confirming_definition(definition(split), [outcome(1, 0.9, **adam), outcome(0, 0.7, **sgd)])
    assert repeated.num_trials == 2 * 3 * num_folds
    advisor = Advisor.create(repeated, InMemoryStorage(), {})
    asked = [advisor.ask() for _ in range(repeated.num_trials)]
    assert advisor.ask() is None
    drawn: dict[str, set[tuple[int | None, int]]] = {"adam": set(), "sgd": set()}
    for proposal in asked:
        assert proposal is not None
        config = proposal.config
        drawn[config.optimizer.name].add((config.seed, config.fold))
        expected = adam if config.optimizer.name == "adam" else sgd
        assert {key: value for key, value in proposal.searched.items() if key not in ("seed", "fold")} == expected
    assert drawn["adam"] == drawn["sgd"]
    assert len(drawn["adam"]) == 3 * num_folds


def test_a_repetition_names_the_trial_that_it_repeats() -> None:
    chosen = [outcome(4, 0.9, head="append"), outcome(2, 0.8, head="replace")]
    proposal = Proposal(0, TrialConfig(), {"head": "replace", "seed": 5, "fold": 1}, run_id=None)
    assert link_tags(proposal, chosen) == {"study.confirms": "2", "study.confirms_run": "run-2"}


def test_an_interval_is_students() -> None:
    values = [0.70, 0.74, 0.71, 0.69, 0.73]
    found = interval_of({(0, seed): value for seed, value in enumerate(values)}, num_folds=1)
    assert found is not None
    assert found.n == 5
    assert found.mean == pytest.approx(0.714)
    assert found.sd == pytest.approx(np.std(values, ddof=1))
    # 2.776 is Student's 97.5 % quantile with 4 degrees of freedom, as every table has it.
    assert found.high - found.mean == pytest.approx(2.776 * found.sd / 5**0.5, rel=1e-3)
    around = bootstrap((values,), np.mean, random_state=0).confidence_interval
    assert found.low < around.low < around.high < found.high


def test_a_recipe_that_is_beaten_on_the_first_folds_is_not_trained_on_the_others_and_comes_last() -> None:
    best: dict[str, Any] = {"head": "append", "optimizer.name": "adam"}
    other: dict[str, Any] = {"head": "replace", "optimizer.name": "adam"}
    chosen = [outcome(1, 0.9, **other), outcome(0, 0.7, **best)]
    repeated = confirming_definition(definition("split.folds = 4"), chosen)
    advisor = Advisor.create(repeated, InMemoryStorage(), {})
    records = list[TrialRecord]()
    while (proposal := advisor.ask()) is not None:
        easier = 0.4 if proposal.number < 10 else 0.0  # the first five rounds' folds
        value = 0.5 + easier + (0.01 if proposal.searched["head"] == "append" else 0.0)
        advisor.tell(proposal.number, TrialState.COMPLETE, value)
        metrics = {"test_balanced_accuracy": value}
        records.append(TrialRecord(proposal.number, f"run-{proposal.number}", TrialState.COMPLETE, {}, metrics, {}))
    assert advisor.is_over
    confirmed = summarized(chosen, advisor.outcomes(), records, repeated)
    assert [(one.searched["head"], one.val.n, one.test.n) for one in confirmed] == [("append", 12, 12), ("replace", 5, 5)]
    assert confirmed[1].val.mean > confirmed[0].val.mean  # of easier rounds
