"""The study in Optuna's storage, written only: after each call it holds what the driver's copy holds."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from study.errors import SearchError
from study.search.failures import AnotherDriverError
from study.search.storages import PATIENCE_S, together, write

# What TPE and GP leave on a trial for other drivers to see; there is one driver, and each attribute costs a write.
NOT_KEPT = "relative_params:"
Written = TypeVar("Written")


@dataclass
class _Stored:
    """What the storage has of an open trial."""

    trial_id: int
    epochs: set[int] = field(default_factory=set)
    attrs: set[str] = field(default_factory=set)
    notes: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(trial: FrozenTrial, trial_id: int) -> "_Stored":
        """A trial that is stored as it is now."""
        return _Stored(trial_id, set(trial.intermediate_values), set(trial.system_attrs), dict(trial.user_attrs))


class Record:
    """Writes each change of a study to its storage, as it happens and in as few writes as Optuna's interface takes.

    Every method raises `SearchError` if the storage does not take it for half a minute, and may then be called again: who ends
    a study because of it tries each open trial once more, and waits for none, until the storage has taken something again.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._storage = study._storage
        self._study_id = study._study_id
        self._open: dict[int, _Stored] = {}
        self._unsure: set[int] = set()  # numbers of trials that may have been created
        self._study_attrs = dict(study._storage.get_study_system_attrs(study._study_id))
        self._is_away = False
        self._guard: Callable[[], None] = lambda: None

    def heed(self, guard: Callable[[], None]) -> None:
        """Has `guard` asked before each write: what it raises is raised, and nothing written."""
        self._guard = guard

    def trials(self) -> list[FrozenTrial]:
        """Every trial of the storage; open ones can be written to from now on."""
        trials = self._storage.get_all_trials(self._study_id, deepcopy=False)
        for trial in trials:
            if not trial.state.is_finished():
                self._open[trial.number] = _Stored.of(trial, trial._trial_id)
        return trials

    def begin(self, trial: FrozenTrial) -> None:
        """Writes a new trial with all its parameters at once, or that a waiting one runs again."""
        if trial.number not in self._open:
            kept = _without_shared(trial)
            trial_id = self._write(lambda: self._create_once(kept))
            self._require_sole_driver(trial_id, trial.number)
            self._unsure.discard(trial.number)
            self._open[trial.number] = _Stored.of(kept, trial_id)
        else:
            trial_id = self._open[trial.number].trial_id
            self._write(lambda: self._storage.set_trial_state_values(trial_id, TrialState.RUNNING))

    def save(self, trial: FrozenTrial) -> None:
        """Writes what an open trial has and the storage has not: reports, notes, and what sampler and pruner left on it."""
        stored = self._open[trial.number]
        if stored != self._as_stored(trial):
            self._write(lambda: self._save_at_once(trial))
            self._open[trial.number] = self._as_stored(trial)

    def note(self, number: int, key: str, note: Any) -> None:
        """Writes a note on an open trial."""
        stored = self._open[number]
        self._write(lambda: self._storage.set_trial_user_attr(stored.trial_id, key, note))
        stored.notes[key] = note

    def end(self, trial: FrozenTrial) -> None:
        """Writes a trial's final state, or that it waits to be run again, with all that `save` would: one wait for the disk."""
        self._write(lambda: self._save_at_once(trial, has_ended=True))
        if trial.state.is_finished():
            del self._open[trial.number]
        else:
            self._open[trial.number] = self._as_stored(trial)

    def note_study(self, attrs: Mapping[str, Any]) -> None:
        """Writes what a sampler noted on the whole study, as NSGA-II's parents."""
        changed = {key: attr for key, attr in attrs.items() if self._study_attrs.get(key) != attr}

        def write_all() -> None:
            for key, attr in changed.items():
                self._storage.set_study_system_attr(self._study_id, key, attr)

        if changed:
            self._write(write_all)
            self._study_attrs |= changed

    def _write(self, action: Callable[[], Written]) -> Written:
        """What `action` returns; a storage that was waited for in vain is not waited for again."""
        self._guard()
        try:
            written = write(action, 0.0 if self._is_away else PATIENCE_S)
        except UpdateFinishedTrialError as error:
            raise AnotherDriverError(
                "one driver at a time may run a study, but another one has ended a trial that runs here. Leave the study to "
                "that one; once it is gone, `study resume` goes on."
            ) from error
        except SearchError:
            self._is_away = True
            raise
        self._is_away = False
        return written

    def _create_once(self, trial: FrozenTrial) -> int:
        """The id of the trial, which an attempt that seemed to fail may have created."""
        if trial.number in self._unsure:
            with suppress(KeyError):
                return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, trial.number)
        self._unsure.add(trial.number)
        return self._storage.create_new_trial(self._study_id, template_trial=trial)

    def _require_sole_driver(self, trial_id: int, number: int) -> None:
        stored_as = self._storage.get_trial_number_from_id(trial_id)
        if stored_as != number:
            raise AnotherDriverError(
                f"one driver at a time may run a study, but its trial {number} is number {stored_as} in the storage: another "
                f"driver has added trials. Stop one of them, then `study resume` goes on."
            )

    def _as_stored(self, trial: FrozenTrial) -> _Stored:
        return _Stored.of(_without_shared(trial), self._open[trial.number].trial_id)

    def _save_at_once(self, trial: FrozenTrial, has_ended: bool = False) -> None:
        before, now = self._open[trial.number], self._as_stored(trial)
        # An attempt that seemed to fail (the bytes were written, the wait for the disk was not answered) may have ended it:
        # a second end would be in the journal for ever, and refused at every reading.
        if has_ended and (stored := self._storage.get_trial(now.trial_id)).state.is_finished():
            if (stored.state, stored.values) != (trial.state, trial.values):
                raise UpdateFinishedTrialError
            return
        with together(self._storage):
            for epoch in sorted(now.epochs - before.epochs):
                self._storage.set_trial_intermediate_value(now.trial_id, epoch, trial.intermediate_values[epoch])
            for key in sorted(now.attrs - before.attrs):
                self._storage.set_trial_system_attr(now.trial_id, key, trial.system_attrs[key])
            for key, note in now.notes.items():
                if before.notes.get(key) != note:
                    self._storage.set_trial_user_attr(now.trial_id, key, note)
            if has_ended:
                values = trial.values if trial.state.is_finished() else None
                self._storage.set_trial_state_values(now.trial_id, trial.state, values)


def _without_shared(trial: FrozenTrial) -> FrozenTrial:
    """The trial as it is stored when it begins."""
    return FrozenTrial(
        number=trial.number,
        state=trial.state,
        value=None,
        datetime_start=trial.datetime_start,
        datetime_complete=None,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=trial.user_attrs,
        system_attrs={key: attr for key, attr in trial.system_attrs.items() if NOT_KEPT not in key},
        intermediate_values=trial.intermediate_values,
        trial_id=trial._trial_id,
    )
