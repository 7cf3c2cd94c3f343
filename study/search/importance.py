"""Which searched keys the best trials depend on: Optuna's PED-ANOVA."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from study.search.samplers import optuna_distribution
from study.space import SearchSpace

MIN_TRIALS = 10  # the best tenth, against which PED-ANOVA holds all others, is then one trial


def importances(
    space: SearchSpace, recipes: Sequence[Mapping[str, Any]], values: Sequence[float], is_maximized: bool
) -> dict[str, float]:
    """Share of each searched key in telling the best tenth of the trials from all, in [0, 1], together 1; empty where unknown.

    Args:
        recipes: searched values of completed trials, keys whose condition does not hold left out.
        values: their objectives.
    Source: Watanabe et al. 2023, "PED-ANOVA" (arXiv 2304.10255), as optuna.importance has it.
    """
    if len(values) < MIN_TRIALS or len(set(values)) < 2:
        return {}
    distributions = {key: optuna_distribution(parameter) for key, parameter in space.items()}
    direction = StudyDirection.MAXIMIZE if is_maximized else StudyDirection.MINIMIZE
    study = optuna.create_study(direction=direction)
    study.add_trials([_trial(recipe, value, distributions) for recipe, value in zip(recipes, values, strict=True)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        found = optuna.importance.get_param_importances(study)
    return {key: float(share) for key, share in found.items()}


def _trial(recipe: Mapping[str, Any], value: float, distributions: Mapping[str, BaseDistribution]) -> optuna.trial.FrozenTrial:
    own = {key: distributions[key] for key in recipe if key in distributions}
    return create_trial(state=TrialState.COMPLETE, value=value, params={key: recipe[key] for key in own}, distributions=own)
