"""Work until a target is reached on recorded curves: our default search beside ASHA and Optuna with Hyperband.

    python -m tests.benchmarks.bench_target studies/curves_clothing10.npz

The target: 95 % of the margin that the best known recipe has over the majority class (0.1 in balanced accuracy over ten
classes). It counts as reached by the first completed trial that is told so much, as everybody would measure it, luck included;
and beside it, by the first incumbent that is worth so much. An epoch takes what it was recorded to take, and a trial's start
the same for everybody: what the platforms themselves cost is another benchmark's subject.
"""

import argparse
from pathlib import Path

import numpy as np

from study.search.simulator.curves import CurveTable
from study.search.simulator.simulation import SimulatedStudy, Workers, simulate
from tests.benchmarks.bench_search import ENDLESS, interval, median
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.record_curves import head_definition
from tests.benchmarks.smooth_curves import SmoothedCurves

MAJORITY = 0.1
START_S = 0.05  # of a warm actor
NUM_WORKERS = 4
SHARES = (0.95, 0.98)
OPTUNAS = 'sampler = { name = "tpe", multivariate = true }'  # Optuna's own default
CONTENDERS = {
    "ours, as it is by default": "",
    "random + ASHA": 'sampler = "random"\npruner = { name = "successive_halving", reduction_factor = 4 }',
    "TPE + ASHA": f'{OPTUNAS}\npruner = {{ name = "successive_halving", reduction_factor = 4 }}',
    "TPE + Hyperband": f'{OPTUNAS}\npruner = "hyperband"',
}


def reached_s(study: SimulatedStudy, target: float, best: float, is_told: bool) -> float:
    """Seconds of all workers' work until the target is reached; infinite if it never is."""
    for incumbent in study.incumbents:
        if (incumbent.value if is_told else best - incumbent.regret) >= target:
            return incumbent.worked_s
    return np.inf


def shown(seconds: np.ndarray) -> str:
    """Median and its interval, and how many studies reached the target."""
    low, high = interval(np.where(np.isinf(seconds), 1e9, seconds), median)
    texts = ["never" if value >= 1e9 else f"{value:.0f}" for value in (min(median(seconds), 1e9), low, high)]
    return f"{texts[0]:>5} s [{texts[1]}, {texts[2]}] {np.isfinite(seconds).mean():4.0%}"


def main() -> None:
    """Prints a row a contender."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="recorded curves")
    parser.add_argument("--studies", type=int, default=30)
    parser.add_argument("--trials", type=float, default=100.0, help="budget, in full trials")
    options = parser.parse_args()
    print(describe_machine())
    space = head_definition().space
    table = CurveTable.load(options.table, space)
    curves = SmoothedCurves(table, space, has_costs=True)
    best, known = curves.best_quality, table.best_quality  # the first is what regrets are against, between the recorded ones
    targets = {share: MAJORITY + share * (known - MAJORITY) for share in SHARES}
    trial_s = START_S + float(np.median(table.epoch_s)) * table.curves.shape[2]
    print(f"best known {known:.4f}; targets {', '.join(f'{share:.0%} {target:.4f}' for share, target in targets.items())}")
    print(
        f"a full trial {trial_s:.2f} s; {options.studies} studies, {options.trials:g} full trials' work, {NUM_WORKERS} workers"
    )
    print(f"{'':28s} | " + " | ".join(f"{how} {share:.0%}" for share in SHARES for how in ("told", "worth")))
    for name, search in CONTENDERS.items():
        definition = head_definition(search=f"{ENDLESS}{search}\n")
        workers, budget_s = Workers(NUM_WORKERS, START_S), options.trials * trial_s
        studies = [simulate(definition, curves, workers, seed, budget_s) for seed in range(options.studies)]
        cells = [
            shown(np.array([reached_s(study, targets[share], best, is_told) for study in studies]))
            for share in SHARES
            for is_told in (True, False)
        ]
        print(f"{name:28s} | {' | '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
