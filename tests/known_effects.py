"""Learning curves whose factors have known effects: what an analysis of effects is held against."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from optuna.storages import InMemoryStorage

from study.analysis.evidence import StudyEvidence, TrialEvidence
from study.definition import StudyDefinition, parse_definition
from study.search.simulator.curves import Recorded, quality
from study.search.simulator.simulation import Workers, simulate
from study.search.stored_trials import read_stored_study

EPOCHS = 12
CHOICES: Mapping[str, Sequence[str]] = {
    "head": ("replace", "append"),
    "imbalance": ("none", "weighted_loss", "balanced_subset", "weighted_sampling"),
    "normalization": ("imagenet", "global", "local"),
}
RATE = "optimizer.lr"
RATES = (1e-5, 1e-1)
NUM_RATE_THIRDS = 3
DRAWS = 20_000  # of the truth: its own error is then a tenth of an interval's half width, or less
GRID_SEEDS = 2

DESIGNS = {
    "grid": 'sampler = "grid"\npruner = "none"',
    "grid + median": 'sampler = "grid"\npruner = { name = "median", n_warmup_steps = 2 }',
    "random": 'sampler = "random"\npruner = "none"',
    "random + median": 'sampler = "random"\npruner = { name = "median", n_warmup_steps = 2 }',
    "random + hyperband": 'sampler = "random"\npruner = { name = "hyperband", min_resource = 2 }',
    "tpe": 'sampler = "tpe"\npruner = "none"',
    "tpe + hyperband": 'sampler = "tpe"\npruner = { name = "hyperband", min_resource = 2 }',
}


def definition_of(design: str, trials: int, name: str = "known") -> StudyDefinition:
    """A study of the made-up recipes; a grid has seeds in the place of learning rates."""
    is_grid = design.startswith("grid")
    last = f"seed = {{ choices = {list(range(GRID_SEEDS))} }}" if is_grid else ""
    last = last or f'"{RATE}" = {{ low = {RATES[0]}, high = {RATES[1]}, log = true }}'
    choices = "\n".join(f"{key} = {{ choices = {list(levels)} }}" for key, levels in CHOICES.items())
    number = "" if is_grid else f"trials = {trials}"
    text = f"""
name = "{name}"
data.generated = "instruments"
trial.epochs = {EPOCHS}
[space]
{choices}
{last}
[search]
{number}
{DESIGNS[design]}
"""
    return parse_definition(text, Path("/somewhere/known.toml"))


class KnownEffects:
    """One made-up task. Each level has a height and a pace; two factors interact; noise differs between levels.

    A curve rises from 0.1 towards the recipe's height, exponentially; seeds move its height, epochs add noise of their own.
    """

    best_quality = 1.0

    def __init__(self, seed: int, noise: float = 0.012, interaction: float = 0.01) -> None:
        """Args:
        noise: standard deviation between seeds, of which levels have 0.6 to 1.6 times as much; half of it between epochs.
        interaction: standard deviation of what a pair of levels adds beside its two levels.
        """
        self._rng = np.random.default_rng(seed)
        rng = np.random.default_rng([seed, 1])
        # A third of the levels is like the first of its factor: differences of exactly 0 before interactions.
        self._heights = {
            key: rng.normal(0, 0.02, len(levels)) * (rng.random(len(levels)) > 1 / 3) for key, levels in CHOICES.items()
        }
        self._paces = {key: rng.normal(0, 0.15, len(levels)) for key, levels in CHOICES.items()}
        self._noises = {key: np.exp(rng.normal(0, 0.25, len(levels))) for key, levels in CHOICES.items()}
        self._pairs = {
            pair: rng.normal(0, interaction, (len(CHOICES[pair[0]]), len(CHOICES[pair[1]])))
            for pair in (("head", "imbalance"), ("head", "normalization"), ("imbalance", "normalization"))
        }
        self._optimum, self._width = rng.uniform(0.3, 0.7), rng.uniform(0.1, 0.4)
        self._optimum_by_head = rng.normal(0, 0.1, len(CHOICES["head"]))
        self._noise = noise

    def of(self, searched: Mapping[str, Any]) -> Recorded:
        """A fresh curve of the recipe: no seed is used twice."""
        codes = {key: np.array([levels.index(searched[key])]) for key, levels in CHOICES.items()}
        curves = self.curves(codes, np.array([_share(searched.get(RATE))]), self._rng)
        return Recorded(curves, quality(curves), 1.0, {"parameters_m": 11.0})

    def curves(self, codes: Mapping[str, np.ndarray], rates: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Accuracy after each epoch, float [num_recipes, EPOCHS].

        Args:
            codes: levels, each int [num_recipes]; rates: places in the range of learning rates, 0 to 1, float [num_recipes].
        """
        height = 0.75 + sum(self._heights[key][code] for key, code in codes.items())
        height = height + sum(table[codes[one], codes[other]] for (one, other), table in self._pairs.items())
        offset = rates - self._optimum - self._optimum_by_head[codes["head"]]
        height = height - self._width * offset**2
        pace = 2.0 * np.exp(sum(self._paces[key][code] for key, code in codes.items()) - 0.8 * offset)
        scale = self._noise * np.prod([self._noises[key][code] for key, code in codes.items()], axis=0)
        height = height + scale * rng.standard_normal(len(rates))
        rise = 1 - np.exp(-np.arange(1, EPOCHS + 1) / pace[:, None])
        noise = 0.5 * scale[:, None] * rng.standard_normal((len(rates), EPOCHS))
        curves: np.ndarray = 0.1 + (height[:, None] - 0.1) * rise + noise
        return curves

    def truth(self, is_grid: bool, seed: int = 0) -> dict[str, np.ndarray]:
        """The mean of the best epoch at each level, all others being spread evenly: float [num_levels] by factor."""
        rng = np.random.default_rng([seed, 2])
        cells = np.array(list(product(*(range(len(levels)) for levels in CHOICES.values()))))
        cells = np.tile(cells, (DRAWS // len(cells) + 1, 1))
        codes = dict(zip(CHOICES, cells.T, strict=True))
        rates = np.full(len(cells), _share(None)) if is_grid else rng.permutation((np.arange(len(cells)) + 0.5) / len(cells))
        best = self.curves(codes, rates, rng).max(axis=1)
        found = {key: np.array([best[code == level].mean() for level in range(code.max() + 1)]) for key, code in codes.items()}
        if not is_grid:
            thirds = (rates * NUM_RATE_THIRDS).astype(int)
            found[RATE] = np.array([best[thirds == third].mean() for third in range(NUM_RATE_THIRDS)])
        return found


def simulated_study(world: KnownEffects, design: str, trials: int, seed: int) -> StudyEvidence:
    """A study over the made-up task by the real advisor, sampler and pruner, as `read_study` would give it."""
    definition, storage = definition_of(design, trials), InMemoryStorage()
    simulate(definition, world, Workers(num=1), seed, storage=storage)
    name = f"{definition.name}-{seed}"
    first: dict[str, int] = {}
    trials_found = []
    for one in read_stored_study(name, storage).trials:
        earlier = first.setdefault(repr(one.searched), one.number)
        trials_found.append(
            TrialEvidence(
                study=definition.name,
                number=one.number,
                state=one.state,
                run_id=None,
                recipe={**definition.fixed_values, **one.searched},
                searched=one.searched,
                value=one.value,
                curve=one.curve,
                costs=one.costs,
                seconds=one.seconds,
                repeats=earlier if not one.curve and earlier != one.number else None,
            )
        )
    return StudyEvidence(definition.name, "run", definition, tuple(trials_found))


def _share(rate: float | None) -> float:
    """Where a learning rate lies in its range; the middle where none is searched."""
    if rate is None:
        return 0.5
    return float(np.log(rate / RATES[0]) / np.log(RATES[1] / RATES[0]))
