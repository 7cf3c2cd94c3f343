"""How busy the machine is while a trial runs, by the names that MLflow's pages show under "System metrics"."""

import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from mlflow.environment_variables import MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING, MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

from study.errors import TrackingError
from study.tracking.deliveries import Delivery, Point

INTERVAL_S = 10.0  # MLflow's own default; a trial that is over sooner records none, and pays nothing
PREFIX = "system/"  # MLflow's pages put what begins so on a page of its own

Deliver = Callable[[str, Delivery], None]


def sampling_interval_s() -> float | None:
    """Seconds between samples, by MLflow's own variables; None where `MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING` is false."""
    if MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING.is_set() and not MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING.get():
        return None
    return float(MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL.get() or INTERVAL_S)


class SystemMetrics:
    """Samples processor, memory, disk, network and GPUs of this machine from a thread, while it is entered.

    MLflow's own `SystemMetricsMonitor` asks the server for the run at every sample and gives up for good at the first failure;
    its monitors are used here without it. A sample that MLflow does not take is dropped: it is a picture of the machine, not
    a result.

    Args:
        deliver: tells a run something, trying once.
    """

    def __init__(self, deliver: Deliver, run_id: str, interval_s: float | None) -> None:
        self._deliver, self._run_id, self._interval_s = deliver, run_id, interval_s
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._sample_all, name="system metrics", daemon=True)

    def __enter__(self) -> Self:
        if self._interval_s is not None:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._is_over.set()  # not joined: a call to a slow server must not hold up the next trial

    def _sample_all(self) -> None:
        monitors: list[Any] = []
        step = 0
        while not self._is_over.wait(self._interval_s):
            monitors = monitors or _monitors()
            now_ms = time.time_ns() // 1_000_000
            points = [Point(PREFIX + name, value, now_ms, step) for name, value in _sample(monitors).items()]
            step += 1
            try:
                self._deliver(self._run_id, Delivery(points=points))
            except TrackingError:
                continue


def _monitors() -> list[Any]:
    """MLflow's monitors of what this machine has."""
    monitors = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    try:
        monitors.append(GPUMonitor())
    except (ImportError, RuntimeError):  # no NVIDIA driver
        return monitors
    return monitors


def _sample(monitors: list[Any]) -> Mapping[str, float]:
    values: dict[str, float] = {}
    for monitor in monitors:
        monitor.collect_metrics()
        values |= monitor.aggregate_metrics()
        monitor.clear_metrics()
    return values
