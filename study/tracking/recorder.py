"""The half of a tracker that needs no answer: what a run is told, made into deliveries."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from study.tracking.deliveries import Delivery, duplicate, ended, measured, trial_ended
from study.trial import Measurement, TrialState


class Recorder(ABC):
    """`Tracker`'s methods that tell a run something, for a tracker that says how it is told."""

    @abstractmethod
    def tell(self, run_id: str, delivery: Delivery) -> None:
        """Sees to it that the run is told."""

    def num_unsent(self) -> int:
        """See `Tracker.num_unsent`."""
        return 0

    def append(self, run_id: str, measurements: Sequence[Measurement]) -> None:
        """See `Tracker.append`."""
        self.tell(run_id, measured(measurements))

    def end_trial(
        self,
        run_id: str,
        state: TrialState,
        measurements: Sequence[Measurement],
        summary: Mapping[str, float],
        tags: Mapping[str, str],
    ) -> None:
        """See `Tracker.end_trial`."""
        self.tell(run_id, measured(measurements).followed_by(trial_ended(state, summary, tags)))

    def end_study(self, parent_run_id: str, state: TrialState, summary: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """See `Tracker.end_study`."""
        self.tell(parent_run_id, ended(state, summary, tags))

    def mark_duplicate(self, run_id: str, of_run_id: str) -> None:
        """See `Tracker.mark_duplicate`."""
        self.tell(run_id, duplicate(of_run_id))
