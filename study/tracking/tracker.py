"""The port through which a study is recorded and read back (`Tracker`), and one that records in memory.

One parent run a study, one child run a trial. The driver begins and ends each run; a worker only appends, by run id.
"""

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from study.errors import TrackingError
from study.tracking.records import (
    DEFINITION_FILE,
    KIND_TAG,
    NAME_TAG,
    NUMBER_TAG,
    STATE_TAG,
    StudyRecord,
    TrialRecord,
    metrics_of,
    newest,
    params_of,
    shortened,
    trial_name,
)
from study.trial import Measurement, TrialConfig, TrialState


class Tracker(Protocol):
    """Where runs are recorded. Every method raises `TrackingError` if the record cannot be made or read."""

    def check(self) -> None:
        """Nothing, where records can be made; else the reason, within seconds."""

    def begin_study(self, name: str, experiment: str, tags: Mapping[str, str], definition_text: str, note: str) -> str:
        """Run id of a new parent run, which keeps the definition as its artifact `definition.toml`."""

    def describe(self, run_id: str, note: str, objective: str) -> None:
        """Sets the text (Markdown) that stands at the head of a parent run's page.

        Args:
            objective: what trials are ranked by, by its name in a measurement.
        """

    def begin_trial(self, parent_run_id: str, number: int, config: TrialConfig, tags: Mapping[str, str]) -> str:
        """Run id of a new child run, with `config` as its params by their dotted names (None is left out)."""

    def reopen(self, run_id: str) -> None:
        """An interrupted study or trial goes on: its run is RUNNING again."""

    def append(self, run_id: str, measurements: Sequence[Measurement]) -> None:
        """Adds measurements, step = epoch. The same measurement twice is one record."""

    def end_trial(
        self,
        run_id: str,
        state: TrialState,
        measurements: Sequence[Measurement],
        summary: Mapping[str, float],
        tags: Mapping[str, str],
    ) -> None:
        """Closes a child run with its last measurements, its summary (`best_val_loss`, `best_epoch`) and how it ended."""

    def end_study(self, parent_run_id: str, state: TrialState, summary: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Closes a parent run."""

    def log_dataset(self, run_id: str, name: str, digest: str, source: str, profile: Mapping[str, int]) -> None:
        """Names the data that a run used: where they come from, their digest, and how many photos each split has."""

    def log_artifacts(self, run_id: str, folder: Path, artifact_path: str) -> None:
        """Copies a folder's files to a run's artifacts, under `artifact_path`."""

    def address(self, run_id: str) -> str:
        """What to open to see the run."""

    def find_study(self, name: str) -> str | None:
        """Parent run id of the newest launch of a study; None where there is none."""

    def studies(self) -> list[StudyRecord]:
        """Every launch of every study, newest first."""

    def trials(self, parent_run_id: str) -> list[TrialRecord]:
        """A study's trials by number."""

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """A metric's curve: (epoch, value), by epoch; where an epoch was measured anew, the later value."""

    def read_text(self, run_id: str, artifact_path: str) -> str:
        """A text artifact, such as a parent run's `definition.toml`."""


@dataclass
class _Run:
    """What `MemoryTracker` holds of one run."""

    run_id: str
    parent_run_id: str | None
    experiment: str
    name: str
    state: TrialState
    started_ms: int
    tags: dict[str, str]
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    curves: dict[str, dict[int, tuple[int, float]]] = field(default_factory=dict)  # metric → epoch → (timestamp, value)
    artifacts: dict[str, bytes] = field(default_factory=dict)
    datasets: list[tuple[str, str, str, dict[str, int]]] = field(default_factory=list)


class MemoryTracker:
    """A `Tracker` that forgets everything with its process: for tests and dry runs."""

    def __init__(self) -> None:
        self._runs: dict[str, _Run] = {}

    def check(self) -> None:
        """Always possible."""

    def begin_study(self, name: str, experiment: str, tags: Mapping[str, str], definition_text: str, note: str) -> str:
        """See `Tracker.begin_study`."""
        tags = {**shortened(tags), KIND_TAG: "study", NAME_TAG: name, "mlflow.note.content": note}
        run = self._begin(None, experiment, name, tags)
        run.artifacts[DEFINITION_FILE] = definition_text.encode()
        return run.run_id

    def describe(self, run_id: str, note: str, objective: str) -> None:
        """See `Tracker.describe`."""
        self._run(run_id).tags["mlflow.note.content"] = note

    def begin_trial(self, parent_run_id: str, number: int, config: TrialConfig, tags: Mapping[str, str]) -> str:
        """See `Tracker.begin_trial`."""
        experiment = self._run(parent_run_id).experiment
        tags = {**shortened(tags), KIND_TAG: "trial", NUMBER_TAG: str(number), STATE_TAG: TrialState.RUNNING.value}
        run = self._begin(parent_run_id, experiment, trial_name(number, config), tags)
        run.params = params_of(config)
        return run.run_id

    def reopen(self, run_id: str) -> None:
        """See `Tracker.reopen`."""
        self._set_state(self._run(run_id), TrialState.RUNNING)

    def append(self, run_id: str, measurements: Sequence[Measurement]) -> None:
        """See `Tracker.append`."""
        run = self._run(run_id)
        for measurement in measurements:
            for name, value in metrics_of(measurement).items():
                curve = run.curves.setdefault(name, {})
                taken_ms, _ = curve.get(measurement.epoch, (0, 0.0))
                if measurement.timestamp_ms >= taken_ms:
                    curve[measurement.epoch] = (measurement.timestamp_ms, value)
                run.metrics[name] = curve[max(curve)][1]

    def end_trial(
        self,
        run_id: str,
        state: TrialState,
        measurements: Sequence[Measurement],
        summary: Mapping[str, float],
        tags: Mapping[str, str],
    ) -> None:
        """See `Tracker.end_trial`."""
        self.append(run_id, measurements)
        self.end_study(run_id, state, summary, tags)

    def end_study(self, parent_run_id: str, state: TrialState, summary: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """See `Tracker.end_study`."""
        run = self._run(parent_run_id)
        run.metrics.update(summary)
        run.tags.update(shortened(tags))
        self._set_state(run, state)

    def log_dataset(self, run_id: str, name: str, digest: str, source: str, profile: Mapping[str, int]) -> None:
        """See `Tracker.log_dataset`."""
        self._run(run_id).datasets.append((name, digest, source, dict(profile)))

    def log_artifacts(self, run_id: str, folder: Path, artifact_path: str) -> None:
        """See `Tracker.log_artifacts`."""
        run = self._run(run_id)
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                run.artifacts[f"{artifact_path}/{file.relative_to(folder).as_posix()}"] = file.read_bytes()

    def address(self, run_id: str) -> str:
        """See `Tracker.address`."""
        return f"in memory only: {self._run(run_id).name}"

    def find_study(self, name: str) -> str | None:
        """See `Tracker.find_study`."""
        return newest(name, self.studies())

    def studies(self) -> list[StudyRecord]:
        """See `Tracker.studies`."""
        parents = [run for run in self._runs.values() if run.parent_run_id is None]
        return [
            StudyRecord(
                run.tags[NAME_TAG], run.run_id, run.state, run.started_ms, run.experiment, dict(run.tags), dict(run.metrics)
            )
            for run in reversed(parents)
        ]

    def trials(self, parent_run_id: str) -> list[TrialRecord]:
        """See `Tracker.trials`."""
        self._run(parent_run_id)
        children = [run for run in self._runs.values() if run.parent_run_id == parent_run_id]
        records = [
            TrialRecord(int(run.tags[NUMBER_TAG]), run.run_id, run.state, dict(run.params), dict(run.metrics), dict(run.tags))
            for run in children
        ]
        return sorted(records, key=lambda record: record.number)

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """See `Tracker.history`."""
        curve = self._run(run_id).curves.get(metric, {})
        return [(epoch, curve[epoch][1]) for epoch in sorted(curve)]

    def read_text(self, run_id: str, artifact_path: str) -> str:
        """See `Tracker.read_text`."""
        artifacts = self._run(run_id).artifacts
        if artifact_path not in artifacts:
            raise TrackingError(f"a run must hold the artifact that is read, but {run_id} holds no {artifact_path}.")
        return artifacts[artifact_path].decode()

    def _begin(self, parent_run_id: str | None, experiment: str, name: str, tags: dict[str, str]) -> _Run:
        run = _Run(
            run_id=uuid.uuid4().hex,
            parent_run_id=parent_run_id,
            experiment=experiment,
            name=name,
            state=TrialState.RUNNING,
            started_ms=time.time_ns() // 1_000_000,
            tags=tags,
        )
        self._runs[run.run_id] = run
        return run

    def _run(self, run_id: str) -> _Run:
        if run_id not in self._runs:
            raise TrackingError(f"a run must have been begun before it is used, but there is no run {run_id!r} in memory.")
        return self._runs[run_id]

    def _set_state(self, run: _Run, state: TrialState) -> None:
        run.state = state
        if run.parent_run_id is not None:
            run.tags[STATE_TAG] = state.value
