"""What a search finds, in simulated time, and how much sooner than random search.

    python -m tests.benchmarks.bench_search quality     # samplers and pruners against random search
    python -m tests.benchmarks.bench_search memory      # does recalling a part of the study find less?

On six made-up tasks of twelve keys; `--table FILE` takes recorded curves instead (tests/benchmarks/record_curves.py).
"""

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np

from study.definition import StudyDefinition, parse_definition
from study.search import advisor as advisor_module
from study.search.simulator.curves import Curves, CurveTable
from study.search.simulator.simulation import SimulatedStudy, Workers, simulate
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.record_curves import head_definition
from tests.synthetic_curves import SyntheticCurves

EPOCHS = 12
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
START_S = 1.0  # of a trial, where an epoch takes 1 s: a warm actor's share
NUM_STUDIES = 30
NUM_BOOTSTRAPS = 2000
RANDOM_TRIALS = (50, 100, 200, 400, 800)  # budgets of random search that the others are compared with, in full trials
MAX_TRIALS = 100  # budget of the others
CONTENDERS = {
    "random, no pruner": 'sampler = "random"\npruner = "none"',
    "random, median": 'sampler = "random"\npruner = "median"',
    "random, hyperband": 'sampler = "random"\npruner = "hyperband"',
    "TPE, no pruner": 'sampler = "tpe"\npruner = "none"',
    "TPE, median": 'sampler = "tpe"\npruner = "median"',
    "TPE, median from epoch 2": 'sampler = "tpe"\npruner = { name = "median", n_warmup_steps = 2 }',
    "TPE, hyperband": 'sampler = "tpe"\npruner = "hyperband"',
    "TPE, hyperband from epoch 2": 'sampler = "tpe"\npruner = { name = "hyperband", min_resource = 2 }',
    "TPE, halving": 'sampler = "tpe"\npruner = "successive_halving"',
    "TPE, halving by 2": 'sampler = "tpe"\npruner = { name = "successive_halving", reduction_factor = 2 }',
    "TPE, halving from epoch 2": 'sampler = "tpe"\npruner = { name = "successive_halving", min_resource = 2 }',
    "TPE, worst quarter": 'sampler = "tpe"\npruner = { name = "percentile", percentile = 75.0, n_warmup_steps = 2 }',
    "TPE, worst three quarters": 'sampler = "tpe"\npruner = { name = "percentile", percentile = 25.0, n_warmup_steps = 2 }',
    "TPE by key, median": 'sampler = { name = "tpe", multivariate = false }\npruner = "median"',
    "TPE by key, hyperband": 'sampler = { name = "tpe", multivariate = false }\npruner = "hyperband"',
    "TPE by group, median": 'sampler = { name = "tpe", group = true }\npruner = "median"',
    "TPE from 5, median": 'sampler = { name = "tpe", n_startup_trials = 5 }\npruner = "median"',
    "TPE from 20, median": 'sampler = { name = "tpe", n_startup_trials = 20 }\npruner = "median"',
    "TPE of 100, median": 'sampler = { name = "tpe", n_ei_candidates = 100 }\npruner = "median"',
    "CMA-ES, median": 'sampler = "cmaes"\npruner = "median"',
    "QMC, median": 'sampler = "qmc"\npruner = "median"',
    "NSGA-II, median": 'sampler = "nsgaii"\npruner = "median"',
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
        definition = self.make_definition(f"[search]\ntrials = 1000000\n{search}\n")
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

    def speedup(self, studies: Sequence[SimulatedStudy], target: float, num_random: int) -> float:
        """Random search's budget over the smallest at which the median regret is the target or less; 0 if it never is."""
        reached = (num for num in range(1, MAX_TRIALS + 1) if np.median(self.regrets(studies, num)) <= target)
        return num_random / next(reached, math.inf)


def made_up() -> Landscape:
    """Six tasks whose optima are known."""
    space = make_definition().space
    return Landscape(make_definition, [SyntheticCurves(space, EPOCHS, seed) for seed in range(1, 7)], EPOCHS)


def recorded(file: Path) -> Landscape:
    """Recorded curves; an epoch of each recipe counts the same, as the machine that recorded them was shared."""
    table = CurveTable.load(file, head_definition().space)
    table.epoch_s = np.ones(len(table.recipes))
    return Landscape(lambda search: head_definition(search=search), [table], table.curves.shape[2])


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


def bench_quality(landscape: Landscape, names: Sequence[str]) -> None:
    """The table of regrets, and how much sooner each contender is where random search ends."""
    reference = landscape.studies(CONTENDERS["random, no pruner"], RANDOM_TRIALS[-1])
    targets = {num: median(landscape.regrets(reference, num)) for num in RANDOM_TRIALS}
    print("random search's median regret:", ", ".join(f"{num} full trials {target:.4f}" for num, target in targets.items()))
    print(f"regret after the work of {MAX_TRIALS} full trials, {NUM_STUDIES} studies; how many times sooner than random search")
    print(f"where that ends with {RANDOM_TRIALS} full trials; trials a study; studies a minute")
    for name in names:
        began = time.perf_counter()
        studies = landscape.studies(CONTENDERS[name], MAX_TRIALS)
        per_minute = 60 * len(studies) / (time.perf_counter() - began)
        final = landscape.regrets(studies, MAX_TRIALS)
        sooner = " ".join(f"{landscape.speedup(studies, target, num):4.1f}" for num, target in targets.items())
        num_trials = np.median([len(study.outcomes) for study in studies])
        print(f"{name:28s} | {summary(final)} | {sooner} | {num_trials:.0f} | {per_minute:.0f}", flush=True)


def summary(values: np.ndarray) -> str:
    """Median and mean with their intervals."""
    (low, high), (mean_low, mean_high) = interval(values, median), interval(values, mean)
    return f"median {median(values):.4f} [{low:.4f}, {high:.4f}], mean {mean(values):.4f} [{mean_low:.4f}, {mean_high:.4f}]"


def bench_memory(landscape: Landscape, num_full_trials: int = 400) -> None:
    """The same studies with the sampler shown all trials, and a part of them."""
    search = CONTENDERS["TPE, median"]
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
