"""One Optuna study behind four verbs: ask, report, prune, tell.

Ray's own bridge to Optuna never prunes and calls a stopped trial COMPLETE; so the Optuna study lives here, and Ray's searcher
and scheduler share it (study/tuning/ray_adapters.py). All state is in Optuna's storage: a driver that dies loses nothing.
"""

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from study.definition import StudyDefinition
from study.errors import SearchError, nearest
from study.search.algorithms import build_pruner, build_sampler
from study.space import Choices, Distribution
from study.trial import TrialConfig, TrialState, with_values

OPTUNA_STATES = {
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.PRUNED: OptunaState.PRUNED,
    TrialState.FAIL: OptunaState.FAIL,
}


@dataclass(frozen=True)
class Proposal:
    """A trial to run.

    Attributes:
        number: the trial's number in Optuna and everywhere else, from 0.
        config: the whole recipe, seed included.
        searched: the values that the sampler chose, by dotted key.
        run_id: the MLflow run of an interrupted trial that goes on; None for a new one.
    """

    number: int
    config: TrialConfig
    searched: Mapping[str, Any]
    run_id: str | None


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        value: the objective: the best epoch's for COMPLETE, the last epoch's for PRUNED, None for FAIL.
        num_epochs: epochs that were measured.
    """

    number: int
    state: TrialState
    config: TrialConfig
    searched: Mapping[str, Any]
    value: float | None
    num_epochs: int
    run_id: str | None


class Advisor:
    """Proposes recipes, says when a trial is not worth going on with, and remembers every outcome."""

    def __init__(self, definition: StudyDefinition, optuna_study: optuna.Study) -> None:
        self._definition = definition
        self._study = optuna_study
        self._open: dict[int, optuna.Trial] = {}

    @classmethod
    def create(cls, definition: StudyDefinition, storage: BaseStorage, notes: Mapping[str, Any]) -> Self:
        """A new study in `storage`; `notes` are kept with it (`Advisor.notes`).

        Raises:
            SearchError: if the storage has a study of this name.
        """
        try:
            optuna_study = optuna.create_study(
                study_name=definition.name,
                storage=storage,
                direction="maximize" if definition.objective.is_maximized else "minimize",
                sampler=build_sampler(definition, num_asked=0),
                pruner=build_pruner(definition.search.pruner, definition.trial.epochs),
            )
        except optuna.exceptions.DuplicatedStudyError:
            raise SearchError(
                f"a study's name must be new, but {definition.name!r} exists in Optuna's storage. "
                f"Go on with it (`study resume {definition.name}`), or change `name` in {definition.file}."
            ) from None
        for key, note in notes.items():
            optuna_study.set_user_attr(key, note)
        if definition.search.sampler == "grid":
            _enqueue_grid(definition, optuna_study)
        return cls(definition, optuna_study)

    @classmethod
    def resume(cls, definition: StudyDefinition, storage: BaseStorage) -> Self:
        """An existing study; trials that a dead driver left running wait to be asked for again, before any new one."""
        optuna_study = load_study(definition.name, storage)
        optuna_study.sampler = build_sampler(definition, num_asked=len(optuna_study.get_trials(deepcopy=False)))
        optuna_study.pruner = build_pruner(definition.search.pruner, definition.trial.epochs)
        advisor = cls(definition, optuna_study)
        for trial in optuna_study.get_trials(deepcopy=False, states=(OptunaState.RUNNING,)):
            advisor._set_waiting(trial._trial_id)
        return advisor

    def ask(self) -> Proposal | None:
        """The next trial: an interrupted one, or a new proposal; None when the study has all its trials."""
        waiting = self._trials(OptunaState.WAITING)
        if not waiting and len(self._trials()) >= self._definition.num_trials:
            return None
        trial = self._study.ask()
        searched = self._suggest(trial)
        config = self._config_of(trial.number, searched)
        self._open[trial.number] = trial
        return Proposal(trial.number, config, searched, run_id=trial.user_attrs.get("run_id"))

    def attach_run(self, number: int, run_id: str) -> None:
        """Remembers the MLflow run of a trial, so that whoever resumes it goes on in the same run."""
        self._open[number].set_user_attr("run_id", run_id)

    def report(self, number: int, epoch: int, value: float) -> None:
        """Records the objective after an epoch. An epoch that a retried trial repeats is not recorded again."""
        trial = self._open[number]
        if epoch not in self._intermediate_values(trial):
            trial.report(value, step=epoch)

    def should_prune(self, number: int) -> bool:
        """Whether the pruner stops the trial at the epoch reported last."""
        return self._open[number].should_prune()

    def tell(self, number: int, state: TrialState, value: float | None = None) -> None:
        """Ends a trial; an interrupted one waits for the next driver instead.

        Args:
            value: the objective, for COMPLETE only: Optuna takes a pruned trial's last reported value by itself.
        """
        trial = self._open.pop(number)
        if state is TrialState.INTERRUPTED:
            self._set_waiting(trial._trial_id)
        else:
            self._study.tell(trial, value if state is TrialState.COMPLETE else None, state=OPTUNA_STATES[state])

    @property
    def notes(self) -> dict[str, Any]:
        """What `create` was given to keep."""
        return dict(self._study.user_attrs)

    def outcomes(self) -> list[Outcome]:
        """Every trial that ended, in the order of their numbers."""
        states = {optuna_state: state for state, optuna_state in OPTUNA_STATES.items()}
        return [self._outcome(trial, states[trial.state]) for trial in self._trials(*states)]

    def _outcome(self, trial: FrozenTrial, state: TrialState) -> Outcome:
        return Outcome(
            number=trial.number,
            state=state,
            config=self._config_of(trial.number, trial.params),
            searched=trial.params,
            value=trial.value,
            num_epochs=len(trial.intermediate_values),
            run_id=trial.user_attrs.get("run_id"),
        )

    def _config_of(self, number: int, searched: Mapping[str, Any]) -> TrialConfig:
        config = with_values(self._definition.trial, searched)
        if config.seed is None:
            config = with_values(config, {"seed": derive_seed(self._definition.search.seed, number)})
        return config

    def _trials(self, *states: OptunaState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states or None)

    def _intermediate_values(self, trial: optuna.Trial) -> Mapping[int, float]:
        return self._study._storage.get_trial(trial._trial_id).intermediate_values

    def _set_waiting(self, trial_id: int) -> None:
        # WAITING is Optuna's state for "asked for before anything new"; the parameters stay with the trial.
        self._study._storage.set_trial_state_values(trial_id, state=OptunaState.WAITING)

    def _suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """The sampler's values for every key whose condition holds."""
        values = self._definition.fixed_values
        searched: dict[str, Any] = {}
        for key, distribution in self._definition.space.items():
            if self._definition.space.is_active(key, values):
                searched[key] = values[key] = _suggest_one(trial, key, distribution)
        return searched


def load_study(name: str, storage: BaseStorage) -> optuna.Study:
    """The Optuna study `name`.

    Raises:
        SearchError: if the storage has none of this name.
    """
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        known = study_names(storage)
        hint = nearest(name, known) if known else "There is none yet: start one with `study run FILE`."
        raise SearchError(f"a study must exist to go on with it, but there is no {name!r}. {hint}") from None


def study_names(storage: BaseStorage) -> Sequence[str]:
    """The names of all studies in a storage."""
    return optuna.get_all_study_names(storage)


def derive_seed(study_seed: int, number: int) -> int:
    """A trial's own seed in [0, 2**31), the same wherever and whenever the trial runs."""
    return int.from_bytes(hashlib.sha256(f"{study_seed}/{number}".encode()).digest()[:4], "big") % 2**31


def _suggest_one(trial: optuna.Trial, key: str, distribution: Distribution) -> Any:
    if isinstance(distribution, Choices):
        return trial.suggest_categorical(key, distribution.choices)
    low, high, step, log = distribution.low, distribution.high, distribution.step, distribution.log
    if distribution.is_integer:
        return trial.suggest_int(key, int(low), int(high), step=int(step or 1), log=log)
    return trial.suggest_float(key, low, high, step=step, log=log)


def _enqueue_grid(definition: StudyDefinition, optuna_study: optuna.Study) -> None:
    """Queues the grid's recipes in a seeded random order, so that a study stopped halfway is still a fair sample of it."""
    recipes = list(definition.space.combinations(definition.fixed_values))
    random.Random(definition.search.seed).shuffle(recipes)
    for recipe in islice(recipes, definition.num_trials):
        optuna_study.enqueue_trial(recipe)
