"""A trial while it runs, as its driver knows it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from study.definition import Objective
from study.trial import Failure, Measurement, TrialConfig, TrialState


@dataclass
class TrialProgress:
    """What was heard of a trial.

    Attributes:
        recorded_epoch: the last epoch that MLflow had when the trial was taken up again; 0 for a new one.
        facts: how it was computed, by name.
        repeats: number of a trial with the same recipe, whose result is told instead of training again.
        report_epochs: at which the pruner can act: elsewhere the driver need not hear of the trial.
        measurements: one an epoch, of the process that runs the trial now.
        unrecorded: measurements that MLflow has not been given yet.
        heard_epoch: the last epoch that any of its processes has measured.
        delivered_epoch: the last epoch that any of its processes has given MLflow itself.
    """

    number: int
    config: TrialConfig
    searched: Mapping[str, Any]
    run_id: str
    started_s: float
    recorded_epoch: int = 0
    state: TrialState = TrialState.RUNNING
    measurements: list[Measurement] = field(default_factory=list)
    unrecorded: list[Measurement] = field(default_factory=list)
    best: Measurement | None = None
    failure: Failure | None = None
    facts: Mapping[str, str | float] = field(default_factory=dict)
    report_epochs: tuple[int, ...] = ()
    repeats: int | None = None
    heard_epoch: int = 0
    delivered_epoch: int = 0

    @property
    def last_epoch(self) -> int:
        """The last epoch measured; 0 before the first."""
        return self.measurements[-1].epoch if self.measurements else 0

    def measured(self, measurements: Sequence[Measurement], objective: Objective, *, is_in_mlflow: bool) -> list[Measurement]:
        """Takes epochs that came together; returns those that were never heard of.

        A trial whose process died runs again in another one, which tells its epochs from the first one on: those that it
        trained anew are not the dead one's to the last bit on a GPU, and what the trial is told to have reached must be what
        its weights reach. So they replace the dead process's, but for what MLflow and Optuna have of those already.

        Args:
            is_in_mlflow: the process has delivered them, and all that it told before, itself.
        """
        new = [one for one in measurements if one.epoch > self.heard_epoch]
        if measurements and measurements[0].epoch <= self.last_epoch:
            self._go_back_before(measurements[0].epoch, objective)
        self.measurements += measurements
        self._compare(measurements, objective)
        self.heard_epoch = max(self.heard_epoch, self.last_epoch)
        if is_in_mlflow:
            self.delivered_epoch, self.unrecorded = self.heard_epoch, []
        else:
            known = max(self.recorded_epoch, self.delivered_epoch)
            self.unrecorded += [one for one in measurements if one.epoch > known]
        return new

    def _go_back_before(self, epoch: int, objective: Objective) -> None:
        self.measurements = [one for one in self.measurements if one.epoch < epoch]
        self.unrecorded = [one for one in self.unrecorded if one.epoch < epoch]
        self.best = None
        self._compare(self.measurements, objective)

    def _compare(self, measurements: Sequence[Measurement], objective: Objective) -> None:
        """Of equals, the earlier is the best, as in the training."""
        key = objective.key
        for one in measurements:
            if self.best is None or objective.is_better(one.metrics[key], self.best.metrics[key]):
                self.best = one
