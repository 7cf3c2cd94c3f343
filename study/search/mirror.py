"""The driver's own copy of a study, which the sampler and the pruner read; the storage itself is only written to.

One driver at a time runs a study, so the copy is the truth. Reading a storage costs more than it seems: Optuna asks for all
trials several times a trial, which SQLite answers in 12 ms each at 10 reports, and TPE then looks at each of them: 91 ms a
trial at 3,000 trials. So the copy also recalls a part only, where that is enough: the best, the latest, and those that run.
"""

import copy
from bisect import insort
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from study.search.front import Front


@dataclass(frozen=True)
class Memory:
    """How much of a study is recalled, beside the trials that run.

    Attributes:
        num_best: trials with the best values.
        num_latest: trials that ended last.
    """

    num_best: int
    num_latest: int

    @property
    def size(self) -> int:
        """Trials at most."""
        return self.num_best + self.num_latest


class Mirror(InMemoryStorage):
    """Optuna's in-memory storage of one study, whose trials' ids are their numbers, with a memory of chosen size."""

    def __init__(self, stored: optuna.Study) -> None:
        """Args:
        stored: the study in its storage; its trials come by `load`.
        """
        super().__init__()
        self.directions = tuple(stored.directions)
        self._study_id = self.create_new_study(self.directions, stored.study_name)
        for key, attr in stored._storage.get_study_system_attrs(stored._study_id).items():
            self.set_study_system_attr(self._study_id, key, attr)
        self._memory: Memory | None = None
        self._open: set[int] = set()
        self._ended: list[int] = []
        self._ranked: list[tuple[tuple[float, ...], int]] = []  # with one objective
        self._front = Front[int]()  # with two

    def load(self, trials: Sequence[FrozenTrial]) -> None:
        """Takes over the trials of the storage, in the order of their numbers."""
        for trial in trials:
            number = super().create_new_trial(self._study_id)
            shown = copy.copy(trial)  # what it holds is never changed in place, neither here nor in the storage
            shown.number = shown._trial_id = number
            self._set_trial(number, shown)
            self._update_cache(number, self._study_id)
            self._remember(number)
        self._ended.sort(key=lambda number: self.trial(number).datetime_complete)  # type: ignore[arg-type, return-value]

    def trial(self, number: int) -> FrozenTrial:
        """A trial as it is now."""
        return self.get_trial(number)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """The trials in some states (none named: in any), in the order of their numbers."""
        return self.get_all_trials(self._study_id, deepcopy=False, states=states or None)

    def ended(self) -> list[FrozenTrial]:
        """The trials that ended, in the order in which they did."""
        return [self.trial(number) for number in self._ended]

    @property
    def study_attrs(self) -> dict[str, Any]:
        """What the sampler noted on the study."""
        return self.get_study_system_attrs(self._study_id)

    @property
    def num_trials(self) -> int:
        """Trials in any state."""
        return len(self._open) + len(self._ended)

    @contextmanager
    def recalling(self, memory: Memory | None) -> Iterator[None]:
        """Within, Optuna is shown as much of the study as `memory` holds; None: all."""
        self._memory = memory
        try:
            yield
        finally:
            self._memory = None

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """As Optuna's; remembers whether it is open or ended."""
        number = super().create_new_trial(study_id, template_trial)
        self._remember(number)
        return number

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """As Optuna's; remembers when a trial ends."""
        is_set = super().set_trial_state_values(trial_id, state, values)
        self._remember(trial_id)
        return is_set

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """As Optuna's, of the trials that are recalled."""
        memory = self._memory
        if states == (TrialState.WAITING,) or memory is None or len(self._ended) <= memory.size:
            return super().get_all_trials(study_id, deepcopy, states)
        trials = super().get_all_trials(study_id, deepcopy=False)
        recalled = [trials[number] for number in sorted(self._recalled(memory))]
        return [trial for trial in recalled if states is None or trial.state in states]

    def _recalled(self, memory: Memory) -> set[int]:
        best = [number for _, number in self._ranked[: memory.num_best]] or self._front.items[-memory.num_best :]
        return {*best, *self._ended[-memory.num_latest :], *self._open}

    def _remember(self, number: int) -> None:
        trial = self.trial(number)
        if not trial.state.is_finished():
            self._open.add(number)
            return
        self._open.discard(number)
        self._ended.append(number)
        if trial.state is TrialState.COMPLETE:
            self._rank(trial)

    def _rank(self, trial: FrozenTrial) -> None:
        violation = sum(max(0.0, excess) for excess in trial.constraints.values())
        signs = (-1.0 if direction is StudyDirection.MAXIMIZE else 1.0 for direction in self.directions)
        losses = tuple(sign * value for sign, value in zip(signs, trial.values, strict=True))
        if len(losses) == 1:
            insort(self._ranked, ((violation, *losses), trial.number))
        elif violation == 0:
            self._front.add(losses, trial.number)
