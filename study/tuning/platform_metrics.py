"""What a running study tells Prometheus: the metrics by name, and the listener that keeps their values.

Counted where the driver hears of it, not in the workers: every epoch and every fact of a trial reaches the ledger, and Ray
gives each process series of its own, which a hundred workers would multiply by a hundred. study/tuning/metrics_export.py
hands the values to Ray.
"""

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from study.definition import StudyDefinition
from study.search.outcomes import Outcome, is_candidate
from study.trial import TrialState
from study.tuning.kept_weights import keeps_limits
from study.tuning.ledger import TrialProgress
from study.tuning.placement import Placement
from study.tuning.stopwatch import Stopwatch

RAY_PREFIX = "ray_"  # Ray's exporter puts it in front of every name (`NAMESPACE` in its open_telemetry_metric_recorder.py)
STUDY_LABEL = "study"
PROCESS_DIED = "process_died"  # the label of a failure that no exception of ours tells of


@dataclass(frozen=True)
class Metric:
    """One metric, by Prometheus' conventions: https://prometheus.io/docs/practices/naming/.

    Attributes:
        labels: beside `study`.
    """

    name: str
    kind: Literal["gauge", "counter"]
    description: str
    labels: tuple[str, ...] = ()

    @property
    def exported_name(self) -> str:
        """As Prometheus knows it."""
        return RAY_PREFIX + self.name


TRIALS = Metric("study_trials", "gauge", "Trials by state, those of earlier launches included", ("state",))
TRIALS_PLANNED = Metric("study_trials_planned", "gauge", "Trials that the study asks for")
TRIAL_SLOTS = Metric("study_trial_slots", "gauge", "Trials that run at once when nothing is idle")
BEST_OBJECTIVE = Metric(
    "study_best_objective", "gauge", "Best objective of a completed trial within the limits", ("objective",)
)
UNSENT_RECORDS = Metric("study_unsent_records", "gauge", "Records on the driver's disk that MLflow does not have yet")
STARTED = Metric("study_started_timestamp_seconds", "gauge", "When this driver took the study up, Unix time")
LAST_EPOCH = Metric("study_last_epoch_timestamp_seconds", "gauge", "When an epoch was last heard of; at first, the start")
LAST_END = Metric("study_last_trial_end_timestamp_seconds", "gauge", "When a trial last ended; at first, the start")
TRIALS_ENDED = Metric("study_trials_ended_total", "counter", "Trials that ended", ("state",))
FAILURES = Metric("study_trial_failures_total", "counter", "Trials that failed, by the kind of error", ("error",))
GPU_SECONDS = Metric("study_gpu_seconds_total", "counter", "GPU time that trials held: seconds times their share of a GPU")
CPU_SECONDS = Metric("study_cpu_seconds_total", "counter", "CPU time that trials held: seconds times their cores")
CACHE_TRIALS = Metric(
    "study_activation_cache_trials_total", "counter", "Trials by where their activations came from", ("outcome",)
)
EPOCHS = Metric("study_epochs_trained_total", "counter", "Epochs that trials trained")
IMAGES = Metric("study_images_trained_total", "counter", "Images that trials trained on, once an epoch each")
STEP_SECONDS = Metric("study_driver_step_seconds_total", "counter", "Time that the driver spent in its steps", ("step",))
STEPS = Metric("study_driver_steps_total", "counter", "Steps that the driver took", ("step",))

METRICS = (
    *(TRIALS, TRIALS_PLANNED, TRIAL_SLOTS, BEST_OBJECTIVE, UNSENT_RECORDS, STARTED, LAST_EPOCH, LAST_END),
    *(TRIALS_ENDED, FAILURES, GPU_SECONDS, CPU_SECONDS, CACHE_TRIALS, EPOCHS, IMAGES, STEP_SECONDS, STEPS),
)


class Sample(NamedTuple):
    """A value of a metric; a counter's is its total since the driver began.

    Attributes:
        labels: values of the metric's labels, in their order.
    """

    metric: Metric
    value: float
    labels: tuple[str, ...] = ()


class StudyMetrics:
    """Listens to a ledger and keeps a study's values; any thread may ask for them."""

    def __init__(
        self,
        definition: StudyDefinition,
        placement: Placement,
        earlier: Iterable[Outcome],
        stopwatch: Stopwatch,
        num_unsent: Callable[[], int],
        *,
        num_slots: Callable[[], int] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Args:
        earlier: trials that ended in an earlier launch.
        stopwatch: the ledger's.
        num_unsent: how many records MLflow does not have yet.
        num_slots: trials that may run at once by now; nodes come and go. None: as the placement says.
        clock: Unix time in seconds.
        """
        self.study = definition.name
        self._objective = definition.objective
        self._num_planned = definition.num_trials
        self._placement = placement
        self._stopwatch = stopwatch
        self._num_unsent = num_unsent
        self._num_slots = num_slots or (lambda: placement.num_concurrent)
        self._clock = clock
        self._lock = threading.Lock()
        self._best: float | None = None
        self._states: Counter[TrialState] = Counter()
        for outcome in earlier:
            self._states[outcome.state] += 1
            if is_candidate(outcome) and outcome.value is not None:
                self._compare(outcome.value)
        self._began_s: dict[int, float] = {}
        self._num_measured: Counter[int] = Counter()
        self._held_s = 0.0  # by trials that have ended
        self._started_s = self._last_epoch_s = self._last_end_s = clock()
        self._ended: Counter[TrialState] = Counter()
        self._failures: Counter[str] = Counter()
        self._caches: Counter[str] = Counter()
        self._num_epochs = 0
        self._num_images = 0.0

    def trial_began(self, trial: TrialProgress) -> None:
        """From now on it holds what it was given."""
        with self._lock:
            self._began_s[trial.number] = self._clock()

    def trial_measured(self, trial: TrialProgress) -> None:
        """Counts the epochs that are new."""
        with self._lock:
            self._last_epoch_s = self._clock()
            self._count_epochs(trial)

    def trial_ended(self, trial: TrialProgress) -> None:
        """Counts how it ended, and what it took."""
        with self._lock:
            self._last_end_s = self._clock()
            self._held_s += self._last_end_s - self._began_s.pop(trial.number, self._last_end_s)
            self._num_measured.pop(trial.number, None)
            self._ended[trial.state] += 1
            self._states[trial.state] += 1
            if trial.failure is not None:
                self._failures[kind_of(trial.failure.reason)] += 1
            if isinstance(outcome := trial.facts.get("activation_cache"), str):
                self._caches[outcome] += 1
            if trial.state is TrialState.COMPLETE and trial.best and keeps_limits(trial, self._objective):
                self._compare(trial.best.metrics[self._objective.key])

    def samples(self) -> list[Sample]:
        """Every value there is."""
        num_unsent = self._num_unsent()
        with self._lock:
            return [*self._gauges(num_unsent), *self._counters()]

    def _count_epochs(self, trial: TrialProgress) -> None:
        """A trial that another driver had begun tells first what that one counted: MLflow knows how far it was."""
        new = sum(one.epoch > trial.recorded_epoch for one in trial.measurements[self._num_measured[trial.number] :])
        self._num_measured[trial.number] = len(trial.measurements)
        self._num_epochs += new
        self._num_images += new * float(trial.facts.get("images_per_epoch", 0.0))

    def _compare(self, value: float) -> None:
        if self._best is None or self._objective.is_better(value, self._best):
            self._best = value

    def _gauges(self, num_unsent: int) -> Iterator[Sample]:
        counts = {**dict.fromkeys((TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL), 0), **self._states}
        counts[TrialState.RUNNING] = len(self._began_s)
        for state, count in counts.items():
            yield Sample(TRIALS, count, (state.lower(),))
        yield Sample(TRIALS_PLANNED, self._num_planned)
        yield Sample(TRIAL_SLOTS, self._num_slots())
        yield Sample(UNSENT_RECORDS, num_unsent)
        yield Sample(STARTED, self._started_s)
        yield Sample(LAST_EPOCH, self._last_epoch_s)
        yield Sample(LAST_END, self._last_end_s)
        if self._best is not None:
            yield Sample(BEST_OBJECTIVE, self._best, (self._objective.key,))

    def _counters(self) -> Iterator[Sample]:
        now_s = self._clock()
        held_s = self._held_s + sum(now_s - began_s for began_s in self._began_s.values())
        yield Sample(GPU_SECONDS, held_s * self._placement.gpus)
        yield Sample(CPU_SECONDS, held_s * self._placement.cpus)
        yield Sample(EPOCHS, self._num_epochs)
        yield Sample(IMAGES, self._num_images)
        yield from (Sample(TRIALS_ENDED, count, (state.lower(),)) for state, count in self._ended.items())
        yield from (Sample(FAILURES, count, (kind,)) for kind, count in self._failures.items())
        yield from (Sample(CACHE_TRIALS, count, (outcome,)) for outcome, count in self._caches.items())
        yield from (Sample(STEP_SECONDS, seconds, (step,)) for step, seconds in dict(self._stopwatch.seconds).items())
        yield from (Sample(STEPS, count, (step,)) for step, count in dict(self._stopwatch.calls).items())


def kind_of(reason: str) -> str:
    """What kind of failure a reason tells of: the exception's name, so that there are few of them."""
    match = re.match(r"[A-Za-z_]\w*(?=:)", reason)
    return match[0] if match else PROCESS_DIED
