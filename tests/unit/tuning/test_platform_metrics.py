"""A study's figures for Prometheus are those of the ledger that they listen to."""

import re
import threading
from pathlib import Path

import pytest
from optuna.storages import InMemoryStorage
from ray.util import metrics as ray_metrics

from study.definition import parse_definition
from study.search.advisor import Advisor
from study.search.outcomes import Outcome
from study.tracking.tracker import MemoryTracker
from study.trial import Failure, Measurement, TrialState
from study.tuning.ledger import Ledger
from study.tuning.metrics_export import RayExporter, exported
from study.tuning.placement import Placement
from study.tuning.platform_metrics import METRICS, PROCESS_DIED, TRIAL_SLOTS, StudyMetrics, kind_of

DEFINITION = parse_definition(
    """
name = "figures"
data.generated = "instruments"
trial.epochs = 3
[objective]
metric = "balanced_accuracy"
constraints = ["parameters_m <= 5"]
[space]
"optimizer.lr" = { low = 1e-4, high = 1e-1, log = true }
[search]
trials = 4
pruner = { name = "median", n_startup_trials = 1, n_warmup_steps = 0 }
""",
    Path("/somewhere/figures.toml"),
)


class Bench:
    """A ledger whose study is counted; time passes when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.num_unsent = 0
        self.storage = InMemoryStorage()
        self.tracker = MemoryTracker()
        self.parent = self.tracker.begin_study("figures", "figures", {}, DEFINITION.text, "")
        self.placement = Placement(cpus=2, gpus=0.5, num_concurrent=4)
        self.open(Advisor.create(DEFINITION, self.storage, {}))

    def open(self, advisor: Advisor) -> None:
        self.ledger = Ledger(advisor, self.tracker, self.parent, DEFINITION.objective)
        self.metrics = StudyMetrics(
            DEFINITION,
            self.placement,
            self.ledger.outcomes(),
            self.ledger.stopwatch,
            lambda: self.num_unsent,
            clock=lambda: self.now_s,
        )
        self.ledger.listen(self.metrics)

    def begin(self) -> int:
        trial = self.ledger.begin()
        assert trial is not None
        return trial.number

    def record(self, number: int, *values: float, first: int = 1) -> bool:
        facts: dict[str, str | float] = {"images_per_epoch": 40.0, "activation_cache": "hit"}
        return self.ledger.record(number, measured(*values, first=first), is_in_mlflow=False, facts=facts)

    def run(self, *values: float, facts: dict[str, str | float] | None = None) -> None:
        number = self.begin()
        self.record(number, *values)
        self.ledger.finish(number, facts={"parameters_m": 1.0, **(facts or {})})

    def value(self, name: str, *labels: str) -> float | None:
        found = [one.value for one in self.metrics.samples() if one.metric.name == name and one.labels == labels]
        assert len(found) <= 1, f"{name} has two values for {labels}"
        return found[0] if found else None


def measured(*values: float, first: int = 1) -> list[Measurement]:
    return [
        Measurement(
            epoch=epoch, metrics={"val_loss": 1.0, "val_balanced_accuracy": value}, timestamp_ms=1_000, is_last=epoch == 3
        )
        for epoch, value in enumerate(values, start=first)
    ]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_trials_are_counted_by_state_from_the_first_moment_on(bench: Bench) -> None:
    states = ("running", "complete", "pruned", "fail")
    assert [bench.value("study_trials", state) for state in states] == [0, 0, 0, 0]
    bench.run(0.5, 0.6, 0.7)
    bench.ledger.finish(bench.begin(), Failure(reason="TrialError: no.", traceback=""))
    bench.begin()
    assert [bench.value("study_trials", state) for state in states] == [1, 1, 0, 1]
    assert bench.value("study_trials_ended_total", "fail") == 1
    assert bench.value("study_trials_planned") == 4
    assert bench.value("study_trial_slots") == 4


def test_trials_of_an_earlier_launch_are_there_as_states_and_not_as_counts(bench: Bench) -> None:
    bench.run(0.5, 0.6, 0.7)
    bench.open(Advisor.resume(DEFINITION, bench.storage))
    assert bench.value("study_trials", "complete") == 1
    assert bench.value("study_best_objective", "val_balanced_accuracy") == 0.7
    assert bench.value("study_trials_ended_total", "complete") is None


def test_a_running_trial_s_gpu_and_cpu_time_grow_as_it_runs(bench: Bench) -> None:
    first = bench.begin()
    bench.now_s += 10
    bench.begin()
    bench.now_s += 10
    assert bench.value("study_gpu_seconds_total") == (20 + 10) * 0.5
    assert bench.value("study_cpu_seconds_total") == (20 + 10) * 2
    bench.ledger.finish(first)
    bench.now_s += 10
    assert bench.value("study_gpu_seconds_total") == (20 + 20) * 0.5


def test_epochs_are_counted_once_each_and_their_images_with_them(bench: Bench) -> None:
    number = bench.begin()
    bench.record(number, 0.5)
    bench.record(number, 0.5, 0.6)  # a retried trial tells the first epoch again
    assert bench.value("study_epochs_trained_total") == 2
    assert bench.value("study_images_trained_total") == 80


def test_what_an_earlier_driver_had_recorded_of_a_trial_is_not_counted_again(bench: Bench) -> None:
    number = bench.begin()
    bench.record(number, 0.5, 0.6)
    bench.ledger.interrupt_open()
    bench.open(Advisor.resume(DEFINITION, bench.storage))
    assert bench.begin() == number
    bench.record(number, 0.5, 0.6, 0.7)
    assert bench.value("study_epochs_trained_total") == 1


def test_the_best_objective_is_that_of_a_trial_within_the_limits(bench: Bench) -> None:
    assert bench.value("study_best_objective", "val_balanced_accuracy") is None
    bench.run(0.5, 0.6, 0.7, facts={"parameters_m": 4.0})
    bench.run(0.5, 0.6, 0.9, facts={"parameters_m": 6.0})
    assert bench.value("study_best_objective", "val_balanced_accuracy") == 0.7


def test_where_activations_came_from_is_counted_by_trial(bench: Bench) -> None:
    for outcome in ("computed", "hit", "hit"):
        bench.run(0.5, 0.6, 0.7, facts={"activation_cache": outcome})
    assert bench.value("study_activation_cache_trials_total", "hit") == 2
    assert bench.value("study_activation_cache_trials_total", "computed") == 1


def test_the_last_signs_of_life_are_told_as_times(bench: Bench) -> None:
    number = bench.begin()
    bench.now_s += 5
    assert bench.value("study_last_epoch_timestamp_seconds") == 1_000
    bench.record(number, 0.5)
    bench.now_s += 5
    bench.ledger.finish(number)
    assert bench.value("study_last_epoch_timestamp_seconds") == 1_005
    assert bench.value("study_last_trial_end_timestamp_seconds") == 1_010
    assert bench.value("study_started_timestamp_seconds") == 1_000


def test_every_step_of_the_driver_is_timed(bench: Bench) -> None:
    bench.run(0.5, 0.6, 0.7)
    bench.num_unsent = 3
    assert [bench.value("study_driver_steps_total", step) for step in ("ask", "begin_run", "report", "end_run", "tell")] == [
        1
    ] * 5
    assert (bench.value("study_driver_step_seconds_total", "ask") or 0) > 0
    assert bench.value("study_unsent_records") == 3


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("NonFiniteLossError: the loss must be finite, but it is nan", "NonFiniteLossError"),
        ("the trial's process died 3 times; last: The actor died: OOM", PROCESS_DIED),
        ("", PROCESS_DIED),
    ],
)
def test_failures_are_told_apart_by_few_words(reason: str, kind: str) -> None:
    assert kind_of(reason) == kind


def test_names_keep_prometheus_conventions() -> None:
    for metric in METRICS:
        assert re.fullmatch(r"study_[a-z_]+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert metric.description
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_each_sample_has_a_value_for_each_of_its_labels(bench: Bench) -> None:
    bench.run(0.5, 0.6, 0.7)
    assert all(len(one.labels) == len(one.metric.labels) for one in bench.metrics.samples())
    assert {one.metric for one in bench.metrics.samples()} <= set(METRICS)


def test_a_counter_is_told_its_growth_only(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, float]] = []
    monkeypatch.setattr(ray_metrics.Counter, "inc", lambda self, value, tags: told.append((self.info["name"], value)))
    exporter = RayExporter("figures")
    for _ in range(2):
        bench.run(0.5, 0.6, 0.7)
        exporter.tell(bench.metrics.samples())
    exporter.tell(bench.metrics.samples())
    assert [value for name, value in told if name == "study_epochs_trained_total"] == [3, 3]


class Unreadable(StudyMetrics):
    """Whose values nobody can read."""

    def samples(self) -> list:  # type: ignore[type-arg]
        raise RuntimeError("no values")


def test_what_goes_wrong_with_metrics_leaves_the_study_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    deaths: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda death: deaths.append(str(death.exc_value)))
    broken = Unreadable(DEFINITION, bench.placement, (), bench.ledger.stopwatch, lambda: 0)
    with exported(broken):
        bench.run(0.5, 0.6, 0.7)
    assert deaths == ["no values"]
    assert [outcome.state for outcome in bench.ledger.outcomes()] == [TrialState.COMPLETE]


def test_metrics_are_told_at_the_beginning_and_at_the_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    running: list[float] = []
    has_told = threading.Event()

    def note(self: RayExporter, samples: list) -> None:  # type: ignore[type-arg]
        running.extend(one.value for one in samples if one.labels == ("running",))
        has_told.set()

    monkeypatch.setattr(RayExporter, "tell", note)
    number = bench.begin()
    with exported(bench.metrics, interval_s=60):
        has_told.wait(5)
        bench.ledger.finish(number)
    assert running == [1, 0]


def test_an_outcome_without_a_value_is_no_best(bench: Bench) -> None:
    pruned = Outcome(0, TrialState.PRUNED, DEFINITION.trial, {}, 0.99, 2, None)
    metrics = StudyMetrics(DEFINITION, bench.placement, [pruned], bench.ledger.stopwatch, lambda: 0)
    assert not [one for one in metrics.samples() if one.metric.name == "study_best_objective"]


def test_slots_are_counted_as_nodes_come_and_go() -> None:
    slots = [4]
    stopwatch = Bench().ledger.stopwatch
    metrics = StudyMetrics(DEFINITION, Placement(2, 0.5, 4), [], stopwatch, lambda: 0, num_slots=lambda: slots[0])
    slots[0] = 7
    assert [sample.value for sample in metrics.samples() if sample.metric is TRIAL_SLOTS] == [7]
