"""What a driver and a trial's process tell each other, as plain data: the task, then a report a step."""

from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import Field

from study.confirm_definition import Alteration
from study.definition import Objective
from study.models.weights import ResolvedWeights
from study.trial import Failure, Measurement, Plain, TrialConfig
from study.tuning.shared_files import SharedFiles


class TrialTask(Plain):
    """Everything that a worker needs to run one trial, as plain data.

    Attributes:
        data_folder: what `prepare_data` left.
        activations_folder: where frozen prefixes are shared between trials.
        output_folder: where a trial that completes leaves its best weights.
        num_threads: CPU threads for the tensors; one trial must not take its neighbours' cores.
        uses_gpu: whether the trial was given (a share of) a GPU; without, it leaves alone what it may see.
        report_epochs: at which the driver may stop the trial, and so must hear of it.
        reads_test: the trial ends with its best epoch measured on the test split.
        altered_tests: and on these copies of it.
        shared_address: where its files go from there, if nodes have no folder in common.
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
    report_epochs: tuple[int, ...] = ()
    reads_test: bool = False
    altered_tests: tuple[Alteration, ...] = ()
    shared_address: str = ""

    @property
    def shared(self) -> SharedFiles:
        """Where other machines find its files."""
        return SharedFiles(self.shared_address, Path(self.output_folder).name)

    @property
    def device(self) -> torch.device:
        """Where the trial runs."""
        return torch.device("cuda" if self.uses_gpu and torch.cuda.is_available() else "cpu")


class StepReport(Plain):
    """What one step of a trial gives the driver: measurements, a failure after them, or both.

    Attributes:
        measurements: of the epochs since the last report.
        is_in_mlflow: the worker has delivered these and all earlier measurements itself.
        facts: how the trial was computed, by name; with the last report.
        is_last: nothing follows.
    """

    measurements: tuple[Measurement, ...] = ()
    failure: Failure | None = None
    is_in_mlflow: bool = False
    facts: Mapping[str, str | float] = Field(default_factory=dict)
    is_last: bool
