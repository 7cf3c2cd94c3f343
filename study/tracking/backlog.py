"""What an outbox has not delivered, and how to tell so."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from study.errors import TrackingError

REFUSED_FOLDER = ".refused"  # of an outbox: journals that MLflow will never take


@dataclass(frozen=True)
class Backlog:
    """What has not arrived.

    Attributes:
        num_deliveries: that wait to be sent, of `num_runs` runs.
        reason: why the last try failed; None where the last one succeeded.
        refused: by run id, why MLflow will never take what it was told; kept in `<folder>/.refused/`.
    """

    num_deliveries: int
    num_runs: int
    reason: str | None
    refused: Mapping[str, str]
    folder: Path

    @property
    def is_empty(self) -> bool:
        """Whether everything has arrived."""
        return self.num_deliveries == 0 and not self.refused

    def require_sent(self) -> None:
        """Nothing, where nothing waits.

        Raises:
            TrackingError: else, with the way out.
        """
        if self.num_deliveries:
            raise TrackingError(
                f"what runs were told must arrive in MLflow, but {self.num_deliveries:,} deliveries to {self.num_runs:,} runs "
                f"still wait in {self.folder}: {self.reason or 'there was no time to send them.'} "
                f"The next `study resume` or `study reconcile` sends them."
            )

    def require_empty(self) -> None:
        """Nothing, where everything has arrived.

        Raises:
            TrackingError: else, with the way out.
        """
        self.require_sent()
        if self.refused:
            run_id, reason = next(iter(self.refused.items()))
            raise TrackingError(
                f"MLflow must take what runs are told, but it refused {len(self.refused)} of them, first {run_id}: {reason} "
                f"It is kept in {self.folder / REFUSED_FOLDER}."
            )
