"""The same study in the present process, a trial at a time: for debugging, notebooks, and machines without Ray."""

from dataclasses import dataclass, replace

import torch

from study.tuning.ledger import Ledger
from study.tuning.preparation import PreparedStudy
from study.tuning.worker import TrialSession, WarmProcess


@dataclass(frozen=True)
class InProcessExecutor:
    """Runs a ledger's trials here, on the GPU where there is one."""

    prepared: PreparedStudy
    num_concurrent: int = 1

    @property
    def gpus(self) -> float:
        """Of each trial: the whole of this machine's, where there is one."""
        return 1.0 if self.prepared.definition.resources.gpus and torch.cuda.is_available() else 0.0

    def for_study(self, prepared: PreparedStudy) -> "InProcessExecutor":
        """The same place for another study's trials."""
        return replace(self, prepared=prepared)

    def run(self, ledger: Ledger) -> None:
        """Runs trials until the ledger has none left or is interrupted (Ctrl-C)."""
        warm: WarmProcess | None = None
        try:
            while (trial := ledger.begin()) is not None:
                # As many threads as on a cluster: the sum of floats depends on how many add them up.
                resources = self.prepared.definition.resources
                task = self.prepared.task_of(trial, num_threads=resources.cpus, uses_gpu=resources.gpus > 0)
                warm = warm or WarmProcess.of(task)
                _run_one(ledger, trial.number, TrialSession(task, self.prepared.data, warm))
        except KeyboardInterrupt:
            ledger.interrupt_open()


def _run_one(ledger: Ledger, number: int, session: TrialSession) -> None:
    is_over = False
    try:
        while not is_over:
            report = session.step()
            is_pruned = ledger.record(number, report.measurements, report.is_in_mlflow, report.facts)
            is_over = report.is_last or is_pruned
    finally:
        session.close()
    ledger.finish(number, report.failure, report.facts)
