"""One trial, from its task to its measurements. Knows nothing of Ray, Optuna or the driver."""

import logging
import socket
import time
import traceback
from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import torch

from study.confirm_definition import prefix_of
from study.data.study_data import StudyData
from study.errors import TrackingError, TrialError
from study.models.classifier import build_classifier
from study.models.loaded_networks import LoadedNetworks
from study.tracking.deliveries import Delivery
from study.tracking.mlflow_tracker import MlflowTracker
from study.tracking.patience import Patience
from study.tracking.system_metrics import SystemMetrics, sampling_interval_s
from study.training.activation_cache import ActivationCache
from study.training.evaluation import evaluate_split
from study.training.loop import fit
from study.training.training import Training, load_trained, start_training
from study.trial import Failure, Measurement, flatten
from study.tuning.shared_files import NOT_SHARED, SharedFiles
from study.tuning.trial_files import save_trained, state_file, weights_file
from study.tuning.trial_log import TrialLog, with_log
from study.tuning.trial_task import StepReport, TrialTask

logger = logging.getLogger(__name__)

DELIVERY_INTERVAL_S = 10.0  # long trials show up in MLflow while they run; short ones cost one batch, written by the driver
LONGEST_INTERVAL_S = 300.0  # between two tries while MLflow is away: a try that fails holds up the training for seconds
REPORT_INTERVAL_S = 2.0  # people watch: a report costs the driver milliseconds
SAVE_INTERVAL_S = 20.0  # a crash costs this much training, or:
SAVE_SHARE = 0.05  # saving takes at most this share of a trial's time (VGG-16 with Adam is 1.6 GB)


@dataclass(frozen=True, eq=False)
class WarmProcess:
    """What a process keeps from one trial to the next; none of it changes a result."""

    activations: ActivationCache
    networks: LoadedNetworks

    @classmethod
    def of(cls, task: TrialTask) -> Self:
        """What is kept for this task's study."""
        return cls(ActivationCache(Path(task.activations_folder)), LoadedNetworks(task.device))


class TrialSession:
    """A running trial, a few epochs a step; whatever goes wrong in it becomes its recorded failure."""

    def __init__(self, task: TrialTask, data: StudyData, warm: WarmProcess) -> None:
        self._task = task
        self._data = data
        self._warm = warm
        self._training: Training | None = None
        self._measurements: Generator[Measurement] | None = None
        self._undelivered: list[Measurement] = []
        self._delivered_s = time.monotonic()
        self._delivery_interval_s = DELIVERY_INTERVAL_S
        self._while_running = ExitStack()
        self._log = TrialLog(Path(task.output_folder), task.number, task.shared)

    def step(self) -> StepReport:
        """Trains and measures until the driver must hear of it: where it may stop the trial, at the end, every few seconds."""
        with self._log.capturing():
            return self._step()

    def _step(self) -> StepReport:
        measurements: list[Measurement] = []
        failure, test_facts = None, dict[str, str | float]()
        try:
            self._train_until_due(measurements)
            if measurements[-1].is_last:
                test_facts = self._test_facts() if self._task.reads_test else {}
                self._log.completed()
        except Exception as error:  # the trial boundary: one trial's failure must not end the study
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            reason = with_log(reason, Path(self._task.output_folder), self._task.number)
            failure = Failure(reason=reason, traceback=traceback.format_exc())
            self._log.failed(failure)
        self._undelivered += measurements
        is_last = failure is not None or measurements[-1].is_last
        if is_last:
            self._while_running.close()
        return StepReport(
            measurements=tuple(measurements),
            failure=failure,
            is_in_mlflow=self._deliver(),
            facts=self._facts() | test_facts,
            is_last=is_last,
        )

    def _train_until_due(self, measurements: list[Measurement]) -> None:
        """Adds to the measurements, so that those before a failure are told."""
        began_s = time.monotonic()
        for measurement in self._running():
            measurements.append(measurement)
            self._log.measured(measurement, self._task.config.epochs, self._task.objective.key)
            is_due = time.monotonic() - began_s >= REPORT_INTERVAL_S
            if measurement.is_last or measurement.epoch in self._task.report_epochs or is_due:
                return

    def close(self) -> None:
        """Ends the training where it is; what it holds is freed."""
        self._while_running.close()
        if self._measurements is not None:
            self._log.left()
            self._measurements.close()

    def _running(self) -> Generator[Measurement]:
        """The measurements; the model is built at the first step, so that what goes wrong there is the trial's failure."""
        if self._measurements is None:
            recipe = " ".join(f"{key}={value}" for key, value in flatten(self._task.config.model_dump()).items())
            self._log.begin(self._task.device, recipe)
            self._while_running.enter_context(SystemMetrics(self._deliver_once, self._task.run_id, sampling_interval_s()))
            self._training = begin_training(self._task, self._data, self._warm)
            folder, number = Path(self._task.output_folder), self._task.number
            self._measurements = run_trial(self._training, folder, number, self._task.shared)
        return self._measurements

    def _facts(self) -> dict[str, str | float]:
        host: dict[str, str | float] = {"host": socket.gethostname()}  # as the study's log of the trial names it
        return host if self._training is None else host | self._training.facts()

    def _test_facts(self) -> dict[str, str | float]:
        """What the best epoch's weights reach on the test split: read here and nowhere else."""
        assert self._training is not None, "it has just ended"
        load_trained(self._training.model, self._training.best_tensors)
        config = self._task.config
        data = self._data.with_fold(config.fold)
        facts: dict[str, str | float] = {}
        for altered in (None, *self._task.altered_tests):
            measured = evaluate_split(
                self._training.model,
                data,
                "test",
                normalization=config.normalization,
                device=self._task.device,
                image_size=config.image_size,
                colour_mode=config.colour_mode,
                altered=altered,
            )
            facts |= measured.named(prefix_of(altered))
        return facts

    def _deliver_once(self, run_id: str, delivery: Delivery) -> None:
        MlflowTracker(self._task.tracking_uri, Patience(0.0)).deliver(run_id, delivery)

    def _deliver(self) -> bool:
        """Appends what is due to the MLflow run. If MLflow is away, the driver delivers at the trial's end."""
        if time.monotonic() - self._delivered_s < self._delivery_interval_s:
            return False
        self._delivered_s = time.monotonic()
        try:
            MlflowTracker(self._task.tracking_uri, Patience(0.0)).append(self._task.run_id, self._undelivered)
        except TrackingError:
            self._delivery_interval_s = min(2 * self._delivery_interval_s, LONGEST_INTERVAL_S)
            return False
        self._delivery_interval_s = DELIVERY_INTERVAL_S
        self._undelivered = []
        return True


def begin_training(task: TrialTask, data: StudyData, warm: WarmProcess) -> Training:
    """The task's training where it stood when it was last saved, else at its beginning.

    Raises:
        TrialError: if the recipe cannot be carried out.
        ModelError: if the weights are not there, or do not fit.
    """
    assert task.config.seed is not None, "the advisor resolves the seed"
    torch.set_num_threads(task.num_threads)
    data = data.with_fold(task.config.fold)
    model = build_classifier(
        task.config,
        data.num_outputs,
        task.weights,
        task.config.seed,
        image_size=task.config.seen_size(data.image_size),
        num_views=data.num_views,
        networks=warm.networks,
    )
    training = start_training(
        model,
        data,
        task.config,
        seed=task.config.seed,
        device=task.device,
        weights_digest=task.weights.digest,
        objective=task.objective,
        cache=warm.activations,
    )
    saved_as = state_file(Path(task.output_folder), task.number)
    task.shared.fetch(saved_as)
    _restore(training, saved_as)
    return training


def run_trial(training: Training, output_folder: Path, number: int, shared: SharedFiles = NOT_SHARED) -> Generator[Measurement]:
    """Trains to the end; yields a measurement an epoch. Pruning is a caller that stops asking.

    The weights of the best epoch are on disk before the last measurement is yielded (`weights_file`). On the way the training
    is saved, so that a trial whose process dies goes on from there.

    Raises:
        TrialError: if the training itself goes wrong.
    """
    saved_as = state_file(output_folder, number)
    clock = _SaveClock()

    def save() -> None:
        training.save(saved_as)
        shared.send(saved_as)

    for measurement in fit(training):
        if measurement.is_last:
            save_trained(training.best_tensors, output_folder, number)
            shared.send(weights_file(output_folder, number))
            shared.forget(saved_as)
        elif measurement.epoch == training.epoch:
            clock.save_if_due(save)
        yield measurement


@dataclass
class _SaveClock:
    """Says when to save."""

    saved_s: float = field(default_factory=time.monotonic)
    cost_s: float = 0.0

    def save_if_due(self, save: Callable[[], None]) -> None:
        started_s = time.monotonic()
        if started_s - self.saved_s < max(SAVE_INTERVAL_S, self.cost_s / SAVE_SHARE):
            return
        try:
            save()
        except OSError as error:  # a full disk costs the safety net, not the trial
            logger.warning("the training could not be saved: %s", error)
        self.saved_s = time.monotonic()
        self.cost_s = self.saved_s - started_s


def _restore(training: Training, path: Path) -> None:
    if not path.exists():
        return
    try:
        training.restore(path)
    except TrialError as error:
        logger.warning("the trial starts again: %s", error)
        path.unlink(missing_ok=True)
