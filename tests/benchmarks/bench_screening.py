"""Does screening recipes with a frozen backbone find good ones for an unfrozen backbone sooner?

    python -m tests.benchmarks.bench_screening

A head on cached features costs a hundredth of an unfrozen trial. Screening: a study of heads alone, then the unfrozen study
tries its best recipes first (`[[search.enqueue]]`, at both depths) and goes on by itself. On made-up tasks whose optima for
unfrozen trials lie further and further from those of heads; the rank correlation of both worths is printed. Regret is against
the best recipe of all, after the work of so many unfrozen trials, screening included.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from study.definition import StudyDefinition, parse_definition
from study.search.outcomes import Outcome, is_candidate
from study.search.simulator.curves import Recorded
from study.search.simulator.simulation import SimulatedStudy, Workers, simulate
from tests.benchmarks.bench_search import ENDLESS, EPOCHS, SPACE, interval, make_definition, median
from tests.benchmarks.bench_search_cost import draw
from tests.benchmarks.machine import describe_machine
from tests.synthetic_curves import SyntheticCurves

START_S = 0.1  # an epoch of an unfrozen trial takes 1 s
EPOCH_S = {1.0: 0.01, 0.5: 0.5, 0.0: 1.0}  # by freeze depth: the features of a frozen prefix are cached
HEAD_SHARE = 0.88  # of what is reached unfrozen: a head alone stays behind
DEPTHS = (0.5, 0.0)
SHIFTS = (0.0, 0.2, 0.4)
NUM_SCREENED = 50
NUM_PROMOTED = 5
BUDGETS = (6, 12, 25)  # unfrozen trials
HEADS_ONLY = "\n".join(
    line for line in SPACE.splitlines() if not line.startswith("freeze_depth") and "backbone_lr_ratio" not in line
)


class DepthCurves:
    """Curves of one task at three freeze depths, each with optima of its own."""

    def __init__(self, seed: int, shift: float) -> None:
        space = make_definition().space
        self._by_depth = {depth: SyntheticCurves(space, EPOCHS, seed, shift=shift * (1 - depth)) for depth in EPOCH_S}
        self.best_quality = self._by_depth[0.0].best_quality

    def of(self, searched: Mapping[str, Any]) -> Recorded:
        """The recipe's curves; a study of heads alone does not search the depth."""
        depth = float(searched.get("freeze_depth", 1.0))
        others = {key: value for key, value in searched.items() if key != "freeze_depth"} | {"depth": depth}  # noise of its own
        recorded = self._by_depth[depth].of(others)
        share = HEAD_SHARE if depth == 1.0 else 1.0
        return replace(recorded, curves=recorded.curves * share, quality=recorded.quality * share, epoch_s=EPOCH_S[depth])

    def rank_correlation(self, num_recipes: int = 300) -> float:
        """Spearman's, between a recipe's worth as a head and unfrozen."""
        definition, rng = _heads(), np.random.default_rng(0)
        worths = []
        for _ in range(num_recipes):
            recipe = {key: draw(distribution, rng) for key, distribution in definition.space.items()}
            worths.append([self.of({**recipe, "freeze_depth": depth}).quality for depth in (1.0, 0.0)])
        return float(spearmanr(worths).statistic)


def _heads() -> StudyDefinition:
    head = f'name = "heads"\ndata.generated = "instruments"\ntrial.epochs = {EPOCHS}\ntrial.freeze_depth = 1.0\n'
    return parse_definition(f"{head}{HEADS_ONLY}\n[search]\ntrials = {NUM_SCREENED}\n", Path("/bench/heads.toml"))


def promoted(outcomes: Sequence[Outcome]) -> str:
    """The best heads' recipes at the other depths, as points to try first."""
    best = sorted(filter(is_candidate, outcomes), key=lambda outcome: -(outcome.value or 0.0))[:NUM_PROMOTED]
    points = [{**outcome.searched, "freeze_depth": depth} for outcome in best for depth in DEPTHS]
    return "\n".join(
        "[[search.enqueue]]\n" + "\n".join(f'"{key}" = {value!r}' for key, value in point.items()) for point in points
    )


def regrets(study: SimulatedStudy, spent_s: float) -> list[float]:
    """At each budget, of which `spent_s` seconds were spent before the study."""
    return [study.regret_after(num * (START_S + EPOCHS) - spent_s) for num in BUDGETS]


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
        rows: dict[str, list[list[float]]] = {"one search over all depths": [], "heads screened first": []}
        workers, budget_s = Workers(4, START_S), BUDGETS[-1] * (START_S + EPOCHS)
        for seed in range(options.studies):
            task = tasks[seed % len(tasks)]
            alone = simulate(make_definition(ENDLESS), task, workers, seed, budget_s)
            rows["one search over all depths"].append(regrets(alone, 0.0))
            screening = simulate(_heads(), task, workers, seed)
            after = make_definition(ENDLESS + promoted(screening.outcomes))
            screened = simulate(after, task, workers, seed, budget_s - screening.worked_s)
            rows["heads screened first"].append(regrets(screened, screening.worked_s))
        for name, found in rows.items():
            columns = [np.array(column) for column in zip(*found, strict=True)]
            shown = [
                f"{median(column):.3f} [{interval(column, median)[0]:.3f}, {interval(column, median)[1]:.3f}]"
                for column in columns
            ]
            print(f"  {name:28s} {'  '.join(shown)}", flush=True)


if __name__ == "__main__":
    main()
