"""What the advisor hands out and takes back: a proposal, and how a trial ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from study.definition import Objective
from study.search.front import Front
from study.trial import TrialConfig, TrialState


@dataclass(frozen=True)
class Proposal:
    """A trial to run.

    Attributes:
        number: the trial's number in Optuna and everywhere else, from 0.
        config: the whole recipe, seed included.
        searched: the values that the sampler chose, by dotted key.
        run_id: the MLflow run of an interrupted trial that goes on; None for a new one.
        repeats: number of a completed trial with the same searched values, whose result is to be told instead of training
            again; None for a recipe that is new.
    """

    number: int
    config: TrialConfig
    searched: Mapping[str, Any]
    run_id: str | None
    repeats: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        value: the objective: the best epoch's for COMPLETE, the last epoch's for PRUNED, None for FAIL.
        num_epochs: epochs that were measured.
        costs: quantities of the model that were told, as `parameters_m`.
        is_feasible: whether it keeps every constraint, as far as its quantities are known.
    """

    number: int
    state: TrialState
    config: TrialConfig
    searched: Mapping[str, Any]
    value: float | None
    num_epochs: int
    run_id: str | None
    costs: Mapping[str, float] = field(default_factory=dict)
    is_feasible: bool = True


@dataclass(frozen=True)
class Standing:
    """How a trial stands in Optuna's storage, ended or not.

    Attributes:
        state: INTERRUPTED for one that waits to be asked for again.
        run_id: of its MLflow run; None where none was attached.
    """

    number: int
    state: TrialState
    run_id: str | None


def is_candidate(outcome: Outcome) -> bool:
    """Whether a trial may be the answer: it has all its epochs and keeps every constraint."""
    return outcome.state is TrialState.COMPLETE and outcome.value is not None and outcome.is_feasible


def losses_of(outcome: Outcome, objective: Objective) -> tuple[float, ...]:
    """A candidate's objectives, each better lower."""
    assert outcome.value is not None, "a candidate has a value"
    loss = -outcome.value if objective.is_maximized else outcome.value
    return (loss,) if objective.cost is None else (loss, outcome.costs[objective.cost])


def pareto_front(outcomes: Sequence[Outcome], objective: Objective) -> list[Outcome]:
    """The candidates that no other beats in both objectives, the best objective first; with one, the best alone."""
    front = Front[Outcome]()
    for outcome in outcomes:
        if is_candidate(outcome):
            front.add(losses_of(outcome, objective), outcome)
    return sorted(front.items, key=lambda outcome: losses_of(outcome, objective))
