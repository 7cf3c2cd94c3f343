"""What Ray holds on to between trials; Ray itself is not started."""

import copy
import pickle
from pathlib import Path
from typing import Any, cast

import pytest
from optuna.storages import InMemoryStorage
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from study.definition import Objective, parse_definition
from study.models.weights import ResolvedWeights
from study.search.advisor import Advisor
from study.tracking.tracker import MemoryTracker
from study.trial import Failure, Measurement, TrialConfig
from study.tuning import ray_adapters
from study.tuning.ledger import Ledger
from study.tuning.ray_adapters import (
    MAX_RETRIES,
    REPORT,
    LedgerScheduler,
    LedgerSearcher,
    RoomLimiter,
    TrialBundle,
    let_go,
)
from study.tuning.trial_task import TrialTask


def test_of_a_trial_that_ended_ray_keeps_no_reports_and_no_running_means() -> None:
    trial = Trial("study", config={"number": 3}, stub=True)
    result = {REPORT: "measurements" * 100, "done": True, "time_total_s": 2.0, "training_iteration": 1}
    trial.update_last_result(result)  # type: ignore[no-untyped-call]
    assert trial.metric_n_steps
    let_go(trial)
    assert not trial.metric_n_steps
    assert not trial.metric_analysis
    assert REPORT not in trial.last_result
    assert trial.last_result["done"], "what Ray itself asks about stays"
    assert trial.config == {"number": 3}


def task_3(folder: Path) -> TrialTask:
    """Its files go to the folder."""
    return TrialTask(
        number=3,
        run_id="run",
        config=TrialConfig(),
        weights=ResolvedWeights(None, "random"),
        objective=Objective(),
        data_folder="",
        activations_folder="",
        output_folder=str(folder),
        tracking_uri="",
        num_threads=1,
        uses_gpu=False,
    )


def trial_3(folder: Path) -> Trial:
    """As Ray holds it; its files go to the folder."""
    task = task_3(folder).model_dump_json()
    return Trial("study", config={"number": 3, "task": task}, stub=True, max_failures=MAX_RETRIES)


class Endless(Searcher):
    """Always has a trial."""

    def suggest(self, trial_id: str) -> dict[str, Any]:
        return {"number": 0}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        pass


def test_as_many_trials_are_handed_out_as_there_is_room_for_by_now() -> None:
    room = [1]
    limiter = RoomLimiter(Endless(), lambda: room[0])
    assert limiter.suggest("a") is not None
    assert limiter.suggest("b") is None
    room[0] = 2
    assert limiter.suggest("b") is not None
    assert limiter.suggest("c") is None
    assert pickle.loads(pickle.dumps(limiter.get_state())) == {}  # Tune saves it, and must not meet the cluster in it


def test_a_trials_bundle_avoids_the_nodes_that_are_refused_when_its_place_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(ray_adapters, "placement_group", lambda *arguments, **options: asked.append((arguments, options)))
    refused: set[str] = set()
    bundle = TrialBundle(2, 0.25, lambda: refused)
    bundle.to_placement_group()
    refused.update({"b", "a"})
    copy.deepcopy(bundle).to_placement_group()
    assert [arguments for arguments, _ in asked] == [([{"CPU": 2.0, "GPU": 0.25}], "PACK")] * 2
    assert [options["bundle_label_selector"] for _, options in asked] == [None, [{"ray.io/node-id": "!in(a, b)"}]]


def test_bundles_are_equal_whatever_is_refused_so_that_processes_are_reused() -> None:
    assert TrialBundle(1, 0, set) == TrialBundle(1, 0, lambda: {"a"})
    assert hash(TrialBundle(1, 0, set)) == hash(TrialBundle(1, 0, lambda: {"a"}))
    assert pickle.loads(pickle.dumps(TrialBundle(1, 0, set))) == tune.PlacementGroupFactory([{"CPU": 1}])


def test_a_node_that_turned_out_to_be_unfit_costs_a_trial_none_of_its_retries(tmp_path: Path) -> None:
    refused: set[str] = set()
    scheduler = LedgerScheduler(None, lambda: None, lambda: MAX_RETRIES + len(refused))  # type: ignore[arg-type]
    trial = trial_3(tmp_path)
    trial.run_metadata.num_failures = 1
    refused.add("the first node")
    scheduler.on_trial_error(None, trial)
    trial.run_metadata.num_failures = MAX_RETRIES + 1
    assert trial.should_recover()  # type: ignore[no-untyped-call]
    trial.run_metadata.num_failures += 1
    assert not trial.should_recover()  # type: ignore[no-untyped-call]


class OneTrial:
    """A ledger with trial 3 open."""

    def __init__(self) -> None:
        self.open_trials: tuple[int, ...] = (3,)
        self.failures: list[Failure | None] = []

    def finish(self, number: int, failure: Failure | None, facts: object) -> None:
        self.open_trials = ()
        self.failures.append(failure)


@pytest.mark.parametrize("num_failures", [0, MAX_RETRIES + 1])
def test_each_death_of_a_trial_s_process_is_in_its_log_and_the_last_one_s_failure_names_it(
    num_failures: int, tmp_path: Path
) -> None:
    trial = trial_3(tmp_path)
    trial.run_metadata.num_failures = num_failures
    ledger = OneTrial()
    LedgerScheduler(cast(Any, ledger), stop=lambda: None).on_trial_error(None, trial)
    log = tmp_path / "logs" / "trial_00003.log"
    assert "the trial's process died: " in log.read_text(encoding="utf-8")
    is_over = num_failures > MAX_RETRIES
    assert log.read_text(encoding="utf-8").endswith("ended: failed\n") == is_over
    assert [failure.reason.endswith(f"(log: {log})") for failure in ledger.failures if failure] == [True] * is_over


def test_a_death_on_a_node_that_shares_no_folder_is_told_to_the_driver_s_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trial = trial_3(tmp_path)
    task = TrialTask.model_validate_json(trial.config["task"]).model_copy(update={"shared_address": "s3://studies/team"})
    trial.config["task"] = task.model_dump_json()
    LedgerScheduler(cast(Any, OneTrial()), stop=lambda: None).on_trial_error(None, trial)
    assert "trial 3: its process died: " in caplog.text
    assert not (tmp_path / "logs").exists()


PATIENT = parse_definition(
    """
name = "patient"
data.generated = "instruments"
trial.epochs = 1
[space]
"optimizer.lr" = { low = 1e-4, high = 1e-1, log = true }
[search]
trials = 9
sampler = "random"
stop.patience = 2
""",
    Path("/somewhere/patient.toml"),
)


class Asked:
    """Ray's searcher over a real ledger, asked as Ray asks."""

    def __init__(self, folder: Path) -> None:
        tracker = MemoryTracker()
        parent = tracker.begin_study("patient", "patient", {}, PATIENT.text, "")
        self.ledger = Ledger(Advisor.create(PATIENT, InMemoryStorage(), {}), tracker, parent, PATIENT.objective)
        self.searcher = RoomLimiter(LedgerSearcher(self.ledger, lambda trial: task_3(folder)), lambda: 99)
        self.num_asked = 0

    def suggest(self) -> Any:
        self.num_asked += 1
        return self.searcher.suggest(f"ray {self.num_asked}")

    def complete(self, number: int, value: float) -> None:
        metrics = {"val_loss": value, "val_balanced_accuracy": value}
        self.ledger.record(number, [Measurement(epoch=1, metrics=metrics, timestamp_ms=1, is_last=True)], is_in_mlflow=False)
        self.ledger.finish(number)

    def fail(self, number: int) -> None:
        self.ledger.finish(number, Failure(reason=f"CUDA error: device {number} is lost"))


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    return Asked(tmp_path)


def test_ray_asks_again_while_a_running_trial_may_still_end_better_and_the_patience_lapse(asked: Asked) -> None:
    asked.suggest()
    asked.complete(0, 0.5)
    assert [asked.suggest()["number"] for _ in range(3)] == [1, 2, 3]
    asked.complete(1, 0.4)
    asked.complete(2, 0.4)
    assert [asked.suggest() for _ in range(3)] == [None] * 3
    asked.complete(3, 0.9)
    assert asked.suggest()["number"] == 4


def test_ray_asks_again_while_a_running_trial_may_still_give_hope(asked: Asked) -> None:
    assert [asked.suggest()["number"] for _ in range(5)] == [0, 1, 2, 3, 4]
    for number in range(4):
        asked.fail(number)
    assert asked.ledger.hopeless is not None
    assert asked.suggest() is None
    asked.complete(4, 0.9)
    assert asked.suggest()["number"] == 5


def test_ray_asks_no_more_once_nothing_runs_and_nothing_is_left(asked: Asked) -> None:
    for number, value in enumerate((0.5, 0.4, 0.4)):
        asked.suggest()
        asked.complete(number, value)
    assert [asked.suggest() for _ in range(2)] == [Searcher.FINISHED] * 2


def test_ray_asks_no_more_of_a_study_that_is_interrupted_whatever_runs(asked: Asked) -> None:
    asked.suggest()
    asked.ledger.is_interrupted = True
    assert asked.suggest() == Searcher.FINISHED


def test_the_sampler_is_not_asked_again_before_another_trial_has_ended(asked: Asked) -> None:
    for _ in range(PATIENT.num_trials):
        asked.suggest()
    asked.complete(0, 0.5)
    assert [asked.suggest() for _ in range(100)] == [None] * 100
    assert asked.ledger.stopwatch.calls["ask"] == PATIENT.num_trials + 1
