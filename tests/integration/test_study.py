"""Whole studies as a user runs them: placed by Ray, pruned by Optuna, recorded in MLflow, the winner in the registry."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from filelock import FileLock

from study.search.algorithms import open_storage
from study.tracking.mlflow_tracker import MlflowTracker
from study.tracking.records import TrialRecord
from study.tracking.registry import model_versions
from tests.stores import faulty_network

from .conftest import TINY, Workplace

MakeWorkplace = Callable[..., Workplace]
ENDED = ("COMPLETE", "PRUNED", "FAIL")


def trials_in_optuna(workplace: Workplace, name: str = "tiny") -> list[optuna.trial.FrozenTrial]:
    storage = open_storage(workplace.environment["STUDY_STORAGE"])
    return optuna.load_study(study_name=name, storage=storage).get_trials()


def trials_in_mlflow(workplace: Workplace, name: str = "tiny") -> list[TrialRecord]:
    tracker = MlflowTracker(workplace.environment["MLFLOW_TRACKING_URI"])
    run_id = tracker.find_study(name)
    assert run_id is not None
    return tracker.trials(run_id)


def assert_both_stores_agree(workplace: Workplace, num_trials: int) -> None:
    """Each trial is in Optuna once and in MLflow once, ended in the same way, with the same epochs."""
    in_optuna, in_mlflow = trials_in_optuna(workplace), trials_in_mlflow(workplace)
    assert [trial.number for trial in in_optuna] == [record.number for record in in_mlflow] == list(range(num_trials))
    tracker = MlflowTracker(workplace.environment["MLFLOW_TRACKING_URI"])
    for trial, record in zip(in_optuna, in_mlflow, strict=True):
        assert trial.state.name == record.state.value
        assert trial.state.name in ENDED
        history = tracker.history(record.run_id, "val_balanced_accuracy")
        assert history == sorted(trial.intermediate_values.items())


@pytest.fixture(scope="module")
def finished(make_workplace: MakeWorkplace) -> tuple[Workplace, Any]:
    """A study that ran on Ray, and what its command printed."""
    workplace = make_workplace()
    return workplace, workplace.json("run", workplace.write(TINY))


def test_every_trial_is_told_alike_in_optuna_and_in_mlflow(finished: tuple[Workplace, Any]) -> None:
    workplace, result = finished
    assert_both_stores_agree(workplace, num_trials=6)
    assert sum(result["counts"].values()) == 6


def test_the_leaderboard_and_the_winner_are_what_optuna_holds(finished: tuple[Workplace, Any]) -> None:
    workplace, result = finished
    complete = [trial for trial in trials_in_optuna(workplace) if trial.state.name == "COMPLETE"]
    best = max(complete, key=lambda trial: (trial.value or 0.0, -trial.number))
    assert result["winner"]["trial"] == result["leaderboard"][0]["trial"] == best.number
    assert result["winner"]["value"] == best.value
    assert result["winner"]["chance"] == 0.5


def test_the_parent_run_says_what_was_run_and_on_what(finished: tuple[Workplace, Any]) -> None:
    workplace, _ = finished
    tracker = MlflowTracker(workplace.environment["MLFLOW_TRACKING_URI"])
    [study] = tracker.studies()
    assert tracker.read_text(study.run_id, "definition.toml") == TINY
    for tag in ("definition_digest", "data_digest", "hardware", "torch", "ray", "optuna", "mlflow", "objective"):
        assert study.tags[f"study.{tag}"]
    assert "Best so far is trial" in study.tags["mlflow.note.content"]
    assert json.loads(tracker.read_text(study.run_id, "figures/confusion.json"))["classes"] == ["back", "front"]


def test_a_trials_params_are_its_whole_recipe_by_stable_names(finished: tuple[Workplace, Any]) -> None:
    workplace, _ = finished
    for record in trials_in_mlflow(workplace):
        assert {"backbone", "head", "normalization", "imbalance", "freeze_depth", "optimizer.name", "optimizer.lr"} <= (
            record.params.keys()
        )
        assert record.params["epochs"] == "3"
        assert int(record.params["seed"]) >= 0


def test_the_champion_predicts_a_raw_photo(finished: tuple[Workplace, Any]) -> None:
    workplace, result = finished
    photo = workplace.folder / "studies" / "tiny" / "example.png"
    [prediction] = workplace.json_here("predict", "models:/tiny@champion", photo)
    assert prediction["class"] in ("front", "back")
    assert sum(prediction["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert str(photo) in result["next"]


def test_a_pulled_model_says_the_same_as_the_registered_one(finished: tuple[Workplace, Any]) -> None:
    workplace, _ = finished
    photo = workplace.folder / "studies" / "tiny" / "example.png"
    pulled = workplace.folder / "pulled"
    workplace.here("pull", "models:/tiny@champion", pulled)
    assert workplace.json_here("predict", pulled, photo) == workplace.json_here("predict", "models:/tiny@champion", photo)


PLAIN_MLFLOW = """
import mlflow, sys
model = mlflow.pyfunc.load_model("models:/tiny@champion")
photo = sys.argv[1]
rows = [model.predict(item).iloc[0].to_dict() for item in (photo, open(photo, "rb").read())]
assert rows[0] == rows[1]
print(rows[0]["class"], rows[0]["probability"])
"""


def test_plain_mlflow_loads_the_champion_in_a_process_that_knows_nothing_of_the_study(
    finished: tuple[Workplace, Any], tmp_path: Path
) -> None:
    workplace, _ = finished
    photo = workplace.folder / "studies" / "tiny" / "example.png"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STUDY_")}
    environment |= {"MLFLOW_TRACKING_URI": workplace.environment["MLFLOW_TRACKING_URI"], "HOME": str(tmp_path)}
    shown = subprocess.run(
        [sys.executable, "-c", PLAIN_MLFLOW, photo], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    [prediction] = workplace.json_here("predict", "models:/tiny@champion", photo)
    assert shown.stdout.split() == [prediction["class"], str(prediction["probability"])]


def test_list_and_show_find_the_study(finished: tuple[Workplace, Any]) -> None:
    workplace, result = finished
    [entry] = workplace.json_here("list")
    assert (entry["study"], entry["state"], entry["best_objective"]) == ("tiny", "COMPLETE", result["winner"]["value"])
    shown = workplace.json_here("show", "tiny")
    assert len(shown["trials"]) == 6
    assert shown["trials"][0]["metrics"]["best_val_balanced_accuracy"] == max(
        trial["metrics"]["best_val_balanced_accuracy"] for trial in shown["trials"]
    )


def test_resuming_a_finished_study_trains_nothing_and_keeps_the_winner(finished: tuple[Workplace, Any]) -> None:
    workplace, result = finished
    before = trials_in_optuna(workplace)
    again = workplace.json_here("resume", "tiny", "--in-process")
    metrics, before_metrics = again["winner"].pop("metrics"), dict(result["winner"]["metrics"])
    assert metrics == pytest.approx(before_metrics, abs=1e-6)  # measured anew, by another number of threads
    # Its version too: the same model is not registered twice.
    assert again["winner"] == {key: value for key, value in result["winner"].items() if key != "metrics"}
    assert [trial.datetime_complete for trial in trials_in_optuna(workplace)] == [trial.datetime_complete for trial in before]


def test_the_same_seeds_measure_the_same_with_and_without_ray(
    finished: tuple[Workplace, Any], make_workplace: MakeWorkplace
) -> None:
    on_ray, _ = finished
    in_process = make_workplace()
    in_process.run("run", in_process.write(TINY.replace("trials = 6", "trials = 2")), "--in-process")
    for number in (0, 1):  # proposed before anything was measured: the same recipes
        here, there = trials_in_optuna(in_process)[number], trials_in_optuna(on_ray)[number]
        assert here.params == there.params
        epochs = min(len(here.intermediate_values), len(there.intermediate_values))
        assert epochs > 0
        for epoch in range(1, epochs + 1):
            assert here.intermediate_values[epoch] == there.intermediate_values[epoch]


def start(workplace: Workplace, *arguments: str | Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        workplace.command(*arguments),
        cwd=workplace.folder,
        env={**os.environ, **workplace.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # as a terminal does: the signal is for this study, not for the tests
    )


def wait_for_line(process: "subprocess.Popen[str]", word: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if word in line:
            return
    raise AssertionError(f"the study ended without {word!r}")


def test_ctrl_c_marks_what_was_running_and_resume_ends_the_study(workplace: Workplace) -> None:
    process = start(workplace, "run", workplace.write(TINY))
    wait_for_line(process, "/6 trials")
    os.kill(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1, output
    assert "resume tiny" in output
    states = {record.state.value for record in trials_in_mlflow(workplace)}
    assert "RUNNING" not in states
    result = workplace.json_here("resume", "tiny", "--in-process")
    assert sum(result["counts"].values()) == 6
    assert_both_stores_agree(workplace, num_trials=6)


def test_a_driver_killed_at_once_loses_no_trial_and_doubles_none(workplace: Workplace) -> None:
    process = start(workplace, "run", workplace.write(TINY))
    wait_for_line(process, "/6 trials")
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=60)
    assert process.stdout is not None
    process.stdout.close()
    time.sleep(2)  # Ray's own processes notice that their driver is gone
    result = workplace.json("resume", "tiny")
    assert sum(result["counts"].values()) == 6
    assert_both_stores_agree(workplace, num_trials=6)


def test_a_study_whose_trials_all_diverge_ends_with_their_cause(workplace: Workplace) -> None:
    # A linear head on frozen features: steps this long leave the range of float32 within an epoch.
    text = TINY.replace("low = 1e-4, high = 1e-2", "low = 1e37, high = 1e38").replace("choices = [0.0, 0.5]", "choices = [1.0]")
    text = text.replace("trials = 6", "trials = 2").replace("[space]", 'optimizer.name = "sgd"\n[space]')
    shown = workplace.run("run", workplace.write(text), code=1)
    assert "no trial completed" in shown.stdout
    for record in trials_in_mlflow(workplace):
        assert record.state.value == "FAIL"
        assert "NonFiniteLossError" in record.tags["study.error"]
        assert "Traceback" in record.tags["study.traceback"]
    assert "NonFiniteLossError" in workplace.here("show", "tiny").stdout


def test_a_study_whose_trials_are_all_pruned_registers_nothing(workplace: Workplace) -> None:
    text = TINY[: TINY.index("pruner =")] + '[search.pruner]\nname = "threshold"\nlower = 1.5\n'
    shown = workplace.here("run", workplace.write(text.replace("trials = 6", "trials = 2")), "--in-process", code=1)
    assert "2 PRUNED" in shown.stdout
    assert "no trial completed" in shown.stdout
    assert {trial.state.name for trial in trials_in_optuna(workplace)} == {"PRUNED"}
    assert {record.state.value for record in trials_in_mlflow(workplace)} == {"PRUNED"}


def test_two_drivers_do_not_run_one_study(finished: tuple[Workplace, Any]) -> None:
    workplace, _ = finished
    with FileLock(workplace.folder / "studies" / "tiny" / "driver.lock"):
        refused = workplace.here("resume", "tiny", "--in-process", code=2)
    assert "another process is running 'tiny'" in refused.stderr


def test_a_study_on_an_mlflow_server_ends_with_its_address(make_workplace: MakeWorkplace, server_uri: str) -> None:
    workplace = make_workplace(MLFLOW_TRACKING_URI=server_uri)
    text = TINY.replace('"tiny"', '"served"').replace("trials = 6", "trials = 3")
    result = workplace.json_here("run", workplace.write(text), "--in-process")
    assert result["mlflow"].startswith(f"{server_uri}/#/experiments/")
    assert len(trials_in_mlflow(workplace, "served")) == 3
    [version] = model_versions(server_uri, "served")
    assert version.aliases == ("champion",)
    assert not (workplace.folder / "mlflow.db").exists()


def test_a_server_that_is_away_for_a_while_costs_no_record_and_no_trial(make_workplace: MakeWorkplace, server_uri: str) -> None:
    with faulty_network(server_uri) as network:
        workplace = make_workplace(MLFLOW_TRACKING_URI=network.uri)
        process = start(workplace, "run", workplace.write(TINY.replace('"tiny"', '"outage"')), "--in-process")
        wait_for_line(process, "/6 trials")
        network.is_down = True
        time.sleep(12)  # longer than MLflow's client tries by itself
        network.is_down = False
        output, _ = process.communicate(timeout=200)
        assert process.returncode == 0, output
        records = trials_in_mlflow(workplace, "outage")
        tracker = MlflowTracker(server_uri)
        for record in records:
            epochs = [epoch for epoch, _ in tracker.history(record.run_id, "val_loss")]
            assert epochs == list(range(1, len(epochs) + 1))
            assert record.state.value == ("COMPLETE" if len(epochs) == 3 else "PRUNED")
        assert sorted(record.number for record in records) == list(range(6))


def test_the_best_recipes_are_repeated_and_only_then_is_the_test_split_read(workplace: Workplace) -> None:
    text = TINY.replace("trials = 6", "trials = 3") + "[confirm]\ntop = 2\nseeds = 2\n"
    result = workplace.json_here("run", workplace.write(text), "--in-process")
    assert [one["test"]["n"] for one in result["confirmed"]] == [2, 2]
    search, repeated = trials_in_mlflow(workplace), trials_in_mlflow(workplace, "tiny.confirm")
    assert not any(name.startswith("test_") for record in search for name in record.metrics)
    assert len(repeated) == 4
    assert all("test_balanced_accuracy" in record.metrics for record in repeated)
    assert len({record.params["seed"] for record in repeated}) == 2
    run_ids = {str(record.number): record.run_id for record in search}
    assert all(record.tags["study.confirms_run"] == run_ids[record.tags["study.confirms"]] for record in repeated)
    assert result["answer"]
    assert Path(result["report"]).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    again = workplace.json_here("resume", "tiny", "--in-process")
    assert again["confirmed"] == result["confirmed"]
    assert "tiny" in workplace.here("resume", "tiny.confirm", code=2).stderr
    assert workplace.json_here("reconcile", "tiny") == []


def test_a_trial_whose_process_is_killed_goes_on_under_its_own_number_and_run(workplace: Workplace) -> None:
    text = TINY.replace("trials = 6", "trials = 3").replace("epochs = 3", "epochs = 40")
    process = start(workplace, "run", workplace.write(text))
    wait_for_line(process, "study tiny")
    killed = kill_a_trial()
    output, _ = process.communicate(timeout=200)
    assert killed
    assert process.returncode == 0, output
    assert_both_stores_agree(workplace, num_trials=3)


def kill_a_trial() -> bool:
    """Kills a process of Ray's that runs a trial, as the kernel does when memory runs out; whether one was found in time."""
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                title = (folder / "cmdline").read_text()
            except OSError:
                continue
            if title.startswith("ray::") and "StudyTrainable" in title and "train" in title:
                os.kill(int(folder.name), signal.SIGKILL)
                return True
        time.sleep(0.05)
    return False


CLOTHING = """
name = "clothing"
[data]
folder = "{data}/clothing10"
image_size = 128
[trial]
backbone = "squeezenet1_0"
freeze_depth = 1.0
epochs = 12
optimizer.lr = 5e-3
[space]
head = {{ choices = ["replace", "append"] }}
weights = {{ choices = ["{data}/weights/squeezenet1_0_imagenet.safetensors", "none"] }}
[search]
sampler = "grid"
pruner = {{ name = "none" }}
"""


@pytest.mark.shared_data
def test_transfer_shows_on_real_photos(make_workplace: MakeWorkplace, shared_data: Path) -> None:
    """A linear probe of these frozen features reaches 0.66 at 128 px, and 0.17 with random weights."""
    workplace = make_workplace()
    workplace.here("run", workplace.write(CLOTHING.format(data=shared_data)), "--in-process")
    values: dict[bool, list[float]] = {True: [], False: []}
    for trial in trials_in_optuna(workplace, "clothing"):
        assert trial.value is not None
        values[trial.params["weights"] == "none"].append(trial.value)
    assert (len(values[False]), len(values[True])) == (2, 2)
    assert max(values[False]) >= 0.60
    assert max(values[True]) <= 0.35
