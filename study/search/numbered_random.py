"""Random search whose proposals depend on the seed, the trial's number and the key alone, not on what was asked before."""

from collections.abc import Mapping
from typing import Any
from zlib import crc32

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial


class NumberedRandomSampler(BaseSampler):
    """Trial 17 gets the same recipe whether its driver ran trials 0 to 16 or took the study up after them.

    Optuna's own `RandomSampler` draws from one stream: a driver that is killed and resumed asks for other recipes than one
    that was left alone.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._seed = seed or 0

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """None: each key is drawn by itself."""
        return {}

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]) -> dict[str, Any]:
        """None."""
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The value of one key, as Optuna's random sampler draws it."""
        words = [self._seed, trial.number, crc32(param_name.encode())]
        drawn = RandomSampler(seed=int(np.random.SeedSequence(words).generate_state(1)[0]))
        return drawn.sample_independent(study, trial, param_name, param_distribution)
