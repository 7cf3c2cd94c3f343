"""How far a study is, by its trials in Optuna's storage; nothing is written there."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from study.search.notes import notes_of
from study.search.storages import Storage, load_study
from study.trial import TrialState

STATES = {
    OptunaState.RUNNING: TrialState.RUNNING,
    OptunaState.WAITING: TrialState.INTERRUPTED,
    OptunaState.COMPLETE: TrialState.COMPLETE,
    OptunaState.PRUNED: TrialState.PRUNED,
    OptunaState.FAIL: TrialState.FAIL,
}


@dataclass(frozen=True)
class Overview:
    """A study's trials at a glance.

    Attributes:
        notes: what was kept with the study when it was created.
        counts: trials by state; INTERRUPTED for those that wait to be gone on with.
        best: number and value of the best completed trial that keeps every constraint.
        news_s: when a trial last began or ended, seconds since 1970; None before the first.
    """

    notes: Mapping[str, Any]
    counts: Mapping[TrialState, int]
    best: tuple[int, float] | None
    news_s: float | None

    @property
    def is_ours(self) -> bool:
        """Whether `study` made it: other programs may keep theirs in the same storage."""
        return "definition" in self.notes or "confirms" in self.notes


def overview_of(name: str, storage: Storage) -> Overview:
    """The study `name` as it stands.

    Raises:
        SearchError: if the storage has none of this name.
    """
    stored = load_study(name, storage)
    trials = stored.get_trials(deepcopy=False)
    times = [time for trial in trials for time in (trial.datetime_start, trial.datetime_complete) if time is not None]
    return Overview(
        notes=notes_of(stored),
        counts=Counter(STATES[trial.state] for trial in trials),
        best=_best(stored, trials),
        news_s=max(times).timestamp() if times else None,
    )


def _best(stored: optuna.Study, trials: Sequence[FrozenTrial]) -> tuple[int, float] | None:
    """By the first objective; of equal ones the first."""
    sign = -1 if stored.directions[0] is StudyDirection.MAXIMIZE else 1
    completed = [
        (sign * trial.values[0], trial.number)
        for trial in trials
        if trial.state is OptunaState.COMPLETE and all(excess <= 0 for excess in trial.constraints.values())
    ]
    if not completed:
        return None
    value, number = min(completed)
    return number, sign * value
