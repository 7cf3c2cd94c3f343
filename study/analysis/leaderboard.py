"""Trials ranked, and the front of two objectives."""

from collections.abc import Sequence

from study.analysis.evidence import StudyEvidence, TrialEvidence, by_photos
from study.analysis.findings import RankedTrial
from study.definition import Objective
from study.search.front import Front
from study.trial import TrialState

RANKS = (TrialState.COMPLETE, TrialState.PRUNED)  # a pruned trial's last value is no final one: behind every completed trial


def ranked_trials(studies: Sequence[StudyEvidence]) -> list[RankedTrial]:
    """Completed trials, best first; then those over a limit, pruned ones and failed ones. Each photos' by themselves."""
    keyed = [
        ((place, *_rank(trial, study.definition.objective)), as_ranked(trial, study.definition.objective))
        for place, group in enumerate(by_photos(studies))
        for study in group
        for trial in study.trials
    ]
    return [ranked for _, ranked in sorted(keyed, key=lambda entry: entry[0])]


def front_of(study: StudyEvidence) -> list[RankedTrial]:
    """The feasible completed trials that no other beats in objective and cost, the best objective first; else none."""
    objective = study.definition.objective
    if objective.cost is None:
        return []
    front, sign = Front[TrialEvidence](), -1 if objective.is_maximized else 1
    for trial in study.trials:
        if is_answer(trial, objective) and trial.value is not None and objective.cost in trial.costs:
            front.add((sign * trial.value, trial.costs[objective.cost]), trial)
    return [as_ranked(trial, objective) for trial in sorted(front.items, key=lambda trial: sign * (trial.value or 0.0))]


def is_answer(trial: TrialEvidence, objective: Objective) -> bool:
    """Whether a trial may be the answer: it has all its epochs and keeps every limit."""
    kept = all(limit.violation(trial.costs.get(limit.quantity, limit.bound)) <= 0 for limit in objective.limits)
    return trial.state is TrialState.COMPLETE and trial.value is not None and kept


def as_ranked(trial: TrialEvidence, objective: Objective) -> RankedTrial:
    """A trial as a line of the leaderboard."""
    return RankedTrial(
        study=trial.study,
        number=trial.number,
        run_id=trial.run_id,
        state=trial.state.value,
        value=trial.value,
        num_epochs=len(trial.curve),
        searched=trial.searched,
        is_answer=is_answer(trial, objective),
        cost={**trial.costs, **({} if trial.seconds is None else {"seconds": trial.seconds})},
    )


def _rank(trial: TrialEvidence, objective: Objective) -> tuple[int, float, str, int]:
    sign = -1 if objective.is_maximized else 1
    place = 0 if is_answer(trial, objective) else 1 + RANKS.index(trial.state) if trial.state in RANKS else 3
    return place, sign * (trial.value or 0.0), trial.study, trial.number
