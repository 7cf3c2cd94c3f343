"""The port through which a study is recorded and read back (`Tracker`).

One parent run a study, one child run a trial. The driver begins and ends each run; a worker only appends, by run id.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from study.tracking.deliveries import Delivery
from study.tracking.memory_tracker import MemoryTracker
from study.tracking.patience import Patience
from study.tracking.records import StudyRecord, TrialRecord, TrialRun
from study.trial import Measurement, TrialConfig, TrialState

__all__ = ["DirectTracker", "MemoryTracker", "Tracker"]


class Tracker(Protocol):
    """Where runs are recorded. Every method raises `TrackingError` if the record cannot be made or read."""

    def check(self) -> None:
        """Nothing, where records can be made; else the reason, within seconds."""

    def begin_study(self, name: str, experiment: str, tags: Mapping[str, str], definition_text: str, note: str) -> str:
        """Run id of a new parent run, which keeps the definition as its artifact `definition.toml`.

        Args:
            tags: with `KEY_TAG`, a run that was asked for with the same key is taken, if there is one, and is RUNNING with
                these tags: a driver that died had made it.
        """

    def describe(self, run_id: str, note: str, objective: str) -> None:
        """Sets the text (Markdown) that stands at the head of a parent run's page.

        Args:
            objective: what trials are ranked by, by its name in a measurement.
        """

    def begin_trial(
        self, parent_run_id: str, number: int, config: TrialConfig, tags: Mapping[str, str], may_exist: bool = False
    ) -> str:
        """Run id of a new child run, with `config` as its params by their dotted names (None is left out).

        Waits while the store is away. Where a reply is lost the run is looked for before it is asked for again, by its key
        (`trial_key`): one trial has one run.

        Args:
            may_exist: look for the run first: a driver that died may have made it and told nobody. Costs one more call.
        """

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
        """Closes a child run with its last measurements, its summary (`best_val_loss`, `best_epoch`) and how it ended.

        Closing it again sets it right: the last call holds.
        """

    def end_study(self, parent_run_id: str, state: TrialState, summary: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Closes a parent run."""

    def log_dataset(self, run_id: str, name: str, digest: str, source: str, profile: Mapping[str, int]) -> None:
        """Names the data that a run used: where they come from, their digest, and how many photos each split has."""

    def log_artifacts(self, run_id: str, folder: Path, artifact_path: str) -> None:
        """Copies a folder's files to a run's artifacts, under `artifact_path`."""

    def address(self, run_id: str) -> str:
        """What to open to see the run."""

    def table_address(self, run_id: str) -> str | None:
        """Where a study's trials are a table with what was searched, best first; None where no server shows one."""

    def find_study(self, name: str) -> str | None:
        """Parent run id of the newest launch of a study; None where there is none."""

    def studies(self) -> list[StudyRecord]:
        """Every launch of every study, newest first."""

    def trials(self, parent_run_id: str) -> list[TrialRecord]:
        """A study's trials by number; runs that were marked as duplicates are left out."""

    def trial_runs(self, parent_run_id: str) -> list[TrialRun]:
        """Every run below a study's, right or wrong, the first begun first."""

    def mark_duplicate(self, run_id: str, of_run_id: str) -> None:
        """Closes a run that should not be, and marks it (`DUPLICATE_TAG`): nobody counts it, and it stays as evidence.

        Its state becomes INTERRUPTED: FAIL would be counted as a trial that failed.
        """

    def num_unsent(self) -> int:
        """What was told and has not arrived yet; 0 where every call waits until it has. Any thread may ask."""

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """A metric's curve: (epoch, value), by epoch; where an epoch was measured anew, the later value."""

    def read_text(self, run_id: str, artifact_path: str) -> str:
        """A text artifact, such as a parent run's `definition.toml`."""


class DirectTracker(Tracker, Protocol):
    """A tracker that talks to its store itself: what an outbox sends to, and a `JournaledTracker` asks.

    Attributes:
        patience: for how long calls are repeated while the store is away; `check` and `deliver` try once.
    """

    patience: Patience

    def deliver(self, run_id: str, delivery: Delivery) -> None:
        """Tells a run, trying once. The same delivery twice is one record.

        Raises:
            StoreAwayError: if the store gives no answer.
            RecordRefusedError: if it will never take it: the run is unknown or deleted, or a param would change.
            TrackingError: for anything else.
        """

    def create_trial(
        self, parent_run_id: str, number: int, config: TrialConfig, tags: Mapping[str, str], may_exist: bool = False
    ) -> str:
        """As `begin_trial`, but without the params: the run's id is there after one call."""
