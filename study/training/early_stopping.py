"""When a training has stopped getting better."""

from dataclasses import dataclass
from typing import Any


@dataclass
class EarlyStopping:
    """The best objective so far, and how long ago it was.

    Attributes:
        patience: epochs without a better objective after which to stop; None never stops.
        is_maximized: whether a higher objective is better.
        best: None before the first epoch.
        num_epochs_since: epochs after the best one.
    """

    patience: int | None
    is_maximized: bool
    best: float | None = None
    num_epochs_since: int = 0

    def observe(self, value: float) -> bool:
        """Takes an epoch's objective; returns whether it is the best so far. An equal one is not, and NaN never."""
        best = self.best
        is_better = value == value and (best is None or (value > best if self.is_maximized else value < best))
        if is_better:
            self.best, self.num_epochs_since = value, 0
        else:
            self.num_epochs_since += 1
        return is_better

    @property
    def should_stop(self) -> bool:
        """Whether patience is at its end."""
        return self.patience is not None and self.num_epochs_since >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """Where it stands, as values that JSON has."""
        return {"best": self.best, "num_epochs_since": self.num_epochs_since}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from where another one stood."""
        self.best = state["best"]
        self.num_epochs_since = state["num_epochs_since"]
