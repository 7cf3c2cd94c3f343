"""How the end of a trial stands in Optuna's storage, both ways: written from what a worker tells, read back as its outcome."""

from collections.abc import Mapping

from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from study.definition import Objective
from study.errors import SearchError
from study.search.outcomes import Outcome
from study.trial import TrialConfig, TrialState

OPTUNA_STATES = {
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.PRUNED: OptunaState.PRUNED,
    TrialState.FAIL: OptunaState.FAIL,
}
ENDED = {optuna_state: state for state, optuna_state in OPTUNA_STATES.items()}
TOLD = "told"  # the note on a trial of what it cost


def require_quantities(costs: Mapping[str, float], objective: Objective, number: int) -> None:
    """Holds what a completed trial comes with against what its objective asks for.

    Raises:
        SearchError: if a quantity is missing.
    """
    missing = sorted(objective.quantities - costs.keys())
    if missing:
        raise SearchError(
            f"a completed trial must come with the quantities of `objective.cost` and `objective.constraints`, but trial "
            f"{number} came without {missing[0]}. This is a fault of the platform: please report it."
        )


def values_of(state: TrialState, value: float | None, costs: Mapping[str, float], objective: Objective) -> list[float] | None:
    """What Optuna is told a trial came to: of a completed one the objective, and the cost where that is minimised beside it."""
    if state is not TrialState.COMPLETE:
        return None
    assert value is not None, "a completed trial has a value"
    return [value] if objective.cost is None else [value, costs[objective.cost]]


def seconds_told(trial: FrozenTrial) -> float:
    """Of work on it so far."""
    return float(trial.user_attrs.get(TOLD, {}).get("seconds", 0.0))


def elapsed_told(trial: FrozenTrial) -> float:
    """Seconds for which the study had run when the trial ended; 0 where nobody noted it."""
    return float(trial.user_attrs.get(TOLD, {}).get("elapsed_s", 0.0))


def outcome_of(trial: FrozenTrial, config: TrialConfig) -> Outcome:
    """How a trial that ended did.

    Args:
        config: its whole recipe.
    """
    values = trial.values
    return Outcome(
        number=trial.number,
        state=ENDED[trial.state],
        config=config,
        searched=trial.params,
        value=values[0] if values else None,
        num_epochs=len(trial.intermediate_values),
        run_id=trial.user_attrs.get("run_id"),
        costs=trial.user_attrs.get(TOLD, {}).get("costs", {}),
        is_feasible=all(excess <= 0 for excess in trial.constraints.values()),
    )
