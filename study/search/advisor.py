"""One Optuna study behind four verbs: ask, report, prune, tell.

Ray's own bridge to Optuna never prunes and calls a stopped trial COMPLETE; so the Optuna study lives here, and Ray's searcher
and scheduler share it (study/tuning/ray_adapters.py). Sampler and pruner read the driver's own copy of the study
(study/search/mirror.py); each change is in Optuna's storage before a method returns: a driver that dies loses nothing.
"""

import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Self

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from study.definition import StudyDefinition
from study.errors import SearchError
from study.search.account import Account
from study.search.creation import created_study
from study.search.first_points import first_points
from study.search.mirror import Memory, Mirror
from study.search.notes import notes_of, write_notes
from study.search.outcomes import Outcome, Proposal, Standing, pareto_front
from study.search.planning import plan_of
from study.search.pruners import build_pruner, can_prune_at, most_epochs
from study.search.recipes import config_of, derive_seed
from study.search.record import Record
from study.search.rehearsal import check_search
from study.search.samplers import build_sampler, suggest
from study.search.storages import load_study, study_names
from study.search.stored_outcomes import (
    ENDED,
    OPTUNA_STATES,
    TOLD,
    elapsed_told,
    outcome_of,
    require_quantities,
    seconds_told,
    values_of,
)
from study.search.warm_start import earlier_recipes
from study.trial import TrialState

__all__ = ["Advisor", "Outcome", "Proposal", "Standing", "derive_seed", "load_study", "study_names"]
# As much as these are shown, so that a trial costs the same at 10,000 trials as at 300 (tests/benchmarks/bench_search.py).
SAMPLER_MEMORY = {"tpe": Memory(num_best=50, num_latest=250), "gp": Memory(num_best=50, num_latest=150)}
PRUNER_MEMORY = Memory(num_best=0, num_latest=1000)
EARLIER = "earlier_recipes"  # the note on a study of what it tries first because of `warm_start`


class Advisor:
    """Proposes recipes, says when a trial is not worth going on with, and remembers every outcome."""

    def __init__(self, definition: StudyDefinition, stored: optuna.Study, clock: Callable[[], float] = time.monotonic) -> None:
        """As `create` and `resume`, which check first."""
        self._definition = definition
        self._num_trials = definition.num_trials
        self._max_epochs = most_epochs(definition)
        self._clock = clock
        self._record = Record(stored)
        self._mirror = Mirror(stored)
        self._mirror.load(self._record.trials())
        self._study = optuna.load_study(
            study_name=stored.study_name,
            storage=self._mirror,
            sampler=build_sampler(definition, num_asked=self._mirror.num_trials),
            pruner=build_pruner(definition.search.pruner, self._max_epochs),
        )
        self.notes: dict[str, Any] = notes_of(stored)  # what `create` was given to keep
        self._plan = plan_of(definition, first_points(definition, self.notes.get(EARLIER, ())))
        self._open: dict[int, optuna.Trial] = {}
        self._waiting = deque(trial.number for trial in self._mirror.trials(OptunaState.WAITING))
        self._account = Account(definition)
        self._began_s = clock()
        self._recall()

    @classmethod
    def create(
        cls,
        definition: StudyDefinition,
        storage: BaseStorage,
        notes: Mapping[str, Any],
        clock: Callable[[], float] = time.monotonic,
    ) -> Self:
        """A new study in `storage`; `notes` are kept with it (`Advisor.notes`). What a killed driver left of one is taken up.

        Args:
            clock: seconds from any beginning.
        Raises:
            DefinitionError: if the sampler or the pruner refuses its options.
            SearchError: if the storage has a study of this name, or none that `warm_start` names.
        """
        check_search(definition, storage)
        earlier = earlier_recipes(definition, storage)
        stored = created_study(definition, storage)
        write_notes(stored, {**notes, **({EARLIER: earlier} if earlier else {})})
        return cls(definition, stored, clock)

    @classmethod
    def resume(cls, definition: StudyDefinition, storage: BaseStorage, clock: Callable[[], float] = time.monotonic) -> Self:
        """An existing study; trials that a dead driver left running wait to be asked for again, before any new one."""
        stored = load_study(definition.name, storage)
        for trial in stored.get_trials(deepcopy=False, states=(OptunaState.RUNNING,)):
            # WAITING is Optuna's state for "asked for before anything new"; the parameters stay with the trial.
            stored._storage.set_trial_state_values(trial._trial_id, state=OptunaState.WAITING)
        return cls(definition, stored, clock)

    def heed(self, guard: Callable[[], None]) -> None:
        """Has `guard` asked before each write to the storage: it raises when the study is not this process's any more."""
        self._record.heed(guard)

    def ask(self) -> Proposal | None:
        """The next trial: an interrupted one, or a new proposal; None when the search is at its end.

        Raises:
            DefinitionError: if the values that were chosen make no recipe together; such a trial is not stored.
        """
        if self.stop_reason is not None:
            return None
        if not self._waiting and not self._has_new:
            return None
        with self._as_the_sampler_sees():
            trial = self._next()
            searched = suggest(trial, self._definition)
        config = config_of(self._definition, trial.number, searched)
        self._begin(trial)
        run_id = trial.user_attrs.get("run_id")
        repeats = self._account.repeated_by(searched) if run_id is None else None
        return Proposal(trial.number, config, searched, run_id, repeats)

    def attach_run(self, number: int, run_id: str) -> None:
        """Remembers the MLflow run of a trial, so that whoever resumes it goes on in the same run."""
        self._mirror.set_trial_user_attr(number, "run_id", run_id)
        self._record.note(number, "run_id", run_id)

    def report(self, number: int, epoch: int, value: float) -> None:
        """Records the objective after an epoch. An epoch that a retried trial repeats is not recorded again."""
        self.report_all(number, {epoch: value})

    def report_all(self, number: int, values: Mapping[int, float], *, is_last: bool = False) -> None:
        """As `report`, for several epochs that came together; in a journal, they are one wait for the disk.

        Args:
            is_last: `tell` comes next, and stores them with the trial's end: a driver that dies between the two runs the trial
                again in either case.
        """
        for epoch in sorted(values.keys() - self._mirror.trial(number).intermediate_values.keys()):
            self._mirror.set_trial_intermediate_value(number, epoch, values[epoch])
        if not is_last:
            self._record.save(self._mirror.trial(number))

    def can_prune_at(self, epoch: int) -> bool:
        """Whether the pruner can stop a trial at that epoch: elsewhere, nobody need ask `should_prune`."""
        return not self._plan.is_race and can_prune_at(self._definition.search.pruner, self._max_epochs, epoch)

    def should_prune(self, number: int) -> bool:
        """Whether the pruner stops the trial at the epoch reported last."""
        if self._definition.objective.cost is not None or self._plan.is_race:
            return False
        with self._mirror.recalling(PRUNER_MEMORY), warnings.catch_warnings():
            # Wilcoxon warns of each epoch that the best trial, stopped by its patience, does not have.
            warnings.simplefilter("ignore", UserWarning)
            is_pruned = self._study.pruner.prune(self._study, self._mirror.trial(number))
        self._record.save(self._mirror.trial(number))
        return is_pruned

    def tell(
        self,
        number: int,
        state: TrialState,
        value: float | None = None,
        costs: Mapping[str, float] | None = None,
        seconds: float | None = None,
    ) -> None:
        """Ends a trial; an interrupted one waits to be asked for again.

        Args:
            value: the objective, for COMPLETE only: Optuna takes a pruned trial's last reported value by itself.
            costs: quantities of the trial's model; a completed one's must have those of the objective's cost and constraints.
            seconds: of work on it since it was asked for, GPU or CPU.
        Raises:
            SearchError: if a quantity is missing, or the storage refuses.
        """
        costs = costs or {}
        if state is TrialState.COMPLETE:
            require_quantities(costs, self._definition.objective, number)
        trial = self._open.pop(number)
        self._note_costs(number, costs, seconds or 0.0)
        if state is TrialState.INTERRUPTED:
            self._mirror.set_trial_state_values(number, OptunaState.WAITING)
            self._record.end(self._mirror.trial(number))
            self._waiting.append(number)
            return
        for limit in self._definition.objective.limits:
            if limit.quantity in costs:
                trial.set_constraint(limit.text, limit.violation(costs[limit.quantity]))
        with self._as_the_sampler_sees():
            values = values_of(state, value, costs, self._definition.objective)
            self._study.tell(number, values, state=OPTUNA_STATES[state])
        self._record.end(self._mirror.trial(number))
        self._record.note_study(self._mirror.study_attrs)
        self._count(self._mirror.trial(number))

    @property
    def stop_reason(self) -> str | None:
        """The rule of `[search.stop]` that ended the search before it had all its trials, in words; None if none did."""
        return self._account.stop_reason(self._elapsed_s)

    @property
    def is_over(self) -> bool:
        """Whether no trial runs, waits or is still to be proposed."""
        has_left = bool(self._waiting) or self._has_new
        return not self._open and (self.stop_reason is not None or not has_left)

    def outcomes(self) -> list[Outcome]:
        """Every trial that ended, in the order of their numbers."""
        return self._account.outcomes()

    def standings(self) -> list[Standing]:
        """Every trial there is, in the order of their numbers."""
        return [
            Standing(trial.number, ENDED.get(trial.state, TrialState.INTERRUPTED), trial.user_attrs.get("run_id"))
            for trial in self._mirror.trials()
        ]

    def outcome(self, number: int) -> Outcome:
        """How a trial ended that did."""
        return self._account.outcome(number)

    def pareto_front(self) -> list[Outcome]:
        """The feasible completed trials that no other beats in both objective and cost, the best objective first."""
        return pareto_front(self.outcomes(), self._definition.objective)

    @property
    def _has_new(self) -> bool:
        """Whether there is a trial that nobody has asked for yet."""
        return self._mirror.num_trials < self._num_trials and not self._plan.is_over

    @property
    def _elapsed_s(self) -> float:
        return self._account.elapsed_before_s + self._clock() - self._began_s

    def _as_the_sampler_sees(self) -> AbstractContextManager[None]:
        return self._mirror.recalling(SAMPLER_MEMORY.get(self._definition.search.sampler.name))

    def _next(self) -> optuna.Trial:
        """A waiting trial, else a new one; the first ones with the values that are to be tried first."""
        if self._waiting:
            number = self._waiting.popleft()
            self._mirror.set_trial_state_values(number, OptunaState.RUNNING)
            return optuna.Trial(self._study, number)
        point = self._plan.next_point(self._mirror.num_trials)
        if point is not None:
            self._study.enqueue_trial(dict(point))
        return self._study.ask()

    def _begin(self, trial: optuna.Trial) -> None:
        """Stores the trial; one that cannot be stored waits, so that numbers here and in the storage stay the same."""
        try:
            # First where a sampler stands in its sequence: a kill in between skips a point, and does not propose one twice.
            self._record.note_study(self._mirror.study_attrs)
            self._record.begin(self._mirror.trial(trial.number))
        except SearchError:
            self._mirror.set_trial_state_values(trial.number, OptunaState.WAITING)
            self._waiting.append(trial.number)
            raise
        self._open[trial.number] = trial
        self._plan.begin(trial.params)

    def _note_costs(self, number: int, costs: Mapping[str, float], seconds: float) -> None:
        """Keeps with the trial what the stop rules need after a restart; stored with its end."""
        self._account.add_work(seconds)
        told = {"seconds": seconds + seconds_told(self._mirror.trial(number))}
        if self._definition.search.stop.hours is not None:
            told["elapsed_s"] = self._elapsed_s
        if costs or any(told.values()):
            self._mirror.set_trial_user_attr(number, TOLD, told | {"costs": dict(costs)})

    def _recall(self) -> None:
        """What earlier drivers did."""
        for trial in self._mirror.trials():
            self._account.add_work(seconds_told(trial))
            self._account.elapsed_before_s = max(self._account.elapsed_before_s, elapsed_told(trial))
            self._plan.begin(trial.params)
        for trial in self._mirror.ended():
            self._count(trial)

    def _count(self, trial: FrozenTrial) -> None:
        outcome = outcome_of(trial, config_of(self._definition, trial.number, trial.params))
        self._account.add(outcome)
        self._plan.add(outcome)
