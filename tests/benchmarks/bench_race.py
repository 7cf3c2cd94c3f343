"""How many repetitions a race of confirmed recipes saves, and how often it loses the best.

    python -m tests.benchmarks.bench_race

Three recipes, as `[confirm] top = 3`. A repetition's value is its recipe's worth, plus what its seed and fold are worth to all
recipes, plus noise of its own; gaps between recipes are in standard deviations of that noise. The winner is the recipe with the
best mean of those that were not beaten; without a race it is the one with the best mean over all rounds.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from study.search.first_points import Point
from study.search.outcomes import Outcome
from study.search.pruners import build_pruner
from study.search.race import Race
from study.search_definition import PrunerDefinition
from study.trial import TrialConfig, TrialState
from tests.benchmarks.machine import describe_machine

GAPS = {
    "equal": (0.0, 0.0, 0.0),
    "half": (0.0, 0.5, 0.5),
    "one": (0.0, 1.0, 1.0),
    "one and two": (0.0, 1.0, 2.0),
    "two": (0.0, 2.0, 2.0),
}
ROUNDS = (5, 10, 15, 25)
THRESHOLDS = (0.01, 0.05, 0.1)
FOLD_SD = 5.0


@dataclass(frozen=True)
class Ended:
    """What a race came to.

    Attributes:
        share_run: of all repetitions.
        is_lost: whether the best recipe was beaten.
        gap, gap_of_all: of the winner to the best recipe, with the race and without.
    """

    share_run: float
    is_lost: bool
    gap: float
    gap_of_all: float


def race_once(gaps: Sequence[float], num_rounds: int, p_threshold: float, seed: int) -> Ended:
    """One confirmation, a repetition at a time."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, FOLD_SD, num_rounds) + rng.normal(0, 1, (len(gaps), num_rounds)) - np.array(gaps)[:, None]
    points: list[Point] = [{"dropout": place, "fold": fold} for fold in range(num_rounds) for place in range(len(gaps))]
    pruner = PrunerDefinition.model_validate({"name": "wilcoxon", "p_threshold": p_threshold})
    race, num_run = Race(points, build_pruner(pruner, epochs=1)), 0
    while (point := race.next_point(num_run)) is not None:
        race.begin(point)
        value = float(values[int(point["dropout"]), int(point["fold"])])
        race.add(Outcome(num_run, TrialState.COMPLETE, TrialConfig(), point, value, num_epochs=1, run_id=None))
        num_run += 1
    is_beaten = np.array([race.is_beaten({"dropout": place}) for place in range(len(gaps))])
    winner = int(np.where(is_beaten, -np.inf, values.mean(axis=1)).argmax())
    return Ended(num_run / len(points), bool(is_beaten[0]), gaps[winner], gaps[int(values.mean(axis=1).argmax())])


def main() -> None:
    """Prints a row a case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--races", type=int, default=400)
    options = parser.parse_args()
    print(describe_machine())
    print(f"{options.races} races a row; 95 % half-widths of the shares are at most {98 / options.races**0.5:.1f} points")
    print("p     rounds  gaps         | run  | best lost | wrong winner: race, all | mean gap of the winner, sd: race, all")
    for p_threshold in THRESHOLDS:
        for num_rounds in ROUNDS:
            for name, gaps in GAPS.items():
                ended = [race_once(gaps, num_rounds, p_threshold, seed) for seed in range(options.races)]
                print(f"{p_threshold:<5} {num_rounds:6d}  {name:12s} | {_shares(ended)}", flush=True)


def _shares(ended: Sequence[Ended]) -> str:
    run = np.mean([one.share_run for one in ended])
    lost = np.mean([one.is_lost for one in ended])
    wrong, wrong_of_all = np.mean([one.gap > 0 for one in ended]), np.mean([one.gap_of_all > 0 for one in ended])
    gap, gap_of_all = np.mean([one.gap for one in ended]), np.mean([one.gap_of_all for one in ended])
    return f"{run:4.0%} | {lost:9.1%} | {wrong:6.1%} {wrong_of_all:6.1%} | {gap:.3f} {gap_of_all:.3f}"


if __name__ == "__main__":
    main()
