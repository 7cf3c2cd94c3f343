"""What a search finds, in simulated time, and how much sooner than random search.

    python -m tests.benchmarks.bench_search quality     # samplers and pruners against random search
    python -m tests.benchmarks.bench_search memory      # does recalling a part of the study find less?

On six made-up tasks of twelve keys; `--table FILE` takes recorded curves instead, smoothed (tests/benchmarks/record_curves.py).
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from study.definition import StudyDefinition, parse_definition
from study.search import advisor as advisor_module
from study.search.simulator.curves import Curves, CurveTable
from study.search.simulator.simulation import SimulatedStudy, Workers, simulate
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.record_curves import head_definition
from tests.benchmarks.smooth_curves import SmoothedCurves
from tests.synthetic_curves import SyntheticCurves

EPOCHS = 12
ENDLESS = "[search]\ntrials = 1000000\n"
SPACE = """
[space]
backbone = { choices = ["alexnet", "vgg16", "resnet18"] }
head = { choices = ["replace", "append"] }
normalization = { choices = ["imagenet", "global", "local"] }
imbalance = { choices = ["none", "weighted_loss", "balanced_subset", "weighted_sampling"] }
freeze_depth = { choices = [0.0, 0.5, 1.0] }
"optimizer.name" = { choices = ["adam", "sgd"] }
"optimizer.lr" = { low = 1e-5, high = 1e-1, log = true }
"optimizer.backbone_lr_ratio" = { low = 1e-3, high = 1.0, log = true, when = { freeze_depth = [0.0, 0.5] } }
"optimizer.momentum" = { low = 0.8, high = 0.99, when = { "optimizer.name" = ["sgd"] } }
"optimizer.weight_decay" = { low = 1e-6, high = 1e-2, log = true }
dropout = { low = 0.0, high = 0.7 }
batch_size = { low = 16, high = 128, step = 16 }
"""


MakeDefinition = Callable[[str], StudyDefinition]
Statistic = Callable[..., Any]
START_S = 1.0  # of a trial, where an epoch takes 1 s: a warm actor's share
NUM_STUDIES = 30
NUM_BOOTSTRAPS = 2000
RANDOM_TRIALS = (50, 100, 200, 400, 800)  # budgets of random search that the others are compared with, in full trials
MAX_TRIALS = 100  # budget of the others
JOINT = 'sampler = { name = "tpe", multivariate = true }\n'  # Optuna's own default; ours is by key


def halving(factor: int, first: int) -> str:
    """Successive halving that keeps one of `factor` trials from epoch `first` on."""
    return f'pruner = {{ name = "successive_halving", reduction_factor = {factor}, min_resource = {first} }}'


def percentile(kept: float, first: int) -> str:
    """Stops a trial that is not among the best `kept` percent, from epoch `first` on."""
    return f'pruner = {{ name = "percentile", percentile = {kept}, n_warmup_steps = {first} }}'


CONTENDERS = {
    "random, no pruner": 'sampler = "random"\npruner = "none"',
    "random, median from 1": f'sampler = "random"\n{percentile(50.0, 0)}',
    "random, hyperband": 'sampler = "random"\npruner = "hyperband"',
    "by default": "",
    "by default, no baseline": "baseline = false",
    "by key, no pruner": 'pruner = "none"',
    "by key, median from 1": percentile(50.0, 0),
    "by key, median from 4": percentile(50.0, 4),
    "by key, 3 of 4 from 6": percentile(75.0, 6),
    "by key, hyperband": 'pruner = "hyperband"',
    "by key, hyperband from 4": 'pruner = { name = "hyperband", min_resource = 4 }',
    "by key, halving by 2": halving(2, 1),
    "by key, halving by 2 from 4": halving(2, 4),
    "by key from 5": 'sampler = { name = "tpe", n_startup_trials = 5 }',
    "by key from 20": 'sampler = { name = "tpe", n_startup_trials = 20 }',
    "by key of 8": 'sampler = { name = "tpe", n_ei_candidates = 8 }',
    "by key of 100": 'sampler = { name = "tpe", n_ei_candidates = 100 }',
    "joint, no pruner": f'{JOINT}pruner = "none"',
    "joint, median from 1": JOINT + percentile(50.0, 0),
    "joint, median from 2": JOINT + percentile(50.0, 2),
    "joint, median from 6": JOINT + percentile(50.0, 6),
    "joint, 3 of 4 from 2": JOINT + percentile(75.0, 2),
    "joint, 3 of 4 from 6": JOINT + percentile(75.0, 6),
    "joint, 1 of 4 from 2": JOINT + percentile(25.0, 2),
    "joint, hyperband": f'{JOINT}pruner = "hyperband"',
    "joint, hyperband from 2": f'{JOINT}pruner = {{ name = "hyperband", min_resource = 2 }}',
    "joint, hyperband from 4": f'{JOINT}pruner = {{ name = "hyperband", min_resource = 4 }}',
    "joint, halving": JOINT + halving(4, 1),
    "joint, halving by 2": JOINT + halving(2, 1),
    "by group, median from 1": 'sampler = { name = "tpe", group = true }\n' + percentile(50.0, 0),
    "GP": 'sampler = "gp"',
    "GP, no pruner": 'sampler = "gp"\npruner = "none"',
    "CMA-ES, no pruner": 'sampler = "cmaes"\npruner = "none"',
    "CMA-ES, median from 1": 'sampler = "cmaes"\n' + percentile(50.0, 0),
    "QMC, median from 1": 'sampler = "qmc"\n' + percentile(50.0, 0),
}


def make_definition(search: str = "") -> StudyDefinition:
    """A study of the usual twelve keys, two of them conditional."""
    head = f'name = "bench"\ndata.generated = "instruments"\ntrial.epochs = {EPOCHS}\n'
    return parse_definition(f"{head}{SPACE}\n{search}", Path("/bench/bench.toml"))


@dataclass(frozen=True)
class Landscape:
    """What is searched: a space, and the curves of each study."""

    make_definition: MakeDefinition
    curves: Sequence[Curves]
    epochs: int

    def studies(self, search: str, num_full_trials: float, num_workers: int = 4) -> list[SimulatedStudy]:
        """Studies of different seeds, the landscape's curves in turn."""
        definition = self.make_definition(f"{ENDLESS}{search}\n")
        budget_s = self.work_of(num_full_trials)
        return [
            simulate(definition, self.curves[seed % len(self.curves)], Workers(num_workers, START_S), seed, budget_s)
            for seed in range(NUM_STUDIES)
        ]

    def work_of(self, num_full_trials: float) -> float:
        """Seconds of so many trials that nobody stops."""
        return num_full_trials * (START_S + self.epochs)

    def regrets(self, studies: Sequence[SimulatedStudy], num_full_trials: float) -> np.ndarray:
        """Of each study, once so much work was done."""
        return np.array([study.regret_after(self.work_of(num_full_trials)) for study in studies])

    def paths(self, studies: Sequence[SimulatedStudy]) -> np.ndarray:
        """Regrets after the work of 1, 2, ... MAX_TRIALS full trials, float [MAX_TRIALS, num_studies]."""
        return np.array([self.regrets(studies, num) for num in range(1, MAX_TRIALS + 1)])


def made_up() -> Landscape:
    """Six tasks whose optima are known."""
    space = make_definition().space
    return Landscape(make_definition, [SyntheticCurves(space, EPOCHS, seed) for seed in range(1, 7)], EPOCHS)


def recorded(file: Path) -> Landscape:
    """Recorded curves, smoothed; an epoch of each recipe counts the same, as the machine that recorded them was shared."""
    space = head_definition().space
    table = CurveTable.load(file, space)
    curves = SmoothedCurves(table, space)
    print(f"{len(table.recipes)} recipes of {file.name}, smoothed; R² on recipes left out {curves.explained():.2f}")
    return Landscape(lambda search: head_definition(search=search), [curves], table.curves.shape[2])


def median(values: np.ndarray) -> float:
    """As a plain number."""
    return float(np.median(values))


def mean(values: np.ndarray) -> float:
    """As a plain number."""
    return float(np.mean(values))


def interval(values: np.ndarray, statistic: Callable[[np.ndarray], float]) -> tuple[float, float]:
    """Bootstrap interval, 95 %."""
    rng = np.random.default_rng(0)
    draws = [statistic(values[rng.integers(len(values), size=len(values))]) for _ in range(NUM_BOOTSTRAPS)]
    return float(np.percentile(draws, 2.5)), float(np.percentile(draws, 97.5))


def times_sooner(paths: np.ndarray, target: float, num_random: int, statistic: Statistic) -> float:
    """Random search's budget over the smallest after which the statistic is the target or less; 0 if it never is."""
    reached = np.flatnonzero(statistic(paths, axis=1) <= target)
    return num_random / (reached[0] + 1) if len(reached) else 0.0


def sooner(paths: np.ndarray, reference: np.ndarray, num_random: int) -> str:
    """By the median, with its bootstrap interval over both sides' studies, and by the mean."""
    rng, draws = np.random.default_rng(0), []
    for _ in range(NUM_BOOTSTRAPS // 4):
        drawn, drawn_reference = (
            rng.integers(paths.shape[1], size=paths.shape[1]),
            rng.integers(len(reference), size=len(reference)),
        )
        draws.append(times_sooner(paths[:, drawn], median(reference[drawn_reference]), num_random, np.median))
    low, high = np.percentile(draws, [2.5, 97.5])
    by_median, by_mean = (
        times_sooner(paths, float(statistic(reference)), num_random, statistic) for statistic in (np.median, np.mean)
    )
    return f"{by_median:4.1f} [{low:.1f}, {high:.1f}], {by_mean:4.1f}"


def bench_quality(landscape: Landscape, names: Sequence[str]) -> None:
    """The table of regrets, and how much sooner each contender is where random search ends."""
    random = landscape.studies(CONTENDERS["random, no pruner"], RANDOM_TRIALS[-1])
    references = {num: landscape.regrets(random, num) for num in RANDOM_TRIALS}
    for num, reference in references.items():
        print(f"random search, {num} full trials: {summary(reference)}")
    print(
        f"regret after the work of {MAX_TRIALS} full trials, {NUM_STUDIES} studies; trials a study; how many times sooner than"
    )
    print(f"random search where that ends with {RANDOM_TRIALS} full trials: by the median [95 %], by the mean; 0: not at all")
    for name in names:
        studies = landscape.studies(CONTENDERS[name], MAX_TRIALS)
        final, paths = landscape.regrets(studies, MAX_TRIALS), landscape.paths(studies)
        factors = " | ".join(sooner(paths, reference, num) for num, reference in references.items())
        num_trials = np.median([len(study.outcomes) for study in studies])
        print(f"{name:28s} | {summary(final)} | {num_trials:.0f} | {factors}", flush=True)


def summary(values: np.ndarray) -> str:
    """Median and mean with their intervals."""
    (low, high), (mean_low, mean_high) = interval(values, median), interval(values, mean)
    return f"median {median(values):.4f} [{low:.4f}, {high:.4f}], mean {mean(values):.4f} [{mean_low:.4f}, {mean_high:.4f}]"


def bench_memory(landscape: Landscape, num_full_trials: int = 600) -> None:
    """The same studies with the sampler shown all trials, and a part of them; until 300 trials both see all."""
    search = CONTENDERS["by key, no pruner"]
    part = landscape.studies(search, num_full_trials)
    with patch.dict(advisor_module.SAMPLER_MEMORY, clear=True):
        whole = landscape.studies(search, num_full_trials)
    for name, studies in (("recalling a part", part), ("recalling all", whole)):
        final = landscape.regrets(studies, num_full_trials)
        print(f"{name:18s} {summary(final)}, {np.median([len(study.outcomes) for study in studies]):.0f} trials")
    difference = landscape.regrets(part, num_full_trials) - landscape.regrets(whole, num_full_trials)
    print(f"part less all, study by study: {summary(difference)}")


def main() -> None:
    """Parses the command line and runs one benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["quality", "memory"])
    parser.add_argument("--table", type=Path, help="recorded curves")
    parser.add_argument("--only", nargs="*", default=list(CONTENDERS), help="contenders")
    options = parser.parse_args()
    print(describe_machine())
    landscape = recorded(options.table) if options.table else made_up()
    if options.part == "quality":
        bench_quality(landscape, options.only)
    else:
        bench_memory(landscape)


if __name__ == "__main__":
    main()
