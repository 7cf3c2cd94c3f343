import threading

import pytest

from study.tracking.deliveries import Delivery
from study.tracking.failures import StoreAwayError
from study.tracking.system_metrics import SystemMetrics, sampling_interval_s


class Inbox:
    def __init__(self, num_failures: int = 0) -> None:
        self.received: list[tuple[str, Delivery]] = []
        self.has_two = threading.Event()
        self._num_failures = num_failures

    def deliver(self, run_id: str, delivery: Delivery) -> None:
        if self._num_failures:
            self._num_failures -= 1
            raise StoreAwayError("MLflow must answer, but does not.")
        self.received.append((run_id, delivery))
        if len(self.received) >= 2:
            self.has_two.set()


def test_a_run_is_told_by_the_names_that_mlflow_shows() -> None:
    inbox = Inbox()
    with SystemMetrics(inbox.deliver, "r", 0.01):
        assert inbox.has_two.wait(10)
    (run_id, first), (_, second) = inbox.received[:2]
    values = {point.metric: point.value for point in first.points}
    assert run_id == "r"
    assert 0 <= values["system/cpu_utilization_percentage"] <= 100
    assert values["system/system_memory_usage_megabytes"] > 100
    assert {point.step for point in first.points} == {0}
    assert {point.step for point in second.points} == {1}


def test_a_store_that_is_away_costs_a_sample_not_the_rest() -> None:
    inbox = Inbox(num_failures=2)
    with SystemMetrics(inbox.deliver, "r", 0.01):
        assert inbox.has_two.wait(10)


def test_a_trial_that_is_over_sooner_records_none() -> None:
    inbox = Inbox()
    with SystemMetrics(inbox.deliver, "r", 60.0):
        pass
    assert inbox.received == []


def test_nothing_is_sampled_where_mlflow_is_told_not_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", raising=False)
    assert sampling_interval_s() == 10.0
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "2.5")
    assert sampling_interval_s() == 2.5
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    assert sampling_interval_s() is None
    before = threading.active_count()
    with SystemMetrics(Inbox().deliver, "r", None):
        assert threading.active_count() == before
