"""Does screening recipes with a frozen backbone find good ones for an unfrozen backbone sooner?

    python -m tests.benchmarks.bench_screening

A head on cached features costs a hundredth of an unfrozen trial. `[search.screening]` tries heads first, then the best of their
recipes at both other depths, and goes on over the whole space. On made-up tasks whose optima for unfrozen trials lie further
and further from those of heads; the rank correlation of both worths is printed. Regret is against the best recipe of all,
after the work of so many unfrozen trials, heads included.
"""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from study.search.simulator.curves import Recorded
from study.search.simulator.simulation import SimulatedStudy, Workers, simulate
from tests.benchmarks.bench_search import ENDLESS, EPOCHS, interval, make_definition, median
from tests.benchmarks.bench_search_cost import draw
from tests.benchmarks.machine import describe_machine
from tests.synthetic_curves import SyntheticCurves

START_S = 0.1  # an epoch of an unfrozen trial takes 1 s
EPOCH_S = {1.0: 0.01, 0.5: 0.5, 0.0: 1.0}  # by freeze depth: the features of a frozen prefix are cached
HEAD_SHARE = 0.88  # of what is reached unfrozen: a head alone stays behind
SHIFTS = (0.0, 0.2, 0.4)
BUDGETS = (6, 12, 25)  # unfrozen trials
POLICIES = {
    "one search over all depths": "",
    "heads first, as by default": "[search.screening]\n",
    "50 heads first, 5 promoted": "[search.screening]\nheads = 50\npromote = 5\n",
    "50 heads first, none by lot": "[search.screening]\nheads = 50\npromote = 5\nexplore = 0.0\n",
}


class DepthCurves:
    """Curves of one task at three freeze depths, each with optima of its own."""

    def __init__(self, seed: int, shift: float) -> None:
        space = make_definition().space
        self._by_depth = {depth: SyntheticCurves(space, EPOCHS, seed, shift=shift * (1 - depth)) for depth in EPOCH_S}
        self.best_quality = self._by_depth[0.0].best_quality

    def of(self, searched: Mapping[str, Any]) -> Recorded:
        """The recipe's curves."""
        depth = float(searched["freeze_depth"])
        others = {key: value for key, value in searched.items() if key != "freeze_depth"} | {"depth": depth}  # noise of its own
        recorded = self._by_depth[depth].of(others)
        share = HEAD_SHARE if depth == 1.0 else 1.0
        return replace(recorded, curves=recorded.curves * share, quality=recorded.quality * share, epoch_s=EPOCH_S[depth])

    def rank_correlation(self, num_recipes: int = 300) -> float:
        """Spearman's, between a recipe's worth as a head and unfrozen."""
        space, rng = make_definition().space, np.random.default_rng(0)
        worths = []
        for _ in range(num_recipes):
            recipe = {key: draw(distribution, rng) for key, distribution in space.items()}
            worths.append([self.of({**recipe, "freeze_depth": depth}).quality for depth in (1.0, 0.0)])
        return float(spearmanr(worths).statistic)


def regrets(study: SimulatedStudy) -> list[float]:
    """At each budget."""
    return [study.regret_after(num * (START_S + EPOCHS)) for num in BUDGETS]


def main() -> None:
    """Prints a row a policy and shift."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=30)
    parser.add_argument("--shifts", type=float, nargs="*", default=list(SHIFTS))
    options = parser.parse_args()
    print(describe_machine())
    print(f"{options.studies} studies; median regret [95 %] after the work of {BUDGETS} unfrozen trials")
    for shift in options.shifts:
        tasks = [DepthCurves(seed, shift) for seed in range(1, 7)]
        print(f"optima {shift:g} apart, rank correlation of worths {np.mean([task.rank_correlation() for task in tasks]):.2f}")
        workers, budget_s = Workers(4, START_S), BUDGETS[-1] * (START_S + EPOCHS)
        for name, search in POLICIES.items():
            definition = make_definition(ENDLESS + search)
            found = [
                regrets(simulate(definition, tasks[seed % len(tasks)], workers, seed, budget_s))
                for seed in range(options.studies)
            ]
            columns = [np.array(column) for column in zip(*found, strict=True)]
            shown = [
                f"{median(column):.3f} [{interval(column, median)[0]:.3f}, {interval(column, median)[1]:.3f}]"
                for column in columns
            ]
            print(f"  {name:28s} {'  '.join(shown)}", flush=True)


if __name__ == "__main__":
    main()
