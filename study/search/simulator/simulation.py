"""A study in simulated time: an event queue, workers that start, train and die, and the real advisor."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from optuna.storages import BaseStorage, InMemoryStorage

from study.definition import Objective, StudyDefinition
from study.search.advisor import Advisor
from study.search.outcomes import Outcome, Proposal, is_candidate
from study.search.simulator.curves import Curves, Recorded
from study.trial import TrialState


@dataclass(frozen=True)
class Workers:
    """The machines that are simulated.

    Attributes:
        start_s: from a proposal to its first epoch, each time a trial is started.
        crashes_per_hour: of a worker that trains, on average; the trial goes on from its last checkpoint.
        restart_s: from a crash to the trial's next start.
        checkpoint_epochs: epochs between two checkpoints.
    """

    num: int = 1
    start_s: float = 0.0
    crashes_per_hour: float = 0.0
    restart_s: float = 30.0
    checkpoint_epochs: int = 1


@dataclass(frozen=True)
class Incumbent:
    """The best completed trial from some moment on.

    Attributes:
        time_s: since the study's beginning.
        worked_s: what all workers together had worked by then.
        num_epochs: epochs that had been trained by then, repeated ones included.
        value: as it was told.
        regret: the best recorded recipe's quality, less that of this trial's recipe; 0 is the best there is.
    """

    time_s: float
    worked_s: float
    num_epochs: int
    number: int
    value: float
    regret: float


@dataclass
class SimulatedStudy:
    """What a simulated study came to.

    Attributes:
        incumbents: each better than the one before it.
        num_epochs: trained in all, those repeated after a crash included.
        elapsed_s: simulated seconds from the beginning to the last trial's end.
        worked_s: simulated seconds of all workers' work together, starts included.
        num_repeats: proposals that were told a recorded result.
    """

    incumbents: list[Incumbent] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    num_epochs: int = 0
    elapsed_s: float = 0.0
    worked_s: float = 0.0
    num_crashes: int = 0
    num_repeats: int = 0
    stop_reason: str | None = None

    def regret_after(self, worked_s: float) -> float:
        """The incumbent's regret once this much work was done; infinite before the first completed trial."""
        known = [incumbent.regret for incumbent in self.incumbents if incumbent.worked_s <= worked_s]
        return known[-1] if known else float("inf")

    @property
    def regret(self) -> float:
        """At the end."""
        return self.incumbents[-1].regret if self.incumbents else float("inf")


@dataclass
class _Running:
    """A trial on a worker."""

    proposal: Proposal
    recorded: Recorded
    curve: np.ndarray
    started_s: float
    worked_s: float = 0.0
    epoch: int = 0
    crash_s: float = float("inf")


def simulate(
    definition: StudyDefinition,
    curves: Curves,
    workers: Workers,
    seed: int,
    budget_s: float = float("inf"),
    storage: BaseStorage | None = None,
) -> SimulatedStudy:
    """Runs a study over recorded curves; the same arguments give the same study.

    Args:
        seed: of the sampler, of the seed that each trial's curve is taken from, and of the crashes.
        budget_s: of all workers together; no trial begins after it is used up.
        storage: where the study is kept, under its name and seed, and where those of `warm_start` are; default: in memory.
    """
    name = f"{definition.name}-{seed}"  # Hyperband draws a trial's bracket from the study's name
    search = definition.search.model_copy(update={"seed": seed})
    return _Simulation(definition.model_copy(update={"name": name, "search": search}), curves, workers, budget_s, storage).run()


class _Simulation:
    """The event queue. An event is the end of an epoch, or a crash; times are seconds since the beginning."""

    def __init__(
        self, definition: StudyDefinition, curves: Curves, workers: Workers, budget_s: float, storage: BaseStorage | None
    ) -> None:
        self._definition = definition
        self._objective: Objective = definition.objective
        self._curves = curves
        self._workers = workers
        self._budget_s = budget_s
        self._now_s = 0.0
        self._num_events = 0
        self._events: list[tuple[float, int, _Running]] = []  # of equal times, the earlier made comes first
        self._rng = np.random.default_rng(definition.search.seed)
        self._advisor = Advisor.create(definition, storage or InMemoryStorage(), {}, clock=lambda: self._now_s)
        self._study = SimulatedStudy()

    def run(self) -> SimulatedStudy:
        """Plays the events until no trial is left."""
        for _ in range(self._workers.num):
            self._ask()
        while self._events:
            self._now_s, _, trial = heapq.heappop(self._events)
            self._study.elapsed_s = self._now_s
            if self._now_s >= trial.crash_s:
                self._crash(trial)
            elif not self._has_ended(trial):
                self._schedule(trial)
            else:
                self._ask()
        self._study.outcomes = self._advisor.outcomes()
        self._study.stop_reason = self._advisor.stop_reason
        return self._study

    def _ask(self) -> None:
        """Gives an idle worker its next trial; repeated recipes are told at once."""
        for proposal in self._proposals():
            recorded = self._curves.of(proposal.searched)
            assert proposal.config.seed is not None, "the advisor gives every trial a seed"
            curve = recorded.curves[proposal.config.seed % len(recorded.curves)][: proposal.config.epochs]
            trial = _Running(proposal, recorded, curve, self._now_s)
            if proposal.repeats is None:
                return self._start(trial, self._now_s)
            self._study.num_repeats += 1
            first = self._advisor.outcome(proposal.repeats)
            self._advisor.tell(proposal.number, TrialState.COMPLETE, first.value, recorded.costs, 0.0)
        return None

    def _proposals(self) -> Iterator[Proposal]:
        while self._study.worked_s < self._budget_s and (proposal := self._advisor.ask()) is not None:
            yield proposal

    def _start(self, trial: _Running, at_s: float) -> None:
        if self._workers.crashes_per_hour:
            trial.crash_s = at_s + self._rng.exponential(3600 / self._workers.crashes_per_hour)
        self._schedule(trial, at_s, self._workers.start_s)

    def _schedule(self, trial: _Running, at_s: float | None = None, start_s: float = 0.0) -> None:
        """The next epoch's end, or the crash before it."""
        began_s = self._now_s if at_s is None else at_s
        ends_s = began_s + start_s + trial.recorded.epoch_s
        happens_s = min(ends_s, max(trial.crash_s, began_s))
        trial.worked_s += happens_s - began_s
        self._study.worked_s += happens_s - began_s
        self._num_events += 1
        heapq.heappush(self._events, (happens_s, self._num_events, trial))

    def _crash(self, trial: _Running) -> None:
        """The worker comes back and goes on from the last checkpoint, under the same number."""
        self._study.num_crashes += 1
        trial.epoch -= trial.epoch % self._workers.checkpoint_epochs
        self._start(trial, self._now_s + self._workers.restart_s)

    def _has_ended(self, trial: _Running) -> bool:
        """Reports an epoch as a worker would; whether the trial is over."""
        trial.epoch += 1
        self._study.num_epochs += 1
        number = trial.proposal.number
        self._advisor.report(number, trial.epoch, float(trial.curve[trial.epoch - 1]))
        if trial.epoch == len(trial.curve):
            self._complete(trial)
            return True
        if self._advisor.can_prune_at(trial.epoch) and self._advisor.should_prune(number):
            self._advisor.tell(number, TrialState.PRUNED, costs=trial.recorded.costs, seconds=trial.worked_s)
            return True
        return False

    def _complete(self, trial: _Running) -> None:
        number, is_maximized = trial.proposal.number, self._objective.is_maximized
        value = float(trial.curve.max() if is_maximized else trial.curve.min())
        self._advisor.tell(number, TrialState.COMPLETE, value, trial.recorded.costs, trial.worked_s)
        outcome = self._advisor.outcome(number)
        best = self._study.incumbents[-1].value if self._study.incumbents else None
        if is_candidate(outcome) and (best is None or self._objective.is_better(value, best)):
            gap = self._curves.best_quality - trial.recorded.quality
            regret = max(0.0, gap if is_maximized else -gap)
            self._study.incumbents.append(
                Incumbent(self._now_s, self._study.worked_s, self._study.num_epochs, number, value, regret)
            )
