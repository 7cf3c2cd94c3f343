"""One trial in a worker: its measurements, its failure, and the weights that it leaves."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from study.data.dataset import prepare_data
from study.data.study_data import StudyData
from study.definition import Objective, parse_definition
from study.models.weights import ResolvedWeights
from study.tracking.mlflow_tracker import MlflowTracker
from study.training.evaluation import evaluate_split
from study.training.training import trained_tensors
from study.trial import OptimizerConfig, TrialConfig
from study.tuning.log_file import trial_log_file
from study.tuning.trial_files import rebuild_trained, state_file, weights_file
from study.tuning.trial_task import TrialTask
from study.tuning.worker import TrialSession, WarmProcess, begin_training, run_trial

CPU = torch.device("cpu")
RANDOM = ResolvedWeights(None, "random")
TEXT = """
name = "worker"
data = { generated = "instruments", target = "view", num_photos = 60, image_size = 32 }
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> StudyData:
    return prepare_data(parse_definition(TEXT, Path("/somewhere/worker.toml")), tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def threads_as_they_were() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def task(data: StudyData, folder: Path, **changes: object) -> TrialTask:
    values: dict[str, object] = {"backbone": "squeezenet1_0", "epochs": 2, "batch_size": 16, "freeze_depth": 0.5, "seed": 3}
    return TrialTask(
        number=7,
        run_id="run",
        config=TrialConfig.model_validate(values | changes),
        weights=RANDOM,
        objective=Objective(),
        data_folder=str(data.folder),
        activations_folder=str(folder / "activations"),
        output_folder=str(folder / "output"),
        tracking_uri=f"sqlite:///{folder}/mlflow.db",
        num_threads=1,
        uses_gpu=False,
        report_epochs=(1, 2, 3, 4),
    )


def session_of(sent: TrialTask, data: StudyData) -> TrialSession:
    return TrialSession(sent, data, WarmProcess.of(sent))


def test_a_task_survives_the_way_to_another_process(data: StudyData, tmp_path: Path) -> None:
    sent = task(data, tmp_path)
    assert TrialTask.model_validate_json(sent.model_dump_json()) == sent


def test_the_rebuilt_model_repeats_the_best_epoch(data: StudyData, tmp_path: Path) -> None:
    sent = task(data, tmp_path)
    training = begin_training(sent, data, WarmProcess.of(sent))
    values = [measured.metrics["val_balanced_accuracy"] for measured in run_trial(training, tmp_path / "output", 7)]
    model = rebuild_trained(sent.config, data, RANDOM, weights_file(tmp_path / "output", 7))
    again = evaluate_split(model, data, "val", normalization="imagenet", device=CPU)
    assert again.metrics["balanced_accuracy"] == max(values)


def test_weights_of_frozen_stages_are_not_saved_again(data: StudyData, tmp_path: Path) -> None:
    sent = task(data, tmp_path)
    model = begin_training(sent, data, WarmProcess.of(sent)).model
    trained = trained_tensors(model)
    assert {key for key, parameter in model.named_parameters() if parameter.requires_grad} <= trained.keys()
    assert 0 < len(trained) < len(model.state_dict())


def test_a_session_reports_each_epoch_and_says_which_is_the_last(data: StudyData, tmp_path: Path) -> None:
    session = session_of(task(data, tmp_path), data)
    reports = [session.step(), session.step()]
    assert [[one.epoch for one in report.measurements] for report in reports] == [[1], [2]]
    assert [report.is_last for report in reports] == [False, True]


def test_a_repetition_is_measured_on_the_test_split_and_on_the_copies_that_were_asked_for(
    data: StudyData, tmp_path: Path
) -> None:
    sent = task(data, tmp_path, epochs=1).model_copy(update={"reads_test": True, "altered_tests": ("greyscale",)})
    facts = session_of(sent, data).step().facts
    assert {"test_balanced_accuracy", "test_greyscale_balanced_accuracy"} <= facts.keys()
    assert facts["test_loss"] != facts["test_greyscale_loss"]
    assert not any("hue_shift" in name for name in facts)


def test_what_goes_wrong_on_the_test_split_is_the_trial_s_failure_and_its_log_ends_with_it(
    data: StudyData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(*anything: object, **more: object) -> None:
        raise OSError("Input/output error")

    monkeypatch.setattr("study.tuning.worker.evaluate_split", unreadable)
    sent = task(data, tmp_path, epochs=1).model_copy(update={"reads_test": True})
    report = session_of(sent, data).step()
    assert report.is_last
    assert report.failure is not None
    assert report.failure.reason.startswith("OSError: Input/output error")
    lines = trial_log_file(tmp_path / "output", 7).read_text(encoding="utf-8").splitlines()
    assert [line.split(" ", 2)[2] for line in lines if "ended: " in line] == ["ended: failed"]
    assert lines[-1].endswith("ended: failed")


def test_a_trial_of_a_search_is_measured_on_neither(data: StudyData, tmp_path: Path) -> None:
    sent = task(data, tmp_path, epochs=1).model_copy(update={"altered_tests": ("greyscale",)})
    assert not any(name.startswith("test_") for name in session_of(sent, data).step().facts)


def test_epochs_at_which_nobody_can_stop_the_trial_come_in_one_report(data: StudyData, tmp_path: Path) -> None:
    session = session_of(task(data, tmp_path, epochs=5).model_copy(update={"report_epochs": (3,)}), data)
    assert [[one.epoch for one in session.step().measurements] for _ in range(2)] == [[1, 2, 3], [4, 5]]


@pytest.mark.parametrize("is_pruned", [False, True])
def test_the_machine_is_sampled_while_a_trial_runs_and_no_longer(
    is_pruned: bool, data: StudyData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.001")
    told = list[str]()
    earlier = threading.enumerate()  # another test's may be among them
    monkeypatch.setattr(MlflowTracker, "deliver", lambda self, run_id, delivery: told.append(delivery.points[0].metric))
    session = session_of(task(data, tmp_path), data)
    session.step()
    while not told:
        time.sleep(0.01)
    assert told[0].startswith("system/")
    [sampling] = [one for one in threading.enumerate() if one.name == "system metrics" and one not in earlier]
    if is_pruned:
        session.close()
    else:
        session.step()
    deadline_s = time.monotonic() + 10
    while sampling.is_alive():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_a_pruned_trial_leaves_no_weights(data: StudyData, tmp_path: Path) -> None:
    session = session_of(task(data, tmp_path), data)
    session.step()
    session.close()
    assert not weights_file(tmp_path / "output", 7).exists()


def test_a_failure_is_reported_with_its_cause_and_traceback(data: StudyData, tmp_path: Path) -> None:
    optimizer = OptimizerConfig(name="sgd", lr=1e38)
    session = session_of(task(data, tmp_path, freeze_depth=1.0, optimizer=optimizer), data)
    report = session.step()
    assert report.is_last
    assert report.failure is not None
    assert report.failure.reason.startswith("NonFiniteLossError: the loss must stay finite")
    assert "epoch 1" in report.failure.reason
    assert "Traceback" in report.failure.traceback


def test_a_failure_names_the_trial_s_log_which_holds_the_rest(data: StudyData, tmp_path: Path) -> None:
    session = session_of(task(data, tmp_path, optimizer=OptimizerConfig(name="sgd", lr=1e38)), data)
    failure = session.step().failure
    session.close()
    assert failure is not None
    log = trial_log_file(tmp_path / "output", 7)
    assert failure.reason.endswith(f" (log: {log})")
    text = log.read_text(encoding="utf-8")
    assert "trial 7 begins on " in text
    assert "optimizer.lr=1e+38" in text
    assert "NonFiniteLossError" in text
    assert text.endswith("ended: failed\n")


def test_a_trial_s_log_has_its_epochs_and_what_was_warned_of(
    data: StudyData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*anything: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("study.tuning.worker.SAVE_INTERVAL_S", 0.0)
    monkeypatch.setattr("study.tuning.worker.SAVE_SHARE", 1e9)
    monkeypatch.setattr("study.training.training.Training.save", full_disk)
    session = session_of(task(data, tmp_path), data)
    session.step()
    session.step()
    text = trial_log_file(tmp_path / "output", 7).read_text(encoding="utf-8")
    assert ["epoch 1/2: train_loss" in text, "epoch 2/2: train_loss" in text] == [True, True]
    assert "WARNING study.tuning.worker: the training could not be saved: No space left on device" in text
    assert text.endswith("ended: all epochs done\n")


def test_a_trial_whose_process_died_goes_on_from_where_it_was_saved(
    data: StudyData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.tuning.worker.SAVE_INTERVAL_S", 0.0)
    monkeypatch.setattr("study.tuning.worker.SAVE_SHARE", 1e9)
    sent = task(data, tmp_path, epochs=4)
    first = session_of(sent, data)
    told = [first.step().measurements[0] for _ in range(2)]
    del first  # as a killed process leaves it
    assert state_file(tmp_path / "output", 7).exists()
    second = session_of(sent, data)
    retold = [second.step().measurements[0] for _ in range(4)]
    assert [one.timestamp_ms for one in retold[:2]] == [one.timestamp_ms for one in told]
    assert [one.epoch for one in retold] == [1, 2, 3, 4]
    assert not state_file(tmp_path / "output", 7).exists()


def test_a_damaged_saved_training_starts_again(data: StudyData, tmp_path: Path) -> None:
    path = state_file(tmp_path / "output", 7)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no training")
    report = session_of(task(data, tmp_path), data).step()
    assert [one.epoch for one in report.measurements] == [1]


def test_a_weights_file_cut_short_is_the_trials_failure(data: StudyData, tmp_path: Path) -> None:
    damaged = tmp_path / "weights.safetensors"
    damaged.write_bytes(b"12345678")
    sent = task(data, tmp_path).model_copy(update={"weights": ResolvedWeights(damaged, "0123456789abcdef")})
    report = session_of(sent, data).step()
    assert report.is_last
    assert report.failure is not None
    assert report.failure.reason.startswith("ModelError")


def test_a_trial_says_how_it_was_computed(data: StudyData, tmp_path: Path) -> None:
    facts = session_of(task(data, tmp_path), data).step().facts
    assert facts["precision"] == "float32"
    assert 0 < float(facts["trainable_parameters"]) < float(facts["parameters"])
    assert facts["activation_cache"] in ("hit", "computed", "off")
