"""The ledger tells Optuna and MLflow the same, whatever happens to a trial."""

from pathlib import Path
from unittest.mock import Mock

import optuna
import pytest
from optuna.storages import BaseStorage, InMemoryStorage

from study.definition import StudyDefinition, parse_definition
from study.errors import TrackingError
from study.search.advisor import Advisor, Proposal
from study.search_definition import PrunerDefinition
from study.tracking.journaled_tracker import JournaledTracker
from study.tracking.mlflow_tracker import MlflowTracker
from study.tracking.tracker import MemoryTracker
from study.trial import Failure, Measurement, TrialState
from study.tuning.ledger import Ledger, TrialProgress
from study.tuning.reconcile import reconcile

DEFINITION = parse_definition(
    """
name = "ledger"
data.generated = "instruments"
trial.epochs = 3
[space]
"optimizer.lr" = { low = 1e-4, high = 1e-1, log = true }
[search]
trials = 4
pruner = { name = "median", n_startup_trials = 1, n_warmup_steps = 0 }
""",
    Path("/somewhere/ledger.toml"),
)


def measurement(epoch: int, value: float) -> Measurement:
    names = ("train_loss", "val_loss", "val_accuracy", "val_balanced_accuracy", "val_macro_f1")
    return Measurement(
        epoch=epoch,
        metrics=dict.fromkeys(names, value),
        timestamp_ms=1_000 * epoch,
        is_last=epoch == DEFINITION.trial.epochs,
    )


def tags_of(proposal: Proposal) -> dict[str, str]:
    return {"study.log": f"trial_{proposal.number}.log", "study.confirms_trial": "7"}


class Bench:
    """Both stores, and as many drivers after each other as a test wants."""

    def __init__(self, definition: StudyDefinition = DEFINITION) -> None:
        self.definition = definition
        self.storage: BaseStorage = InMemoryStorage()
        self.tracker = MemoryTracker()
        self.parent = self.tracker.begin_study(definition.name, definition.name, {}, definition.text, "")
        self.ledger = self._ledger(Advisor.create(definition, self.storage, {}))

    def next_driver(self) -> None:
        self.ledger = self._ledger(Advisor.resume(self.definition, self.storage))

    def _ledger(self, advisor: Advisor) -> Ledger:
        return Ledger(advisor, self.tracker, self.parent, self.definition.objective, tags_of=tags_of)

    def run(self, values: list[float]) -> int:
        trial = self.ledger.begin()
        assert trial is not None
        for epoch, value in enumerate(values, start=1):
            self.ledger.record(trial.number, [measurement(epoch, value)], is_in_mlflow=False)
        self.ledger.finish(trial.number)
        return trial.number

    def states(self) -> list[tuple[str, str]]:
        """Each trial's state in Optuna and in MLflow."""
        trials = optuna.load_study(study_name=self.definition.name, storage=self.storage).get_trials()
        return [
            (trial.state.name, record.state.value)
            for trial, record in zip(trials, self.tracker.trials(self.parent), strict=True)
        ]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_trial_that_reaches_its_last_epoch_is_complete_in_both_stores_with_its_best_value(bench: Bench) -> None:
    bench.run([0.5, 0.9, 0.7])
    assert bench.states() == [("COMPLETE", "COMPLETE")]
    [record] = bench.tracker.trials(bench.parent)
    assert record.metrics["best_val_balanced_accuracy"] == 0.9
    assert record.metrics["best_epoch"] == 2
    assert bench.tracker.history(record.run_id, "val_balanced_accuracy") == [(1, 0.5), (2, 0.9), (3, 0.7)]
    assert optuna.load_study(study_name="ledger", storage=bench.storage).trials[0].value == 0.9


def test_a_trial_that_the_pruner_stops_is_pruned_in_both_stores(bench: Bench) -> None:
    bench.run([0.8, 0.8, 0.8])
    trial = bench.ledger.begin()
    assert trial is not None
    assert bench.ledger.record(trial.number, [measurement(1, 0.1)], is_in_mlflow=False)
    bench.ledger.finish(trial.number)
    assert bench.states()[1] == ("PRUNED", "PRUNED")


def test_the_last_epoch_is_never_pruned(bench: Bench) -> None:
    bench.run([0.8, 0.8, 0.8])
    trial = bench.ledger.begin()
    assert trial is not None
    bench.ledger.record(trial.number, [measurement(1, 0.9)], is_in_mlflow=False)
    bench.ledger.record(trial.number, [measurement(2, 0.9)], is_in_mlflow=False)
    assert not bench.ledger.record(trial.number, [measurement(3, 0.0)], is_in_mlflow=False)
    bench.ledger.finish(trial.number)
    assert bench.states()[1] == ("COMPLETE", "COMPLETE")


def test_a_failed_trial_is_fail_in_both_stores_with_its_cause(bench: Bench) -> None:
    trial = bench.ledger.begin()
    assert trial is not None
    bench.ledger.finish(trial.number, Failure(reason="NonFiniteLossError: the loss became nan", traceback="Traceback …"))
    assert bench.states() == [("FAIL", "FAIL")]
    [record] = bench.tracker.trials(bench.parent)
    assert record.tags["study.error"] == "NonFiniteLossError: the loss became nan"
    assert record.tags["study.traceback"] == "Traceback …"


def test_an_interrupted_trial_waits_in_optuna_and_goes_on_in_the_same_run(bench: Bench) -> None:
    first = bench.ledger.begin()
    assert first is not None
    bench.ledger.record(first.number, [measurement(1, 0.5)], is_in_mlflow=False)
    bench.ledger.interrupt_open()
    assert bench.states() == [("WAITING", "INTERRUPTED")]
    assert bench.ledger.begin() is None
    bench.next_driver()
    assert bench.run([0.5, 0.6, 0.7]) == first.number
    assert bench.states() == [("COMPLETE", "COMPLETE")]
    [record] = bench.tracker.trials(bench.parent)
    assert record.run_id == first.run_id


def test_epochs_that_mlflow_has_are_not_delivered_again_after_a_resume(bench: Bench) -> None:
    delivered: list[int] = []
    first = bench.ledger.begin()
    assert first is not None
    bench.ledger.record(first.number, [measurement(1, 0.5)], is_in_mlflow=False)
    bench.ledger.interrupt_open()
    bench.next_driver()
    again = bench.ledger.begin()
    assert again is not None
    for epoch in (1, 2):
        bench.ledger.record(again.number, [measurement(epoch, 0.5)], is_in_mlflow=False)
        delivered = [waiting.epoch for waiting in again.unrecorded]
    assert delivered == [2]


def test_a_trial_whose_run_was_deleted_in_mlflow_goes_on_in_a_new_one(sqlite_uri: str, tmp_path: Path) -> None:
    storage, direct = InMemoryStorage(), MlflowTracker(sqlite_uri)
    parent = direct.begin_study("ledger", "ledger", {}, DEFINITION.text, "")
    with JournaledTracker(direct, tmp_path / "outbox") as tracker:
        first = Ledger(Advisor.create(DEFINITION, storage, {}), tracker, parent, DEFINITION.objective)
        trial = first.begin()
        assert trial is not None
        first.record(trial.number, [measurement(1, 0.5)], is_in_mlflow=False)
        first.interrupt_open()
    direct.connection.client.delete_run(trial.run_id)
    with JournaledTracker(direct, tmp_path / "outbox") as tracker:
        findings = reconcile(Advisor.resume(DEFINITION, storage), tracker, parent, tmp_path)
        assert [(one.trial, one.is_repaired) for one in findings if trial.run_id in one.what] == [(0, False)]
        second = Ledger(Advisor.resume(DEFINITION, storage), tracker, parent, DEFINITION.objective, is_resumed=True)
        again = second.begin()
        assert again is not None
        for epoch in (1, 2, 3):
            second.record(again.number, [measurement(epoch, 0.5)], is_in_mlflow=False)
        second.finish(again.number)
    [record] = direct.trials(parent)
    assert (record.number, record.run_id, record.state) == (0, again.run_id, TrialState.COMPLETE)
    assert [epoch for epoch, _ in direct.history(record.run_id, "val_loss")] == [1, 2, 3]
    assert [one.run_id for one in Advisor.resume(DEFINITION, storage).outcomes()] == [again.run_id]


def test_a_study_whose_own_run_was_deleted_is_told_how_to_restore_it(sqlite_uri: str, tmp_path: Path) -> None:
    tracker = MlflowTracker(sqlite_uri)
    parent = tracker.begin_study("ledger", "ledger", {}, DEFINITION.text, "")
    tracker.connection.client.delete_run(parent)
    with pytest.raises(TrackingError, match=f"mlflow runs restore --run-id {parent}"):
        tracker.reopen(parent)
    advisor = Advisor.create(DEFINITION, InMemoryStorage(), {})
    [finding] = reconcile(advisor, tracker, parent, tmp_path)
    assert (finding.trial, finding.is_repaired) == (None, False)
    assert "is not in MLflow: restore it" in finding.what


def test_a_retried_trial_that_repeats_its_epochs_is_recorded_once(bench: Bench) -> None:
    trial = bench.ledger.begin()
    assert trial is not None
    for epoch in (1, 2, 1, 2, 3):
        bench.ledger.record(trial.number, [measurement(epoch, 0.1 * epoch)], is_in_mlflow=False)
    bench.ledger.finish(trial.number)
    [record] = bench.tracker.trials(bench.parent)
    assert [epoch for epoch, _ in bench.tracker.history(record.run_id, "val_loss")] == [1, 2, 3]
    assert bench.states() == [("COMPLETE", "COMPLETE")]


def died_and_measured_anew(first: list[float], retried: list[float], *, at_once: bool = False) -> tuple[Bench, TrialProgress]:
    """A trial that measured `first`, and whose process died; the next one, not the same to the last bit, measured `retried`."""
    search = DEFINITION.search.model_copy(update={"pruner": PrunerDefinition(name="none")})
    trial_config = DEFINITION.trial.model_copy(update={"epochs": len(retried)})
    bench = Bench(DEFINITION.model_copy(update={"search": search, "trial": trial_config}))
    trial = bench.ledger.begin()
    assert trial is not None
    for process, values in enumerate((first, retried)):
        measured = [
            measurement(epoch, value).model_copy(
                update={"timestamp_ms": 1_000 * epoch + process, "is_last": process == 1 and epoch == len(retried)}
            )
            for epoch, value in enumerate(values, start=1)
        ]
        for batch in [measured] if at_once else [[one] for one in measured]:
            bench.ledger.record(trial.number, batch, is_in_mlflow=False)
    return bench, trial


@pytest.mark.parametrize("at_once", [False, True])
def test_a_trial_whose_process_died_is_told_what_the_weights_of_the_next_one_reached(at_once: bool) -> None:
    bench, trial = died_and_measured_anew([0.5, 0.9, 0.6], [0.5, 0.7, 0.6, 0.65], at_once=at_once)
    bench.ledger.finish(trial.number)
    assert optuna.load_study(study_name="ledger", storage=bench.storage).trials[0].value == 0.7
    [record] = bench.tracker.trials(bench.parent)
    assert (record.metrics["best_val_balanced_accuracy"], record.metrics["best_epoch"]) == (0.7, 2)
    history = bench.tracker.history(record.run_id, "val_balanced_accuracy")
    assert history == [(1, 0.5), (2, 0.7), (3, 0.6), (4, 0.65)], "each epoch once, as far as MLflow did not have it"


def test_a_trial_that_ends_sooner_after_its_process_died_is_complete() -> None:
    bench, trial = died_and_measured_anew([0.5, 0.6, 0.7, 0.8], [0.5, 0.4, 0.3])
    bench.ledger.finish(trial.number)
    assert bench.states() == [("COMPLETE", "COMPLETE")]
    assert optuna.load_study(study_name="ledger", storage=bench.storage).trials[0].value == 0.5


def test_epochs_that_a_dead_worker_delivered_are_not_delivered_again_by_the_driver(bench: Bench) -> None:
    trial = bench.ledger.begin()
    assert trial is not None
    bench.ledger.record(trial.number, [measurement(1, 0.5), measurement(2, 0.5)], is_in_mlflow=True)
    for epoch in (1, 2, 3):
        again = measurement(epoch, 0.4).model_copy(update={"timestamp_ms": 9_000 + epoch})
        bench.ledger.record(trial.number, [again], is_in_mlflow=False)
    assert [one.epoch for one in trial.unrecorded] == [3]


def test_listeners_and_the_pruner_are_not_asked_about_an_epoch_twice(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    told, asked = list[int](), list[int]()
    listener = Mock(trial_measured=lambda trial: told.append(trial.last_epoch))
    bench.ledger.listen(listener)

    def should_prune(self: Advisor, number: int) -> bool:
        asked.append(number)
        return False

    monkeypatch.setattr(Advisor, "should_prune", should_prune)
    trial = bench.ledger.begin()
    assert trial is not None
    for epoch in (1, 2, 1, 2, 3):
        bench.ledger.record(trial.number, [measurement(epoch, 0.5)], is_in_mlflow=False)
    assert told == [1, 2, 3]
    assert asked == [0, 0]


def test_what_a_worker_delivered_is_not_delivered_by_the_driver(bench: Bench) -> None:
    trial = bench.ledger.begin()
    assert trial is not None
    bench.ledger.record(trial.number, [measurement(1, 0.5)], is_in_mlflow=False)
    bench.ledger.record(trial.number, [measurement(2, 0.5)], is_in_mlflow=True)  # a worker delivers all that it holds
    assert trial.unrecorded == []


def test_every_trial_is_accounted_for_once_in_both_stores(bench: Bench) -> None:
    bench.run([0.8, 0.8, 0.8])
    bench.run([0.9, 0.9, 0.9])
    bench.next_driver()
    bench.run([0.7, 0.1, 0.1])
    bench.run([0.9, 0.9, 0.9])
    assert bench.ledger.begin() is None
    assert len(bench.states()) == 4
    assert all(in_optuna == in_mlflow for in_optuna, in_mlflow in bench.states())


CHOICES = parse_definition(
    """
name = "choices"
data.generated = "instruments"
trial.epochs = 3
[space]
head = { choices = ["replace", "append"] }
[search]
sampler = "random"
trials = 12
pruner = "none"
""",
    Path("/somewhere/choices.toml"),
)


def test_a_recipe_that_was_trained_before_is_told_and_not_trained_again() -> None:
    bench = Bench(CHOICES)
    trained = 0
    while (trial := bench.ledger.begin()) is not None:
        bench.ledger.record(trial.number, [measurement(epoch, 0.5 + 0.1 * trained) for epoch in (1, 2, 3)], is_in_mlflow=False)
        bench.ledger.finish(trial.number)
        trained += 1
    assert trained == 2
    assert bench.states() == [("COMPLETE", "COMPLETE")] * 12  # each has its Optuna trial and its MLflow run
    records = bench.tracker.trials(bench.parent)
    repeats = [record for record in records if "study.repeats_trial" in record.tags]
    assert len(repeats) == 10
    value_of = {str(record.number): record.metrics["best_val_balanced_accuracy"] for record in records}
    for record in repeats:
        assert record.metrics["best_val_balanced_accuracy"] == value_of[record.tags["study.repeats_trial"]]
    assert {record.number for record in records if "study.log" not in record.tags} == {record.number for record in repeats}, (
        "what was not trained has no log"
    )
    assert all(record.tags["study.confirms_trial"] == "7" for record in records)


def test_a_study_whose_first_trials_fail_alike_stops_and_says_why(bench: Bench) -> None:
    for number in range(4):
        trial = bench.ledger.begin()
        assert trial is not None
        assert bench.ledger.hopeless is None
        bench.ledger.finish(trial.number, Failure(reason=f"CUDA error: device {number} is lost"))
    assert bench.ledger.hopeless == "CUDA error: device 3 is lost"
    assert bench.ledger.begin() is None


def test_a_resumed_study_with_good_trials_is_not_stopped_by_failures() -> None:
    bench = Bench(DEFINITION.model_copy(update={"search": DEFINITION.search.model_copy(update={"trials": 6})}))
    bench.run([0.5, 0.9, 0.7])
    bench.next_driver()
    for _ in range(4):
        trial = bench.ledger.begin()
        assert trial is not None
        bench.ledger.finish(trial.number, Failure(reason="out of memory"))
    assert bench.ledger.hopeless is None
    assert bench.ledger.begin() is not None


def test_a_resumed_study_of_failures_alone_is_still_without_hope() -> None:
    bench = Bench(DEFINITION.model_copy(update={"search": DEFINITION.search.model_copy(update={"trials": 9})}))
    for _ in range(2):
        for _ in range(4):
            trial = bench.ledger.begin()
            assert trial is not None
            bench.ledger.finish(trial.number, Failure(reason="out of memory"))
        assert bench.ledger.begin() is None
        bench.next_driver()


def test_failures_that_differ_do_not_stop_a_study() -> None:
    bench = Bench(DEFINITION.model_copy(update={"search": DEFINITION.search.model_copy(update={"trials": 6})}))
    for reason in ("diverged", "out of memory", "diverged", "diverged"):
        trial = bench.ledger.begin()
        assert trial is not None
        bench.ledger.finish(trial.number, Failure(reason=reason))
    assert bench.ledger.begin() is not None
