"""One driver's work on a study that exists in both stores: its trials, its winner, its answer."""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from study.definition import StudyDefinition
from study.errors import StudyError
from study.search.advisor import Advisor, Outcome
from study.search.failures import AnotherDriverError
from study.tracking.patience import Patience
from study.tracking.records import STOP_TAG
from study.tracking.tracker import Tracker
from study.trial import TrialState
from study.tuning.first_failures import why_hopeless
from study.tuning.kept_weights import KeptWeights
from study.tuning.ledger import Ledger, Listener
from study.tuning.log_file import log_tags
from study.tuning.preparation import PreparedStudy
from study.tuning.repetitions import Confirmed
from study.tuning.winner import Winner, register_winner

REGISTRY_PATIENCE_S = 600.0  # as long as trials wait for MLflow
NUM_KEPT_WEIGHTS = 3  # trials; the winner, and two to compare it with


class StudyListener(Listener, Protocol):
    """Who watches a study from its preparation to its end."""

    def packing(self, num_done: int, num_photos: int) -> None:
        """Photos are being packed."""

    def study_began(self, prepared: PreparedStudy, earlier: Sequence[Outcome], num_concurrent: int) -> None:
        """Trials are about to run; `earlier` ended in an earlier launch."""

    def notice(self, message: str) -> None:
        """Something that people should know while it lasts: MLflow is away, and is waited for."""

    def study_ending(self) -> None:
        """All trials have ended; the winner is being registered."""


class Executor(Protocol):
    """Runs trials somewhere."""

    @property
    def num_concurrent(self) -> int:
        """Trials that run at once."""

    @property
    def gpus(self) -> float:
        """Of each trial; 0 where there are none."""

    def for_study(self, prepared: PreparedStudy) -> "Executor":
        """The same place for another study's trials."""

    def run(self, ledger: Ledger) -> None:
        """Runs trials until the ledger has none left or is interrupted."""


@dataclass(frozen=True)
class StudyOutcome:
    """How a study stands when its command ends.

    Attributes:
        outcomes: of every trial that ended, in this launch or an earlier one.
        winner: the best completed trial, its model registered; None where no trial completed or the study was interrupted.
        address: where its runs are to be seen.
        table_address: where its trials are a table of what was searched; None where no server shows one.
        is_interrupted: trials are left for `study resume`.
        stop_reason: why the search ended before it had all its trials; None if it did not.
        front: with two objectives, the trials that no other beats in both.
        confirmed: what `[confirm]` found, the best recipe first.
    """

    prepared: PreparedStudy
    outcomes: Sequence[Outcome]
    winner: Winner | None
    address: str
    elapsed_s: float
    is_interrupted: bool
    stop_reason: str | None = None
    front: Sequence[Outcome] = ()
    confirmed: Sequence[Confirmed] = ()
    table_address: str | None = None


@dataclass(frozen=True)
class Launch:
    """One driver's work on a study that exists in both stores."""

    prepared: PreparedStudy
    advisor: Advisor
    tracker: Tracker
    run_id: str
    listener: StudyListener
    started_s: float
    is_resumed: bool = False

    def run(self, executor: Executor) -> StudyOutcome:
        """Runs what is left of the study and ends its parent run accordingly."""
        definition = self.prepared.definition
        earlier = self.advisor.outcomes()
        output_folder = self.prepared.settings.study_folder(definition.name)
        shared = self.prepared.shared
        kept_weights = KeptWeights(output_folder, definition, NUM_KEPT_WEIGHTS, earlier, shared)
        ledger = Ledger(
            self.advisor,
            self.tracker,
            self.run_id,
            definition.objective,
            [self.listener, kept_weights],
            is_resumed=self.is_resumed,
            gpus=executor.gpus,
            tags_of=lambda proposal: log_tags(output_folder, proposal.number),
        )
        self.listener.study_began(self.prepared, earlier, executor.num_concurrent)
        try:
            executor.run(ledger)
            ledger.interrupt_open()
            outcomes = self.advisor.outcomes()
            is_interrupted = not self.advisor.is_over
            if not is_interrupted:
                kept_weights.settle()
            winner = None if is_interrupted else self._register_winner(outcomes)
        except AnotherDriverError:
            raise  # what runs is that driver's
        except BaseException:
            # The first error is the news; a store that is away cannot be told, but the other one can.
            with suppress(StudyError):
                ledger.interrupt_open()
            with suppress(StudyError):
                self.tracker.end_study(self.run_id, TrialState.INTERRUPTED, {}, {})
            raise
        state = TrialState.INTERRUPTED if is_interrupted else TrialState.COMPLETE if winner else TrialState.FAIL
        reason = why_hopeless(ledger.hopeless) if ledger.hopeless else self.advisor.stop_reason
        self.tracker.describe(self.run_id, _answer(definition, outcomes, winner, reason), definition.objective.key)
        self.tracker.end_study(self.run_id, state, _summary(outcomes, winner), {} if reason is None else {STOP_TAG: reason})
        return StudyOutcome(
            prepared=self.prepared,
            outcomes=outcomes,
            winner=winner,
            address=self.tracker.address(self.run_id),
            elapsed_s=time.monotonic() - self.started_s,
            is_interrupted=is_interrupted,
            stop_reason=reason,
            front=self.advisor.pareto_front() if definition.objective.cost else (),
            table_address=self.tracker.table_address(self.run_id),
        )

    def _register_winner(self, outcomes: Sequence[Outcome]) -> Winner | None:
        self.listener.study_ending()
        patience = Patience(REGISTRY_PATIENCE_S, self.listener.notice)
        return register_winner(self.prepared, outcomes, self.tracker, self.run_id, patience)


def _summary(outcomes: Sequence[Outcome], winner: Winner | None) -> dict[str, float]:
    """The parent run's figures: trials by state, and what the winner reached."""
    counts = Counter(outcome.state for outcome in outcomes)
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    return {f"num_{state.lower()}": float(counts[state]) for state in states} | (winner.summary if winner else {})


def _answer(definition: StudyDefinition, outcomes: Sequence[Outcome], winner: Winner | None, stop_reason: str | None) -> str:
    """What stands at the head of the study's page in MLflow, in Markdown."""
    counts = Counter(outcome.state.value for outcome in outcomes)
    lines = [definition.question, ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))]
    if stop_reason is not None:
        lines.append(f"Stopped before all its trials: {stop_reason}.")
    if winner is not None:
        recipe = ", ".join(f"{key} = {value}" for key, value in winner.outcome.searched.items())
        lines += [
            f"**Best: trial {winner.outcome.number}, {definition.objective.key} {winner.outcome.value:.3f}** "
            f"(a model that looks at no photo: {winner.chance:.3f}). {recipe}",
            f"Its recipe's mean over folds and seeds is the best: {winner.recipe_mean:.3f} (n = {winner.num_repetitions})."
            if winner.is_repeated
            else "",
            f"Model: `{winner.model_uri}`, version {winner.model_version}.",
            "One search on one validation split: near neighbours on the leaderboard may differ by chance.",
        ]
    return "\n\n".join(line for line in lines if line)
