"""A tracker that records in memory, and can be told to be away."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from study.errors import TrackingError
from study.tracking.deliveries import Delivery, begun
from study.tracking.failures import RecordRefusedError, StoreAwayError
from study.tracking.patience import Patience
from study.tracking.recorder import Recorder
from study.tracking.records import (
    DEFINITION_FILE,
    DUPLICATE_TAG,
    KEY_TAG,
    KIND_TAG,
    NAME_TAG,
    NUMBER_TAG,
    STATE_TAG,
    STATUS,
    StudyRecord,
    TrialRecord,
    TrialRun,
    newest,
    shortened,
    trial_key,
    trial_name,
    trial_run,
)
from study.trial import TrialConfig, TrialState

NOTE_TAG = "mlflow.note.content"


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


class MemoryTracker(Recorder):
    """A `Tracker` that forgets everything with its process: for tests and dry runs.

    Attributes:
        is_away: while true, every call fails as if the store gave no answer; who has `patience` waits.
        num_lost_replies: that many of the next runs are made, and the caller is not told.
    """

    def __init__(self, patience: Patience = Patience()) -> None:  # noqa: B008 (frozen)
        self.patience = patience
        self.is_away = False
        self.num_lost_replies = 0
        self._runs: dict[str, _Run] = {}

    def check(self) -> None:
        """Always possible, unless it is away."""
        self._require_here()

    def begin_study(self, name: str, experiment: str, tags: Mapping[str, str], definition_text: str, note: str) -> str:
        """See `Tracker.begin_study`."""
        own = {KIND_TAG: "study", NAME_TAG: name, KEY_TAG: tags.get(KEY_TAG, uuid.uuid4().hex), NOTE_TAG: note}
        run_id = self._create(None, experiment, name, {**shortened(tags), **own}, may_exist=KEY_TAG in tags)
        self.tell(run_id, Delivery(tags=shortened(tags), state=TrialState.RUNNING))
        self._run(run_id).artifacts[DEFINITION_FILE] = definition_text.encode()
        return run_id

    def describe(self, run_id: str, note: str, objective: str) -> None:
        """See `Tracker.describe`."""
        self.tell(run_id, Delivery(tags={NOTE_TAG: note}))

    def begin_trial(
        self, parent_run_id: str, number: int, config: TrialConfig, tags: Mapping[str, str], may_exist: bool = False
    ) -> str:
        """See `Tracker.begin_trial`."""
        run_id = self.create_trial(parent_run_id, number, config, tags, may_exist)
        self.tell(run_id, begun(config))
        return run_id

    def create_trial(
        self, parent_run_id: str, number: int, config: TrialConfig, tags: Mapping[str, str], may_exist: bool = False
    ) -> str:
        """See `DirectTracker.create_trial`."""
        experiment = self._found(parent_run_id).experiment
        own = {
            KIND_TAG: "trial",
            NUMBER_TAG: str(number),
            STATE_TAG: TrialState.RUNNING.value,
            KEY_TAG: trial_key(parent_run_id, number),
        }
        return self._create(parent_run_id, experiment, trial_name(number, config), {**shortened(tags), **own}, may_exist)

    def reopen(self, run_id: str) -> None:
        """See `Tracker.reopen`."""
        is_trial = self._found(run_id).parent_run_id is not None
        tags = {STATE_TAG: TrialState.RUNNING.value} if is_trial else {}
        self.tell(run_id, Delivery(tags=tags, state=TrialState.RUNNING))

    def deliver(self, run_id: str, delivery: Delivery) -> None:
        """See `DirectTracker.deliver`."""
        self._require_here()
        run = self._run(run_id)
        _require_same_params(run, delivery.params)
        run.params.update(delivery.params)
        run.tags.update(delivery.tags)
        run.state = delivery.state or run.state
        for name, value, timestamp_ms, step in delivery.points:
            curve = run.curves.setdefault(name, {})
            taken_ms, _ = curve.get(step, (0, 0.0))
            if timestamp_ms >= taken_ms:
                curve[step] = (timestamp_ms, value)
            run.metrics[name] = curve[max(curve)][1]

    def tell(self, run_id: str, delivery: Delivery) -> None:
        """Delivers, and waits for it."""
        self.patience.of(lambda: self.deliver(run_id, delivery))

    def log_dataset(self, run_id: str, name: str, digest: str, source: str, profile: Mapping[str, int]) -> None:
        """See `Tracker.log_dataset`."""
        self._found(run_id).datasets.append((name, digest, source, dict(profile)))

    def log_artifacts(self, run_id: str, folder: Path, artifact_path: str) -> None:
        """See `Tracker.log_artifacts`."""
        run = self._found(run_id)
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                run.artifacts[f"{artifact_path}/{file.relative_to(folder).as_posix()}"] = file.read_bytes()

    def address(self, run_id: str) -> str:
        """See `Tracker.address`."""
        return f"in memory only: {self._found(run_id).name}"

    def table_address(self, run_id: str) -> str | None:
        """See `Tracker.table_address`."""
        self._found(run_id)
        return None

    def find_study(self, name: str) -> str | None:
        """See `Tracker.find_study`."""
        return newest(name, self.studies())

    def studies(self) -> list[StudyRecord]:
        """See `Tracker.studies`."""
        self.patience.of(self._require_here)
        parents = [run for run in self._runs.values() if run.parent_run_id is None]
        return [
            StudyRecord(
                run.tags[NAME_TAG], run.run_id, run.state, run.started_ms, run.experiment, dict(run.tags), dict(run.metrics)
            )
            for run in reversed(parents)
        ]

    def trials(self, parent_run_id: str) -> list[TrialRecord]:
        """See `Tracker.trials`."""
        records = [
            TrialRecord(int(run.tags[NUMBER_TAG]), run.run_id, run.state, dict(run.params), dict(run.metrics), dict(run.tags))
            for run in self._children(parent_run_id)
            if DUPLICATE_TAG not in run.tags
        ]
        return sorted(records, key=lambda record: record.number)

    def trial_runs(self, parent_run_id: str) -> list[TrialRun]:
        """See `Tracker.trial_runs`."""
        return [
            trial_run(
                run_id=run.run_id,
                status=STATUS[run.state],
                last_epoch=max((max(curve) for curve in run.curves.values()), default=0),
                tags=run.tags,
                started_ms=run.started_ms,
            )
            for run in self._children(parent_run_id)
        ]

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """See `Tracker.history`."""
        curve = self._found(run_id).curves.get(metric, {})
        return [(epoch, curve[epoch][1]) for epoch in sorted(curve)]

    def read_text(self, run_id: str, artifact_path: str) -> str:
        """See `Tracker.read_text`."""
        artifacts = self._found(run_id).artifacts
        if artifact_path not in artifacts:
            raise TrackingError(f"a run must hold the artifact that is read, but {run_id} holds no {artifact_path}.")
        return artifacts[artifact_path].decode()

    def _create(self, parent_run_id: str | None, experiment: str, name: str, tags: dict[str, str], may_exist: bool) -> str:
        """Run id of the one run with the key in `tags`. A call that failed may have made it: only its reply was lost."""
        is_sure_to_be_new = not may_exist

        def create() -> str:
            nonlocal is_sure_to_be_new
            self._require_here()
            found = None if is_sure_to_be_new else self._run_with_key(tags[KEY_TAG])
            is_sure_to_be_new = False
            return found or self._begin(parent_run_id, experiment, name, tags)

        return self.patience.of(create)

    def _begin(self, parent_run_id: str | None, experiment: str, name: str, tags: dict[str, str]) -> str:
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
        if self.num_lost_replies > 0:
            self.num_lost_replies -= 1
            raise StoreAwayError("a run must be answered for when it is made, but the reply was lost on the way.")
        return run.run_id

    def _run_with_key(self, key: str) -> str | None:
        runs = (run for run in self._runs.values() if DUPLICATE_TAG not in run.tags)
        return next((run.run_id for run in runs if run.tags[KEY_TAG] == key), None)

    def _children(self, parent_run_id: str) -> list[_Run]:
        self._found(parent_run_id)
        return [run for run in self._runs.values() if run.parent_run_id == parent_run_id]

    def _found(self, run_id: str) -> _Run:
        """The run, as soon as the store is here."""

        def find() -> _Run:
            self._require_here()
            return self._run(run_id)

        return self.patience.of(find)

    def _run(self, run_id: str) -> _Run:
        if run_id not in self._runs:
            raise RecordRefusedError(f"a run must have been begun before it is used, but there is no run {run_id!r} in memory.")
        return self._runs[run_id]

    def _require_here(self) -> None:
        if self.is_away:
            raise StoreAwayError("a store must answer to be used, but this one was told to be away.")


def _require_same_params(run: _Run, params: Mapping[str, str]) -> None:
    changed = sorted(key for key, value in params.items() if run.params.get(key, value) != value)
    if changed:
        raise RecordRefusedError(f"a run's params never change, but {', '.join(changed)} of {run.run_id} would.")
