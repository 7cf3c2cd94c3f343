"""One trial, from its task to its measurements. Knows nothing of Ray, Optuna or the driver."""

import time
import traceback
from collections.abc import Generator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from study.data.study_data import StudyData
from study.definition import Objective
from study.errors import TrackingError
from study.models.classifier import Classifier, build_classifier
from study.models.weights import ResolvedWeights
from study.tracking.mlflow_tracker import MlflowTracker
from study.training.loop import fit
from study.trial import Failure, Measurement, Plain, TrialConfig

DELIVERY_INTERVAL_S = 10.0  # long trials show up in MLflow while they run; short ones cost one batch, written by the driver


class TrialTask(Plain):
    """Everything that a worker needs to run one trial, as plain data.

    Attributes:
        data_folder: what `prepare_data` left.
        activations_folder: where frozen prefixes are shared between trials.
        output_folder: where a trial that completes leaves its best weights.
        num_threads: CPU threads for the tensors; one trial must not take its neighbours' cores.
        uses_gpu: whether the trial was given (a share of) a GPU; without, it leaves alone what it may see.
    """

    number: int
    run_id: str
    config: TrialConfig
    weights: ResolvedWeights
    objective: Objective
    data_folder: str
    activations_folder: str
    output_folder: str
    tracking_uri: str
    num_threads: int
    uses_gpu: bool

    @property
    def device(self) -> torch.device:
        """Where the trial runs."""
        return torch.device("cuda" if self.uses_gpu and torch.cuda.is_available() else "cpu")


class StepReport(Plain):
    """What one step of a trial gives the driver: a measurement or a failure.

    Attributes:
        is_in_mlflow: the worker has delivered this and all earlier measurements itself.
        is_last: nothing follows.
    """

    measurement: Measurement | None = None
    failure: Failure | None = None
    is_in_mlflow: bool = False
    is_last: bool


class TrialSession:
    """A running trial, an epoch a step; whatever goes wrong in it becomes its recorded failure."""

    def __init__(self, task: TrialTask, data: StudyData) -> None:
        self._task = task
        self._measurements = run_trial(task, data)
        self._undelivered: list[Measurement] = []
        self._delivered_s = time.monotonic()

    def step(self) -> StepReport:
        """Trains and measures one epoch."""
        try:
            measurement = next(self._measurements)
        except Exception as error:  # the trial boundary: one trial's failure must not end the study
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            return StepReport(failure=Failure(reason=reason, traceback=traceback.format_exc()), is_last=True)
        self._undelivered.append(measurement)
        return StepReport(
            measurement=measurement,
            is_in_mlflow=self._deliver(),
            is_last=measurement.epoch == self._task.config.epochs,
        )

    def close(self) -> None:
        """Ends the training where it is; what it holds is freed."""
        self._measurements.close()

    def _deliver(self) -> bool:
        """Appends what is due to the MLflow run. If MLflow is away, the driver delivers at the trial's end."""
        if time.monotonic() - self._delivered_s < DELIVERY_INTERVAL_S:
            return False
        self._delivered_s = time.monotonic()
        try:
            MlflowTracker(self._task.tracking_uri).append(self._task.run_id, self._undelivered)
        except TrackingError:
            return False
        self._undelivered = []
        return True


def run_trial(task: TrialTask, data: StudyData) -> Generator[Measurement]:
    """Trains as the task says; yields a measurement an epoch. Pruning is a caller that stops asking.

    The weights of the best epoch are on disk before the last measurement is yielded (`trained_weights`).

    Raises:
        TrialError: if the training itself goes wrong.
    """
    assert task.config.seed is not None, "the advisor resolves the seed"
    torch.set_num_threads(task.num_threads)
    data = data.with_fold(task.config.fold)
    model = build_classifier(task.config, data.num_classes, task.weights, task.config.seed)
    best_value: float | None = None
    best_state: dict[str, Tensor] = {}
    measurements = fit(
        model,
        data,
        task.config,
        seed=task.config.seed,
        device=task.device,
        activations_folder=Path(task.activations_folder),
        weights_digest=task.weights.digest,
    )
    for measurement in measurements:
        value = measurement.metrics[task.objective.key]
        if best_value is None or task.objective.is_better(value, best_value):
            best_value, best_state = value, trained_state(model)
        if measurement.epoch == task.config.epochs:
            save_trained(best_state, Path(task.output_folder), task.number)
        yield measurement


def trained_state(model: Classifier) -> dict[str, Tensor]:
    """Copies of all tensors that training can change; the frozen stages come from the weights file again."""
    frozen = {f"stages.{name}." for name, _ in list(model.stages.named_children())[: model.num_frozen]}
    state = model.state_dict()
    return {key: tensor.detach().cpu().clone() for key, tensor in state.items() if not key.startswith(tuple(frozen))}


def weights_file(output_folder: Path, number: int) -> Path:
    """Where the trial `number` leaves the weights of its best epoch."""
    return output_folder / "trials" / f"{number:05d}.safetensors"


def save_trained(state: dict[str, Tensor], output_folder: Path, number: int) -> None:
    """Writes a trial's trained tensors, whole or not at all."""
    file = weights_file(output_folder, number)
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".tmp")
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, unfinished)
    unfinished.replace(file)


def rebuild_trained(task_config: TrialConfig, num_classes: int, weights: ResolvedWeights, file: Path) -> Classifier:
    """The model of a completed trial: the same start as the trial's, then its trained tensors over it."""
    assert task_config.seed is not None, "the advisor resolves the seed"
    model = build_classifier(task_config, num_classes, weights, task_config.seed)
    model.load_state_dict(load_file(file), strict=False)
    return model.eval()
