"""A tracker that survives its store's absence: what it tells goes through an outbox."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Self

from study.tracking.backlog import Backlog
from study.tracking.deliveries import Delivery, begun
from study.tracking.outbox import CLOSE_S, LINGER_S, Outbox
from study.tracking.recorder import Recorder
from study.tracking.records import KEY_TAG, StudyRecord, TrialRecord, TrialRun
from study.tracking.tracker import DirectTracker
from study.trial import TrialConfig

SOON_S = 2.0  # longer than this, a caller learns why it waits


class JournaledTracker(Recorder):
    """A `Tracker` over another one, with an outbox between: what needs no answer is on the disk when the call returns.

    What needs an answer (a new run, a reopened one, anything read) waits for the store as long as the inner tracker's patience
    lasts, and until what was told before has arrived: a reader sees what this process has told.
    """

    def __init__(self, inner: DirectTracker, folder: Path, linger_s: float = LINGER_S) -> None:
        """Opens the outbox in `folder`; what dead processes left there is sent first."""
        self.inner = inner
        self.outbox = Outbox(folder, inner, linger_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self, timeout_s: float = CLOSE_S) -> Backlog:
        """Sends what can be sent in that time; what is left waits on the disk for the next driver. Says what is left."""
        return self.outbox.close(timeout_s)

    def num_unsent(self) -> int:
        """See `Tracker.num_unsent`."""
        return self.outbox.backlog().num_deliveries

    def tell(self, run_id: str, delivery: Delivery) -> None:
        """Keeps the delivery on the disk, to be sent."""
        self.outbox.put(run_id, delivery)

    def check(self) -> None:
        """See `Tracker.check`."""
        self.inner.check()

    def begin_study(self, name: str, experiment: str, tags: Mapping[str, str], definition_text: str, note: str) -> str:
        """See `Tracker.begin_study`. What a dead driver told a run that is taken arrives before: its end, for one."""
        if KEY_TAG in tags:
            self._arrive()
        return self.inner.begin_study(name, experiment, tags, definition_text, note)

    def describe(self, run_id: str, note: str, objective: str) -> None:
        """See `Tracker.describe`."""
        self.inner.describe(run_id, note, objective)

    def begin_trial(
        self, parent_run_id: str, number: int, config: TrialConfig, tags: Mapping[str, str], may_exist: bool = False
    ) -> str:
        """See `Tracker.begin_trial`. The run is made at once; its params travel with its first measurements."""
        run_id = self.inner.create_trial(parent_run_id, number, config, tags, may_exist)
        self.tell(run_id, begun(config))
        return run_id

    def reopen(self, run_id: str) -> None:
        """See `Tracker.reopen`. What a dead driver told the run arrives before: else its end would come after this."""
        self._arrive([run_id])
        self.inner.reopen(run_id)

    def log_dataset(self, run_id: str, name: str, digest: str, source: str, profile: Mapping[str, int]) -> None:
        """See `Tracker.log_dataset`."""
        self.inner.log_dataset(run_id, name, digest, source, profile)

    def log_artifacts(self, run_id: str, folder: Path, artifact_path: str) -> None:
        """See `Tracker.log_artifacts`."""
        self.inner.log_artifacts(run_id, folder, artifact_path)

    def address(self, run_id: str) -> str:
        """See `Tracker.address`."""
        return self.inner.address(run_id)

    def table_address(self, run_id: str) -> str | None:
        """See `Tracker.table_address`."""
        return self.inner.table_address(run_id)

    def find_study(self, name: str) -> str | None:
        """See `Tracker.find_study`."""
        return self.inner.find_study(name)

    def studies(self) -> list[StudyRecord]:
        """See `Tracker.studies`."""
        self._arrive()
        return self.inner.studies()

    def trials(self, parent_run_id: str) -> list[TrialRecord]:
        """See `Tracker.trials`."""
        self._arrive()
        return self.inner.trials(parent_run_id)

    def trial_runs(self, parent_run_id: str) -> list[TrialRun]:
        """See `Tracker.trial_runs`."""
        self._arrive()
        return self.inner.trial_runs(parent_run_id)

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """See `Tracker.history`."""
        self._arrive([run_id])
        return self.inner.history(run_id, metric)

    def read_text(self, run_id: str, artifact_path: str) -> str:
        """See `Tracker.read_text`."""
        return self.inner.read_text(run_id, artifact_path)

    def _arrive(self, run_ids: Collection[str] | None = None) -> None:
        """Waits until what was told has arrived.

        Raises:
            TrackingError: if it has not when patience is at its end.
        """
        backlog = self.outbox.flush(SOON_S, run_ids)
        if backlog.num_deliveries:
            patience = self.inner.patience
            patience.announce(f"{backlog.num_deliveries:,} records wait for MLflow: {backlog.reason}")
            backlog = self.outbox.flush(patience.seconds, run_ids)
        backlog.require_sent()
