"""A study as Optuna's storage has it, read only: a driver may go on with it meanwhile."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial

from study.search.notes import notes_of
from study.search.storages import Storage, load_study
from study.search.stored_outcomes import ENDED, TOLD
from study.trial import TrialState


@dataclass(frozen=True)
class StoredTrial:
    """A trial that ended.

    Attributes:
        value: the objective: the best epoch's for COMPLETE, the last epoch's for PRUNED, None for FAIL.
        curve: the objective after each epoch, from the first.
        seconds: of work, times its devices; None where nobody said.
    """

    number: int
    state: TrialState
    run_id: str | None
    searched: Mapping[str, Any]
    value: float | None
    curve: Sequence[float]
    costs: Mapping[str, float]
    seconds: float | None


@dataclass(frozen=True)
class StoredStudy:
    """A study's notes, as `Advisor.create` was given them, and the trials that ended, by number."""

    notes: Mapping[str, Any]
    trials: Sequence[StoredTrial]


def read_stored_study(name: str, storage: Storage) -> StoredStudy:
    """The study `name`; trials that run or wait are left out.

    Raises:
        SearchError: if the storage has none of this name.
    """
    study = load_study(name, storage)
    trials = study.get_trials(deepcopy=False, states=tuple(ENDED))
    return StoredStudy(notes=notes_of(study), trials=tuple(map(_stored, trials)))


def repeated_by(number: int, trials: Sequence[StoredTrial]) -> int | None:
    """The first trial whose result the trial `number` was told instead of being trained; None for any other trial.

    Of several with one recipe, as of those that ran side by side, it is one that came to the very same value.
    """
    told = next((trial for trial in trials if trial.number == number), None)
    if told is None or told.state is not TrialState.COMPLETE or told.curve:
        return None
    same = (one for one in trials if one.curve and one.state is told.state and one.searched == told.searched)
    return next((one.number for one in same if one.value == told.value), None)


def _stored(trial: FrozenTrial) -> StoredTrial:
    told = trial.user_attrs.get(TOLD, {})
    values = trial.values
    return StoredTrial(
        number=trial.number,
        state=ENDED[trial.state],
        run_id=trial.user_attrs.get("run_id"),
        searched=trial.params,
        value=values[0] if values else None,
        curve=tuple(trial.intermediate_values[epoch] for epoch in sorted(trial.intermediate_values)),
        costs=told.get("costs", {}),
        seconds=told.get("seconds"),
    )
