"""One or several studies compared: which factor mattered, by how much, how sure; what was confirmed; what to use."""

from collections.abc import Sequence
from itertools import chain

from study.analysis.altered_tests import altered_tests, answer_sentences, caution
from study.analysis.confirmed import confirmed_recipes, paired_comparisons, recommended_recipe
from study.analysis.depths import depth_agreements
from study.analysis.effects import factor_effects
from study.analysis.evidence import StudyEvidence, by_photos
from study.analysis.factors import BLOCKS
from study.analysis.findings import Comparison, ConfirmedRecipe
from study.analysis.interactions import interactions
from study.analysis.leaderboard import front_of, ranked_trials
from study.analysis.observations import observe
from study.analysis.sentences import Unit
from study.analysis.telling import SamePhotos, answer_of, method_of, warnings_of
from study.definition import Objective
from study.errors import DefinitionError
from study.search.importance import importances
from study.trial import TrialState


def compare(studies: Sequence[StudyEvidence]) -> Comparison:
    """What the studies show together: their trials are pooled, each study a block of its own.

    Raises:
        DefinitionError: if there is none, or they measure different objectives.
    """
    objective = _shared_objective(studies)
    unit = Unit(objective.metric, objective.is_maximized)
    observations = observe(studies)
    is_exploratory = any(study.definition.search.sampler.is_adaptive for study in studies)
    effects = factor_effects(observations, unit, _importance(studies), is_exploratory)
    found = interactions(observations, unit)
    confirmed = list(chain.from_iterable(confirmed_recipes(study) for study in studies))
    pairs = list(chain.from_iterable(paired_comparisons(study, unit) for study in studies))
    altered = list(chain.from_iterable(altered_tests(study, unit) for study in studies))
    groups = by_photos(studies)
    parts = [_same_photos(group, unit, is_only=len(groups) == 1) for group in groups]
    recommended = parts[0].recommended if len(parts) == 1 else None
    front = front_of(studies[0]) if len(studies) == 1 else []
    return Comparison(
        studies=[study.name for study in studies],
        objective=objective.key,
        is_maximized=objective.is_maximized,
        answer=[
            *answer_of(parts, effects, confirmed, pairs, front, unit),
            *([] if recommended is None else answer_sentences(altered, recommended.trial, recommended.study)),
        ],
        effects=effects,
        interactions=found,
        leaderboard=list(chain.from_iterable(part.leaderboard for part in parts)),
        confirmed=confirmed,
        pairs=pairs,
        recommended=None if recommended is None else recommended.trial,
        method=method_of(observations, studies, is_exploratory),
        warnings=[*warnings_of(observations, studies, confirmed), *caution(altered)],
        recommended_study="" if recommended is None else recommended.study,
        front=front,
        studies_by_photos=[[study.name for study in group] for group in groups],
        altered=altered,
        depths=list(chain.from_iterable(depth_agreements(study, unit) for study in studies)),
    )


def _shared_objective(studies: Sequence[StudyEvidence]) -> Objective:
    if not studies:
        raise DefinitionError("a comparison needs a study, but none was given. Name one: `study list` shows them.")
    first = studies[0].definition.objective
    for study in studies[1:]:
        if study.definition.objective.key != first.key:
            raise DefinitionError(
                f"studies must measure the same objective to be compared, but {studies[0].name!r} has {first.key} and "
                f"{study.name!r} has {study.definition.objective.key}. Compare them one by one."
            )
    return first


def _importance(studies: Sequence[StudyEvidence]) -> dict[str, float]:
    """Of each key, the mean over the studies that search it, weighted by their completed trials."""
    totals: dict[str, float] = {}
    weights: dict[str, int] = {}
    for study in studies:
        completed = [one for one in study.trials if one.state is TrialState.COMPLETE and one.repeats is None]
        values = [one.value for one in completed if one.value is not None]
        recipes = [one.searched for one in completed if one.value is not None]
        found = importances(study.definition.space, recipes, values, study.definition.objective.is_maximized)
        for key, share in found.items():
            totals[key] = totals.get(key, 0.0) + share * len(values)
            weights[key] = weights.get(key, 0) + len(values)
    return {key: total / weights[key] for key, total in totals.items() if key not in BLOCKS}


def _same_photos(studies: Sequence[StudyEvidence], unit: Unit, *, is_only: bool) -> SamePhotos:
    name = "" if is_only else " and ".join(study.name for study in studies)
    return SamePhotos(ranked_trials(studies), _recommended(studies, unit), name)


def _recommended(studies: Sequence[StudyEvidence], unit: Unit) -> ConfirmedRecipe | None:
    """Of one study its own; of several, which are on the same photos, that with the best mean on validation."""
    found = [recommended_recipe(confirmed_recipes(study), paired_comparisons(study, unit)) for study in studies]
    told = [one for one in found if one is not None and one.val is not None]
    best = max if unit.is_maximized else min
    return best(told, key=lambda one: one.val.value if one.val else 0.0) if told else None
