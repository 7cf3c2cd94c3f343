"""Trials ranked, and the front of two objectives."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from study.analysis.evidence import StudyEvidence, TrialEvidence, by_photos
from study.analysis.findings import RankedTrial
from study.definition import Objective
from study.search.front import Front
from study.search.ranking import RankedRecipe, rank_recipes, spare_rounds_of
from study.trial import TrialState

RANKS = (TrialState.COMPLETE, TrialState.PRUNED)  # a pruned trial's last value is no final one: behind every completed trial


def ranked_trials(studies: Sequence[StudyEvidence]) -> list[RankedTrial]:
    """Completed trials, those of the best recipe first; then those over a limit, pruned and failed ones. Each photos' apart.

    Where folds or seeds are searched, a recipe's place is that of its mean over them (study/search/ranking.py).
    """
    return [trial for group in by_photos(studies) for trial in [*_answers(group), *_others(group)]]


def _answers(studies: Sequence[StudyEvidence]) -> Iterator[RankedTrial]:
    """The best recipe's trials, the best first; then the next recipe's."""
    recipes = [(study.definition.objective, recipe) for study in studies for recipe in ranked_recipes(study)]
    for objective, recipe in sorted(recipes, key=lambda entry: _recipe_rank(*entry)):
        for trial in recipe.trials:
            ranked = as_ranked(trial, objective)
            yield replace(ranked, recipe_mean=recipe.mean, num_repetitions=recipe.num_repetitions)


def ranked_recipes(study: StudyEvidence) -> list[RankedRecipe[TrialEvidence]]:
    """The recipes of a study's search that may be the answer, the best first."""
    objective = study.definition.objective
    return rank_recipes(
        study.trials,
        lambda trial: is_answer(trial, objective),
        is_maximized=objective.is_maximized,
        spare_rounds=spare_rounds_of(study.definition),
    )


def _recipe_rank(objective: Objective, recipe: RankedRecipe[TrialEvidence]) -> tuple[bool, float, str, int]:
    sign, first = -1 if objective.is_maximized else 1, recipe.trials[0]
    return not recipe.is_compared, sign * recipe.mean, first.study, min(trial.number for trial in recipe.trials)


def _others(studies: Sequence[StudyEvidence]) -> list[RankedTrial]:
    """What is no answer: over a limit, pruned, failed."""
    keyed = [
        (_rank(trial, study.definition.objective), as_ranked(trial, study.definition.objective))
        for study in studies
        for trial in study.trials
        if not is_answer(trial, study.definition.objective)
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
    place = RANKS.index(trial.state) if trial.state in RANKS else len(RANKS)
    return place, sign * (trial.value or 0.0), trial.study, trial.number
