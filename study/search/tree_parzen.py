"""Optuna's TPE, which looks through the study once a trial and not once a key.

By key (`multivariate = false`), Optuna's own sorts all trials into good and bad anew for every key:
twelve keys took 14.9 ms a trial at a memory of 300 trials. The order is the same for all keys: sorted once, 9.3 ms.
"""

from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe.sampler import _split_trials, default_gamma, default_gamma_multiobjective
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

Params = dict[str, Any]


class TreeParzenSampler(TPESampler):
    """Proposes exactly what Optuna's does (tests/unit/search/test_tree_parzen.py), sooner."""

    _split: tuple[list[FrozenTrial], list[FrozenTrial]] | None = None

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """What was sorted for the trial before is old. Samplers that leave some keys to this one pass the call on."""
        self._split = None
        super().before_trial(study, trial)

    def _sample(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> Params:
        """As Optuna's, with the trials sorted once."""
        if self._split is None:
            self._split = self._sorted_trials(study, trial)
        below, above = (
            self._build_parzen_estimator(study, search_space, trials, handle_below=is_below)
            for trials, is_below in zip(self._split, (True, False), strict=True)
        )
        samples = below.sample(self._rng.rng, self._n_ei_candidates)
        chosen = self._compare(samples, self._compute_acquisition_func(samples, below, above))
        return {key: distribution.to_external_repr(chosen[key]) for key, distribution in search_space.items()}

    def _sorted_trials(self, study: Study, trial: FrozenTrial) -> tuple[list[FrozenTrial], list[FrozenTrial]]:
        """The good trials and the bad ones; those that run count among the bad, so that nobody proposes their like."""
        states = [TrialState.COMPLETE, TrialState.PRUNED] + [TrialState.RUNNING] * self._constant_liar
        others = [one for one in study._get_trials(deepcopy=False, states=states) if one.number != trial.number]
        num_ended = sum(one.state is not TrialState.RUNNING for one in others)
        gamma = default_gamma if len(study.directions) == 1 else default_gamma_multiobjective
        return _split_trials(study, others, (self._gamma or gamma)(num_ended))

    def _get_internal_repr(
        self, trials: list[FrozenTrial], search_space: dict[str, BaseDistribution], study: Study
    ) -> dict[str, np.ndarray]:
        """As Optuna's: the values of those trials that have every key."""
        recipes = [self._get_params(trial, study) for trial in trials]
        recipes = [recipe for recipe in recipes if all(key in recipe for key in search_space)]
        return {
            key: np.asarray([distribution.to_internal_repr(recipe[key]) for recipe in recipes])
            for key, distribution in search_space.items()
        }
