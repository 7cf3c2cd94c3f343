"""Hands a study's metrics to Ray's exporter, beside which Ray shows them to Prometheus on each node's metrics port.

Without `ray[default]` on the driver's node nothing is exported, and nothing else changes.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ray.util import metrics as ray_metrics

from study.tuning.platform_metrics import METRICS, STUDY_LABEL, Sample, StudyMetrics

# Ray sends what it was told every 10 s (`metrics_report_interval_ms`, Ray 2.60), and drops a gauge that was not set again
# for twice as long.
INTERVAL_S = 5.0
LAST_WORD_S = 5.0


class RayExporter:
    """Ray's counterparts of our metrics, in this process."""

    def __init__(self, study: str) -> None:
        labels = {metric: (STUDY_LABEL, *metric.labels) for metric in METRICS}
        self._study = study
        self._gauges = {
            metric: ray_metrics.Gauge(metric.name, metric.description, labels[metric])
            for metric in METRICS
            if metric.kind == "gauge"
        }
        self._counters = {
            metric: ray_metrics.Counter(metric.name, metric.description, labels[metric])
            for metric in METRICS
            if metric.kind == "counter"
        }
        self._told: dict[tuple[str, ...], float] = {}

    def tell(self, samples: list[Sample]) -> None:
        """Sets the gauges; adds to each counter what it has grown by since it was told last."""
        for metric, value, values in samples:
            tags = {STUDY_LABEL: self._study, **dict(zip(metric.labels, values, strict=True))}
            if metric.kind == "gauge":
                self._gauges[metric].set(value, tags)
                continue
            key = (metric.name, *values)
            growth = value - self._told.get(key, 0.0)
            if growth > 0:  # Ray refuses 0
                self._counters[metric].inc(growth, tags)
                self._told[key] = value


@contextmanager
def exported(metrics: StudyMetrics, interval_s: float = INTERVAL_S) -> Iterator[None]:
    """While it lasts, Ray is told the study's metrics every few seconds; at the end once more.

    All of it happens in a thread of its own: the trials do not wait for it, and what goes wrong in it ends the metrics and
    not the study.
    """
    has_ended = threading.Event()

    def tell_all() -> None:
        exporter = RayExporter(metrics.study)
        is_last = False
        while not is_last:
            is_last = has_ended.is_set()
            exporter.tell(metrics.samples())
            has_ended.wait(0.0 if is_last else interval_s)

    thread = threading.Thread(target=tell_all, name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        has_ended.set()
        thread.join(LAST_WORD_S)
