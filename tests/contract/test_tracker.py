"""One contract, every tracker: in memory, MLflow on an SQLite file, MLflow on a server, and each of them behind an outbox."""

import pickle
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from study.errors import TrackingError
from study.tracking.journaled_tracker import JournaledTracker
from study.tracking.mlflow_tracker import MlflowTracker
from study.tracking.records import ERROR_TAG, NUMBER_TAG, SEARCHED_TAG, STATE_TAG, TRACEBACK_TAG, trial_key
from study.tracking.tracker import DirectTracker, MemoryTracker, Tracker
from study.trial import Measurement, OptimizerConfig, TrialConfig, TrialState

CONFIG = TrialConfig(backbone="alexnet", optimizer=OptimizerConfig(lr=0.003))
STARTED_MS = 1_790_000_000_000


def measurement(epoch: int, val_loss: float, taken_ms: int | None = None) -> Measurement:
    return Measurement(
        epoch=epoch,
        metrics={"val_loss": val_loss, "val_balanced_accuracy": 1 / (1 + val_loss), "val_recall.t-shirt": 0.5},
        timestamp_ms=taken_ms or STARTED_MS + epoch * 1000,
    )


@pytest.fixture(params=["memory", "sqlite", "server", "journaled memory", "journaled sqlite", "journaled server"])
def tracker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tracker]:
    makers: dict[str, Callable[[], DirectTracker]] = {
        "memory": MemoryTracker,
        "sqlite": lambda: MlflowTracker(request.getfixturevalue("sqlite_uri")),
        "server": lambda: MlflowTracker(request.getfixturevalue("server_uri")),
    }
    direct = makers[request.param.removeprefix("journaled ")]()
    if not request.param.startswith("journaled"):
        yield direct
        return
    with JournaledTracker(direct, tmp_path / "outbox") as journaled:
        yield journaled
        journaled.close()
    assert not list((tmp_path / "outbox").iterdir())  # all has arrived, or was refused and is kept


@pytest.fixture
def name() -> str:
    """A study's name that no other test uses: the server outlives a test."""
    return f"clothing-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def study(tracker: Tracker, name: str) -> str:
    return tracker.begin_study(name, name, {"study.definition_digest": "abc"}, 'name = "clothing"\n# é\n', "Which recipe?")


@pytest.fixture
def trial(tracker: Tracker, study: str) -> str:
    return tracker.begin_trial(study, 7, CONFIG, {"study.ray_trial_id": "r1"})


def test_a_store_that_is_there_passes_the_check(tracker: Tracker) -> None:
    tracker.check()


def test_a_study_is_found_by_its_name_and_keeps_its_definition(tracker: Tracker, study: str, name: str) -> None:
    assert tracker.find_study(name) == study
    assert tracker.read_text(study, "definition.toml") == 'name = "clothing"\n# é\n'
    record = next(record for record in tracker.studies() if record.run_id == study)
    assert (record.name, record.experiment, record.state) == (name, name, TrialState.RUNNING)
    assert record.tags["study.definition_digest"] == "abc"
    assert record.tags["mlflow.note.content"].startswith("Which recipe?")
    assert abs(record.started_ms / 1000 - time.time()) < 120


def test_an_unknown_study_is_not_found(tracker: Tracker) -> None:
    assert tracker.find_study("it's not there") is None


def test_the_newest_launch_of_a_study_is_found_first(tracker: Tracker, study: str, name: str) -> None:
    time.sleep(0.01)
    later = tracker.begin_study(name, f"{name}-elsewhere", {}, "", "")
    assert tracker.find_study(name) == later
    assert [record.run_id for record in tracker.studies() if record.name == name] == [later, study]


def test_a_study_s_run_that_a_dead_driver_made_is_taken_and_set_right(tracker: Tracker, name: str) -> None:
    first = tracker.begin_study(name, name, {"study.run_key": name, "study.data_digest": "old"}, "a = 1", "")
    tracker.end_study(first, TrialState.FAIL, {}, {})
    again = tracker.begin_study(name, name, {"study.run_key": name, "study.data_digest": "new"}, "a = 2", "")
    assert again == first
    [record] = [record for record in tracker.studies() if record.name == name]
    assert (record.state, record.tags["study.data_digest"]) == (TrialState.RUNNING, "new")
    assert tracker.read_text(again, "definition.toml") == "a = 2"


def test_a_trial_is_recorded_with_its_recipe_by_dotted_names(tracker: Tracker, study: str, trial: str) -> None:
    (record,) = tracker.trials(study)
    assert (record.number, record.run_id, record.state) == (7, trial, TrialState.RUNNING)
    assert record.params["backbone"] == "alexnet"
    assert record.params["optimizer.lr"] == "0.003"
    assert "seed" not in record.params  # None is left out
    assert record.tags[STATE_TAG] == "RUNNING"
    assert record.tags[NUMBER_TAG] == "7"
    assert record.tags["study.ray_trial_id"] == "r1"


def test_a_summary_names_classes_as_the_store_accepts_them(tracker: Tracker, study: str, trial: str) -> None:
    tracker.end_trial(trial, TrialState.COMPLETE, [], {"test_recall.salt & pepper": 0.5}, {})
    [record] = tracker.trials(study)
    assert (record.state, record.metrics["test_recall.salt _ pepper"]) == (TrialState.COMPLETE, 0.5)


def test_trials_are_listed_by_number_and_belong_to_one_study(tracker: Tracker, study: str, name: str) -> None:
    for number in (10, 2, 0):
        tracker.begin_trial(study, number, CONFIG, {})
    other = tracker.begin_study(f"{name}-other", name, {}, "", "")
    tracker.begin_trial(other, 1, CONFIG, {})
    assert [record.number for record in tracker.trials(study)] == [0, 2, 10]


def test_measurements_make_curves_with_one_step_an_epoch(tracker: Tracker, study: str, trial: str) -> None:
    tracker.append(trial, [measurement(1, 0.9)])
    tracker.append(trial, [measurement(2, 0.5), measurement(3, 0.7)])
    assert tracker.history(trial, "val_loss") == [(1, 0.9), (2, 0.5), (3, 0.7)]
    assert tracker.trials(study)[0].metrics["val_loss"] == 0.7


def test_a_measurement_delivered_twice_is_one_record(tracker: Tracker, trial: str) -> None:
    tracker.append(trial, [measurement(1, 0.9)])
    tracker.append(trial, [measurement(1, 0.9), measurement(2, 0.5)])
    tracker.end_trial(trial, TrialState.COMPLETE, [measurement(1, 0.9), measurement(2, 0.5)], {}, {})
    assert tracker.history(trial, "val_loss") == [(1, 0.9), (2, 0.5)]
    if isinstance(tracker, JournaledTracker) and isinstance(tracker.inner, MlflowTracker):
        tracker = tracker.inner
    if isinstance(tracker, MlflowTracker):  # not merely shown once: stored once
        assert len(tracker.connection.client.get_metric_history(trial, "val_loss")) == 2


def test_an_epoch_measured_anew_after_a_crash_shows_its_later_value(tracker: Tracker, study: str, trial: str) -> None:
    tracker.append(trial, [measurement(1, 0.9), measurement(2, 0.5)])
    tracker.append(trial, [measurement(2, 0.6, STARTED_MS + 90_000)])
    assert tracker.history(trial, "val_loss") == [(1, 0.9), (2, 0.6)]
    assert tracker.trials(study)[0].metrics["val_loss"] == 0.6


def test_class_names_that_mlflow_refuses_are_recorded_all_the_same(tracker: Tracker, trial: str) -> None:
    odd = measurement(1, 0.9).model_copy(update={"metrics": {"val_recall.salt & (pepper)": 0.5, "val_recall.Größe": 0.25}})
    tracker.append(trial, [odd])
    assert tracker.history(trial, "val_recall.salt _ _pepper_") == [(1, 0.5)]
    assert tracker.history(trial, "val_recall.Größe") == [(1, 0.25)]


def test_a_long_training_arrives_whole(tracker: Tracker, trial: str) -> None:
    tracker.end_trial(trial, TrialState.COMPLETE, [measurement(epoch, 1 / epoch) for epoch in range(1, 401)], {}, {})
    assert len(tracker.history(trial, "val_loss")) == 400  # 1200 values: more than one of MLflow's batches


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.INTERRUPTED])
def test_a_trial_ends_with_its_last_measurements_summary_and_state(
    tracker: Tracker, study: str, trial: str, state: TrialState
) -> None:
    tracker.append(trial, [measurement(1, 0.9)])
    tracker.end_trial(trial, state, [measurement(2, 0.5)], {"best_val_loss": 0.5, "best_epoch": 2}, {"study.note": "x"})
    (record,) = tracker.trials(study)
    assert record.state == state
    assert record.tags[STATE_TAG] == state.value
    assert record.tags["study.note"] == "x"
    assert (record.metrics["val_loss"], record.metrics["best_val_loss"], record.metrics["best_epoch"]) == (0.5, 0.5, 2)
    assert tracker.history(trial, "val_loss") == [(1, 0.9), (2, 0.5)]


def test_ending_a_trial_twice_changes_nothing(tracker: Tracker, study: str, trial: str) -> None:
    for _ in range(2):
        tracker.end_trial(trial, TrialState.PRUNED, [measurement(1, 0.9)], {"best_epoch": 1}, {})
    (record,) = tracker.trials(study)
    assert (record.state, record.metrics["best_epoch"]) == (TrialState.PRUNED, 1)


def test_a_failed_trial_keeps_its_error_and_the_end_of_its_traceback(tracker: Tracker, study: str, trial: str) -> None:
    traceback = "Traceback\n" + "x" * 10_000 + "\nthe last line"
    tags = {ERROR_TAG: "out of memory\nsecond line", TRACEBACK_TAG: traceback}
    tracker.end_trial(trial, TrialState.FAIL, [], {}, tags)
    (record,) = tracker.trials(study)
    assert record.tags[ERROR_TAG] == "out of memory"
    assert record.tags[TRACEBACK_TAG] == traceback[-8000:]


def test_an_interrupted_trial_and_its_study_go_on(tracker: Tracker, study: str, trial: str, name: str) -> None:
    tracker.end_trial(trial, TrialState.INTERRUPTED, [measurement(1, 0.9)], {}, {})
    tracker.end_study(study, TrialState.INTERRUPTED, {}, {})
    tracker.reopen(study)
    tracker.reopen(trial)
    assert tracker.find_study(name) == study
    assert tracker.trials(study)[0].state == TrialState.RUNNING
    assert next(record for record in tracker.studies() if record.run_id == study).state == TrialState.RUNNING
    tracker.end_trial(trial, TrialState.COMPLETE, [measurement(2, 0.5)], {}, {})
    assert tracker.trials(study)[0].state == TrialState.COMPLETE
    assert tracker.history(trial, "val_loss") == [(1, 0.9), (2, 0.5)]


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.FAIL, TrialState.INTERRUPTED])
def test_a_study_ends_with_its_summary_and_state(tracker: Tracker, study: str, state: TrialState) -> None:
    tracker.end_study(study, state, {"test_accuracy_mean": 0.8}, {"study.winner": "7"})
    record = next(record for record in tracker.studies() if record.run_id == study)
    assert (record.state, record.metrics["test_accuracy_mean"], record.tags["study.winner"]) == (state, 0.8, "7")


def test_artifacts_are_kept_under_their_folder(tracker: Tracker, study: str, tmp_path: Path) -> None:
    (tmp_path / "report" / "figures").mkdir(parents=True)
    (tmp_path / "report" / "page.html").write_text("<h1>")
    (tmp_path / "report" / "figures" / "lr.svg").write_text("<svg>")
    tracker.log_artifacts(study, tmp_path / "report", "report")
    assert tracker.read_text(study, "report/page.html") == "<h1>"
    assert tracker.read_text(study, "report/figures/lr.svg") == "<svg>"


def test_an_unknown_run_is_refused_in_one_line(tracker: Tracker, study: str) -> None:
    missing = "0" * 32
    telling = (
        lambda: tracker.append(missing, [measurement(1, 0.9)]),
        lambda: tracker.end_trial(missing, TrialState.COMPLETE, [], {}, {}),
        lambda: tracker.end_study(missing, TrialState.COMPLETE, {"a": 1.0}, {}),
    )
    for call in (
        *(telling if not isinstance(tracker, JournaledTracker) else ()),  # which learns of it later
        lambda: tracker.begin_trial(missing, 0, CONFIG, {}),
        lambda: tracker.reopen(missing),
        lambda: tracker.address(missing),
        lambda: tracker.table_address(missing),
        lambda: tracker.trials(missing),
        lambda: tracker.read_text(study, "nothing.txt"),
    ):
        with pytest.raises(TrackingError) as raised:
            call()
        assert "\n" not in str(raised.value)


def test_the_address_leads_to_the_run(tracker: Tracker, study: str, name: str) -> None:
    address = tracker.address(study)
    tracker = tracker.inner if isinstance(tracker, JournaledTracker) else tracker
    if isinstance(tracker, MlflowTracker) and tracker.connection.is_server:
        experiment = tracker.connection.client.get_experiment_by_name(name)
        assert experiment is not None
        assert address == (
            f"{tracker.connection.uri}/#/experiments/{experiment.experiment_id}/runs/{study}?workflowType=machine_learning"
        )
    else:
        assert name in address


def test_a_server_shows_the_trials_as_a_table_of_what_was_searched(tracker: Tracker, study: str, name: str) -> None:
    again = tracker.begin_study(name, name, {SEARCHED_TAG: "head,optimizer.lr"}, "", "Which recipe?")
    address = tracker.table_address(again)
    direct = tracker.inner if isinstance(tracker, JournaledTracker) else tracker
    if isinstance(direct, MlflowTracker) and direct.connection.is_server:
        assert address is not None
        assert address.startswith(f"{direct.connection.uri}/#/experiments/")
        assert address.endswith(f"viewStateShareKey={again}")
    else:
        assert address is None
    assert tracker.table_address(study) is None, "nobody noted what it searched"


def test_nothing_is_printed(tracker: Tracker, study: str, trial: str, capfd: pytest.CaptureFixture[str]) -> None:
    tracker.end_trial(trial, TrialState.COMPLETE, [measurement(1, 0.9)], {"best_epoch": 1}, {})
    tracker.read_text(study, "definition.toml")
    with pytest.raises(TrackingError):
        tracker.address("0" * 32)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


@pytest.mark.parametrize("tracker", ["sqlite", "server"], indirect=True)  # a memory tracker stays in its process
def test_a_worker_appends_to_the_drivers_run(tracker: Tracker, study: str, trial: str) -> None:
    worker = pickle.loads(pickle.dumps(tracker))
    worker.append(trial, [measurement(1, 0.9)])
    assert tracker.history(trial, "val_loss") == [(1, 0.9)]


def test_the_data_of_a_study_can_be_named(tracker: Tracker, study: str) -> None:
    tracker.log_dataset(study, "clothing10", "d" * 64, "/photos/clothing10", {"train": 617, "val": 341, "test": 372})
    if isinstance(tracker, MlflowTracker):
        inputs = tracker.connection.client.get_run(study).inputs
        assert inputs is not None
        [named] = inputs.dataset_inputs
        assert (named.dataset.name, named.dataset.digest) == ("clothing10", "d" * 36)
        assert "/photos/clothing10" in named.dataset.source
        assert "617" in (named.dataset.profile or "")


def test_a_run_that_a_dead_driver_made_is_found_before_another_is_made(tracker: Tracker, study: str) -> None:
    made = tracker.begin_trial(study, 3, CONFIG, {})
    assert tracker.begin_trial(study, 3, CONFIG, {}, may_exist=True) == made
    assert tracker.begin_trial(study, 4, CONFIG, {}, may_exist=True) != made
    assert [record.number for record in tracker.trials(study)] == [3, 4]


def test_a_study_is_found_by_the_key_that_it_was_asked_for_with(tracker: Tracker, name: str) -> None:
    tags = {"study.run_key": uuid.uuid4().hex}
    assert tracker.begin_study(name, name, tags, "", "") == tracker.begin_study(name, name, tags, "", "")
    assert len([record for record in tracker.studies() if record.name == name]) == 1


def test_runs_are_told_as_they_are(tracker: Tracker, study: str, trial: str) -> None:
    tracker.append(trial, [measurement(1, 0.9), measurement(2, 0.5)])
    pruned = tracker.begin_trial(study, 8, CONFIG, {})
    tracker.end_trial(pruned, TrialState.PRUNED, [measurement(1, 0.7)], {"best_epoch": 1}, {})
    told = {run.number: run for run in tracker.trial_runs(study)}
    assert (told[7].run_id, told[7].state, told[7].status, told[7].last_epoch) == (trial, TrialState.RUNNING, "RUNNING", 2)
    assert (told[8].run_id, told[8].state, told[8].status, told[8].last_epoch) == (pruned, TrialState.PRUNED, "FINISHED", 1)
    assert (told[7].key, told[7].duplicate_of) == (trial_key(study, 7), None)


def test_a_duplicate_is_kept_and_not_counted(tracker: Tracker, study: str, trial: str) -> None:
    double = tracker.begin_trial(study, 7, CONFIG, {})
    tracker.mark_duplicate(double, trial)
    assert [record.run_id for record in tracker.trials(study)] == [trial]
    told = {run.run_id: run for run in tracker.trial_runs(study)}
    assert (told[double].duplicate_of, told[double].status, told[trial].duplicate_of) == (trial, "KILLED", None)
    assert tracker.begin_trial(study, 7, CONFIG, {}, may_exist=True) == trial


def test_a_state_that_is_wrong_can_be_set_right(tracker: Tracker, study: str, trial: str) -> None:
    tracker.end_trial(trial, TrialState.FAIL, [], {}, {})
    tracker.end_trial(trial, TrialState.COMPLETE, [], {}, {})
    (told,) = tracker.trial_runs(study)
    assert (told.state, told.status) == (TrialState.COMPLETE, "FINISHED")
