"""What a study on Ray shows Prometheus: a real head with its metrics port, and trials that train nothing."""

import time
import urllib.request
from collections.abc import Generator, Iterator, Mapping

import pytest

from study.definition import parse_definition
from study.errors import TrialError
from study.search.advisor import Advisor
from study.search.storages import open_storage
from study.settings import settings_from
from study.tracking.journaled_tracker import JournaledTracker
from study.tracking.tracker import MemoryTracker
from study.trial import Measurement
from study.tuning.cluster import RayExecutor
from study.tuning.ledger import Ledger
from study.tuning.newcomers import Newcomers
from study.tuning.nodes import living_nodes
from study.tuning.placement import Placement
from study.tuning.platform_metrics import METRICS
from study.tuning.preparation import prepare
from tests.benchmarks.no_op_trial import NoOpSession, NoOpTrainable
from tests.observability import GPU_METRICS, asked_by_alerts, asked_by_dashboard, names_in, samples_of, study_total

pytest.importorskip("opencensus", reason="Ray exports metrics only with its extra `default` installed")
import ray

NUM_TRIALS = 5
TEXT = f"""
name = "shown"
[data]
generated = "instruments"
num_photos = 60
image_size = 32
[trial]
backbone = "squeezenet1_0"
weights = "none"
epochs = 10
[space]
"optimizer.lr" = {{ low = 1e-4, high = 1e-2, log = true }}
[search]
trials = {NUM_TRIALS}
sampler = "random"
pruner = {{ name = "median", n_startup_trials = 2, n_warmup_steps = 1 }}
[resources]
cpus = 1
"""


class TellingSession(NoOpSession):
    """Trials that say how they were computed, the first of which fails."""

    def _running(self) -> Generator[Measurement]:
        if self._task.number == 0:
            raise TrialError("a trial must fail, but this is the only one that does.")
        return super()._running()

    def _facts(self) -> dict[str, str | float]:
        return {"activation_cache": "computed" if self._task.number == 1 else "hit", "images_per_epoch": 42.0}


class TellingTrainable(NoOpTrainable):
    """Ray's trainable with such sessions."""

    session_type = TellingSession


@pytest.fixture(scope="module")
def metrics_address() -> Iterator[str]:
    """Of a head of one CPU that passes metrics on every second."""
    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        object_store_memory=80 * 2**20,
        log_to_driver=False,
        _system_config={"metrics_report_interval_ms": 1000},
    )
    try:
        [node] = ray.nodes()  # type: ignore[no-untyped-call]
        yield f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    finally:
        ray.shutdown()


@pytest.fixture(scope="module")
def shown(metrics_address: str, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, float]:
    """Every series that was to be seen after a study, by its name and labels, with its last value."""
    folder = tmp_path_factory.mktemp("shown")
    prepared = prepare(parse_definition(TEXT, folder / "shown.toml"), settings_from({}, folder))
    advisor = Advisor.create(prepared.definition, open_storage(str(folder / "study.journal")), {})
    with JournaledTracker(MemoryTracker(), folder / "outbox") as tracker:
        run_id = tracker.begin_study("shown", "shown", {}, TEXT, "")
        ledger = Ledger(advisor, tracker, run_id, prepared.definition.objective)
        placement = Placement(1, 0.0, 1)
        with Newcomers(living_nodes(), placement, prepare=lambda node: None, notice=lambda message: None) as newcomers:
            RayExecutor(prepared, placement, newcomers, is_verbose=False, trainable=TellingTrainable).run(ledger)
    assert len(advisor.outcomes()) == NUM_TRIALS
    return _seen(metrics_address, {metric.exported_name for metric in METRICS} - {"ray_study_gpu_seconds_total"})


def _seen(address: str, names: set[str]) -> dict[str, float]:
    """What an address shows until it has shown all of these: Ray drops a gauge soon after its process ended."""
    series: dict[str, float] = {}
    deadline_s = time.monotonic() + 15
    while not names <= names_in(series) and time.monotonic() < deadline_s:
        with urllib.request.urlopen(address, timeout=5) as response:
            series |= samples_of(response.read().decode())
        time.sleep(0.1)
    return series


def test_every_metric_that_the_platform_declares_is_to_be_seen(shown: Mapping[str, float]) -> None:
    declared = {metric.exported_name for metric in METRICS}
    assert declared - names_in(shown) == {"ray_study_gpu_seconds_total"}  # there is no GPU, and Ray shows no counter of 0


def test_a_study_is_counted_as_it_ran(shown: Mapping[str, float]) -> None:
    ended = {state: study_total(shown, "ray_study_trials_ended_total", state=state) for state in ("complete", "pruned", "fail")}
    assert ended["fail"] == 1
    assert sum(ended.values()) == NUM_TRIALS
    assert study_total(shown, "ray_study_trial_failures_total", error="TrialError") == 1
    assert study_total(shown, "ray_study_activation_cache_trials_total", outcome="computed") == 1
    epochs = study_total(shown, "ray_study_epochs_trained_total")
    assert 10 * ended["complete"] <= epochs <= 10 * NUM_TRIALS
    assert study_total(shown, "ray_study_images_trained_total") == 42 * epochs
    assert study_total(shown, "ray_study_driver_steps_total", step="tell") == NUM_TRIALS


def test_dashboard_and_alerts_ask_for_nothing_that_is_not_shown(shown: Mapping[str, float]) -> None:
    there = names_in(shown) | {metric.exported_name for metric in METRICS} | GPU_METRICS | {"up", "ALERTS"}
    assert asked_by_dashboard() | asked_by_alerts() <= there


def test_what_is_taken_for_granted_of_gpus_is_declared_by_ray() -> None:
    from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES

    assert {f"ray_{name}" for name in METRICS_GAUGES} >= GPU_METRICS
