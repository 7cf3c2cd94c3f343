"""Which recipes are repeated, with which seeds and folds, and what the repetitions say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from optuna.storages import InMemoryStorage
from rich.console import Console
from scipy.stats import bootstrap

from study.analysis.confirmed import confirmed_recipes
from study.analysis.evidence import StudyEvidence, TrialEvidence
from study.analysis.findings import ConfirmedRecipe
from study.definition import StudyDefinition, parse_definition
from study.errors import SearchError
from study.progress import PlainLines
from study.search.advisor import Advisor, Outcome
from study.search.outcomes import Proposal
from study.settings import settings_from
from study.tracking.memory_tracker import MemoryTracker
from study.tracking.records import TrialRecord
from study.trial import Failure, Measurement, TrialConfig, TrialState
from study.tuning.confirm import confirm, confirming_definition, link_tags, recipes_to_confirm, summarized, summary_of
from study.tuning.first_failures import HopelessError
from study.tuning.launch import Executor
from study.tuning.ledger import Ledger
from study.tuning.preparation import PreparedStudy
from study.tuning.repetitions import Confirmed, interval_of


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


def test_a_recipe_is_chosen_by_its_mean_over_the_searched_folds_and_not_by_its_luckiest_one() -> None:
    steady = [outcome(fold, 0.80, head="append", fold=fold) for fold in range(5)]
    lucky = [outcome(5 + fold, 0.85 if fold == 4 else 0.70, head="replace", fold=fold) for fold in range(5)]
    [chosen] = recipes_to_confirm([*steady, *lucky], definition(), top=1)
    assert chosen.searched["head"] == "append"


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


class Interrupting:
    """An executor that is interrupted with a trial open, once so many have ended."""

    num_concurrent = 1
    gpus = 0.0

    def __init__(self, num_trials: int, look: Callable[[], None]) -> None:
        self._num_trials = num_trials
        self._look = look

    def for_study(self, prepared: PreparedStudy) -> Executor:
        return self

    def run(self, ledger: Ledger) -> None:
        self._look()
        for _ in range(self._num_trials):
            trial = ledger.begin()
            if trial is None:
                return
            value = 0.5 + 0.01 * trial.number
            measured = Measurement(epoch=1, metrics={"val_balanced_accuracy": value}, timestamp_ms=1, is_last=True)
            ledger.record(trial.number, [measured], is_in_mlflow=False)
            ledger.finish(trial.number, None, {"test_balanced_accuracy": value})
        ledger.begin()


class Silent(PlainLines):
    def study_began(self, *anything: object) -> None:
        """Nothing: there are no data to speak of."""


@dataclass
class Searched:
    """A search that came to its end; drivers come and go.

    Attributes:
        seen: state of the repetitions' run while each driver worked.
    """

    folder: Path
    seen: list[TrialState] = field(default_factory=list)
    tracker: MemoryTracker = field(default_factory=MemoryTracker)
    storage: InMemoryStorage = field(default_factory=InMemoryStorage)

    def __post_init__(self) -> None:
        self.run_id = self.tracker.begin_study("sure", "sure", {}, "", "")

    def confirm(self, num_trials: int) -> list[Confirmed] | None:
        data = cast(Any, SimpleNamespace(digest="photos"))
        prepared = PreparedStudy(definition(), settings_from({}, self.folder), data, {})
        recipes: list[dict[str, Any]] = [
            {"head": "append", "optimizer.name": "adam"},
            {"head": "replace", "optimizer.name": "adam"},
        ]
        outcomes = [outcome(number, 0.9 - 0.1 * number, **recipe) for number, recipe in enumerate(recipes)]
        executor, listener = Interrupting(num_trials, self.look), Silent(Console(file=StringIO()))
        return confirm(prepared, outcomes, executor, self.tracker, self.storage, listener, self.run_id)

    def look(self) -> None:
        self.seen += [state for _, state in self.repetitions()]

    def repetitions(self) -> list[tuple[str, TrialState]]:
        """Runs of the repetitions' study, with their states."""
        return [(study.run_id, study.state) for study in self.tracker.studies() if study.name == "sure.confirm"]


def test_repetitions_that_were_interrupted_go_on_in_the_same_run_and_end(tmp_path: Path) -> None:
    searched = Searched(tmp_path)
    assert searched.confirm(num_trials=2) is None
    [(run_id, state)] = searched.repetitions()
    assert state is TrialState.INTERRUPTED
    states = [record.state for record in searched.tracker.trials(run_id)]
    assert states == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.INTERRUPTED]
    confirmed = searched.confirm(num_trials=6)
    assert confirmed is not None
    assert [(one.val.n, one.test.n) for one in confirmed] == [(3, 3), (3, 3)]
    assert searched.repetitions() == [(run_id, TrialState.COMPLETE)]
    assert [record.state for record in searched.tracker.trials(run_id)] == [TrialState.COMPLETE] * 6
    assert searched.seen == [TrialState.RUNNING] * 2
    assert searched.confirm(num_trials=0) == confirmed  # resumed once more: nothing is trained


def test_a_driver_that_dies_before_optuna_knows_of_the_repetitions_leaves_no_second_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = Searched(tmp_path)

    def die(*anything: object) -> None:
        raise SearchError("STUDY_STORAGE must take every record, but: No space left on device.")

    with monkeypatch.context() as patched:
        patched.setattr(Advisor, "create", die)
        with pytest.raises(SearchError, match="No space left"):
            searched.confirm(num_trials=6)
    [(begun, _)] = searched.repetitions()
    assert searched.confirm(num_trials=6) is not None
    assert searched.repetitions() == [(begun, TrialState.COMPLETE)]


def test_repetitions_whose_executor_fails_are_told_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searched = Searched(tmp_path)

    def run_and_fail(executor: Interrupting, ledger: Ledger) -> None:
        ledger.begin()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Interrupting, "run", run_and_fail)
        with pytest.raises(KeyboardInterrupt):
            searched.confirm(num_trials=0)
    [(run_id, state)] = searched.repetitions()
    assert state is TrialState.INTERRUPTED
    assert [record.state for record in searched.tracker.trials(run_id)] == [TrialState.INTERRUPTED]


def test_repetitions_whose_storage_is_full_are_told_interrupted_in_mlflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = Searched(tmp_path)

    def is_full(*anything: object, **more: object) -> None:
        raise SearchError("STUDY_STORAGE must take every record, but: No space left on device.")

    def run_and_fail(executor: Interrupting, ledger: Ledger) -> None:
        ledger.begin()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Advisor, "tell", is_full)
        patched.setattr(Interrupting, "run", run_and_fail)
        with pytest.raises(KeyboardInterrupt):
            searched.confirm(num_trials=0)
    assert [state for _, state in searched.repetitions()] == [TrialState.INTERRUPTED]


def test_repetitions_that_all_fail_alike_say_why_and_wait_for_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searched = Searched(tmp_path)

    def fail_all(executor: Interrupting, ledger: Ledger) -> None:
        while (trial := ledger.begin()) is not None:
            ledger.finish(trial.number, Failure(reason="out of memory"))

    with monkeypatch.context() as patched:
        patched.setattr(Interrupting, "run", fail_all)
        with pytest.raises(HopelessError, match="of the repetitions, the first 4 trials failed alike: out of memory"):
            searched.confirm(num_trials=0)
    [(run_id, state)] = searched.repetitions()
    assert state is TrialState.INTERRUPTED
    [tags] = [study.tags for study in searched.tracker.studies() if study.run_id == run_id]
    assert tags["study.stop_reason"] == "the first 4 trials failed alike: out of memory"


def test_the_parents_figures_tell_of_altered_copies_of_the_test_split_too() -> None:
    recipe: dict[str, Any] = {"head": "append", "optimizer.name": "adam"}
    chosen = [outcome(0, 0.7, **recipe)]
    repeated = confirming_definition(definition(), chosen)
    advisor = Advisor.create(repeated, InMemoryStorage(), {})
    records = list[TrialRecord]()
    while (proposal := advisor.ask()) is not None:
        value = 0.7 + proposal.number / 100
        advisor.tell(proposal.number, TrialState.COMPLETE, value)
        metrics = {"test_balanced_accuracy": value, "test_greyscale_balanced_accuracy": value - 0.2}
        records.append(TrialRecord(proposal.number, f"run-{proposal.number}", TrialState.COMPLETE, {}, metrics, {}))
    figures = summary_of(summarized(chosen, advisor.outcomes(), records, repeated, ("greyscale", "hue_shift")), definition())
    assert figures["test_greyscale_balanced_accuracy_mean"] == pytest.approx(figures["test_balanced_accuracy_mean"] - 0.2)
    assert figures["test_greyscale_balanced_accuracy_ci_low"] < figures["test_greyscale_balanced_accuracy_mean"]
    assert not any("hue_shift" in name for name in figures)


def told_by_the_report(
    chosen: Sequence[Outcome], repetitions: Sequence[Outcome], records: Sequence[TrialRecord]
) -> list[ConfirmedRecipe]:
    """What the report makes of the same repetitions."""
    metrics = {record.number: record.metrics for record in records}

    def evidence(study: str, one: Outcome) -> TrialEvidence:
        recipe = {"fold": one.config.fold, "seed": one.config.seed, **one.searched}
        told = metrics.get(one.number, {}) if study.endswith(".confirm") else {}
        return TrialEvidence(study, one.number, one.state, one.run_id, recipe, one.searched, one.value, metrics=told)

    trials = [evidence("sure", one) for one in chosen]
    repeated = [evidence("sure.confirm", one) for one in repetitions]
    return confirmed_recipes(StudyEvidence("sure", "run", definition("split.folds = 4"), trials, repeated))


def test_mlflow_and_the_report_name_the_same_winner_where_a_repetition_failed() -> None:
    """The better recipe's best round is lost; over the rounds that both ended it is still the better one."""
    recipes: list[dict[str, Any]] = [{"head": head, "optimizer.name": "adam"} for head in ("append", "replace")]
    chosen = [outcome(number, 0.9 - 0.1 * number, **recipe) for number, recipe in enumerate(recipes)]
    repeated = confirming_definition(definition("split.folds = 4"), chosen)
    advisor = Advisor.create(repeated, InMemoryStorage(), {})
    records = list[TrialRecord]()
    while (proposal := advisor.ask()) is not None:
        is_better, is_easy = proposal.searched["head"] == "append", proposal.searched["fold"] == 0
        if is_better and is_easy:
            advisor.tell(proposal.number, TrialState.FAIL)
            continue
        hard = 0.02 if is_better == (proposal.number % 4 < 2) else 0.0  # neither wins every round: no race is decided
        value = 0.5 + 0.4 * is_easy + 0.01 * is_better + hard
        advisor.tell(proposal.number, TrialState.COMPLETE, value)
        metrics = {"test_balanced_accuracy": value}
        records.append(TrialRecord(proposal.number, f"run-{proposal.number}", TrialState.COMPLETE, {}, metrics, {}))
    in_mlflow = summarized(chosen, advisor.outcomes(), records, repeated)
    in_report = told_by_the_report(chosen, advisor.outcomes(), records)
    assert [one.trial for one in in_mlflow] == [one.trial for one in in_report] == [0, 1]
    assert in_mlflow[1].val.mean > in_mlflow[0].val.mean  # of its own rounds, the easy ones among them
