"""How often the 95 % intervals of `study compare` hold the truth, over simulated studies whose effects are known.

python -m tests.benchmarks.bench_coverage [--studies 500] [--trials 48] [--design "random + median"]

Each study has a made-up task of its own (tests/known_effects.py): heights, paces and noises of the levels of three factors,
interactions between them, a learning rate with an optimum that depends on the head. The real advisor, sampler and pruner
propose and stop its trials. The truth is the difference of the means of the best epoch, over the whole space.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import beta

from study.analysis.effects import factor_effects
from study.analysis.evidence import StudyEvidence
from study.analysis.findings import Contrast, FactorEffect
from study.analysis.observations import observe
from study.analysis.sentences import Unit
from tests.known_effects import DESIGNS, KnownEffects, simulated_study

REAL = 0.01  # a difference of a point of accuracy or more is one to be found; under a fifth of that, none
NONE = 0.002


@dataclass
class Tally:
    """What became of the contrasts of some design."""

    held: list[bool] = field(default_factory=list)
    held_by_factor: dict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))
    widths: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    found: list[bool] = field(default_factory=list)
    false: list[bool] = field(default_factory=list)
    false_uncorrected: list[bool] = field(default_factory=list)
    wrong_studies: list[bool] = field(default_factory=list)
    compare_s: list[float] = field(default_factory=list)

    def add(self, contrast: Contrast, truth: float) -> None:
        """One contrast against the truth."""
        interval = contrast.difference
        is_held = interval.low <= truth <= interval.high
        self.held.append(is_held)
        self.held_by_factor[contrast.factor].append(is_held)
        self.widths.append(interval.high - interval.low)
        self.errors.append(interval.value - truth)
        if abs(truth) >= REAL:
            self.found.append(contrast.is_shown and (interval.value > 0) == (truth > 0))
        if abs(truth) < NONE:
            self.false.append(contrast.is_shown)
            self.false_uncorrected.append(contrast.p_value < 0.05)


def measure(design: str, num_studies: int, num_trials: int) -> Tally:
    """Simulates and analyses studies of one design."""
    tally = Tally()
    for seed in range(num_studies):
        world = KnownEffects(seed)
        study = simulated_study(world, design, num_trials, seed)
        judge(study, world.truth(design.startswith("grid"), seed), tally)
    return tally


def judge(study: StudyEvidence, truth: Mapping[str, np.ndarray], tally: Tally) -> None:
    """Analyses one study and adds its contrasts."""
    started_s = time.perf_counter()
    observations = observe([study])
    effects = factor_effects(observations, Unit("balanced_accuracy", True), {}, is_exploratory=False)
    tally.compare_s.append(time.perf_counter() - started_s)
    levels = {factor.key: factor.levels for factor in observations.factors}
    for effect in effects:
        means = dict(zip(levels[effect.factor], truth[effect.factor], strict=True))
        for contrast in effect.contrasts:
            tally.add(contrast, float(means[contrast.level] - means[contrast.reference]))
    tally.wrong_studies.append(_is_wrong(effects, levels, truth))


def _is_wrong(effects: Sequence[FactorEffect], levels: Mapping[str, Sequence[str]], truth: Mapping[str, np.ndarray]) -> bool:
    """Whether a study shows any difference where there is none, or the wrong way round."""
    for effect in effects:
        means = dict(zip(levels[effect.factor], truth[effect.factor], strict=True))
        for contrast in effect.contrasts:
            difference = float(means[contrast.level] - means[contrast.reference])
            if contrast.is_shown and (abs(difference) < NONE or (difference > 0) != (contrast.difference.value > 0)):
                return True
    return False


def share(hits: Sequence[bool]) -> str:
    """A share in per cent with its exact 95 % interval (Clopper and Pearson 1934)."""
    if not hits:
        return "-"
    n, k = len(hits), sum(hits)
    low = beta.ppf(0.025, k, n - k + 1) if k else 0.0
    high = beta.ppf(0.975, k + 1, n - k) if k < n else 1.0
    return f"{100 * k / n:.1f} ({100 * low:.1f}-{100 * high:.1f})"


def line(design: str, tally: Tally) -> list[str]:
    """A line of the table. Contrasts of one study hang together: the interval of the coverage is somewhat too narrow."""
    rmse = 100 * float(np.sqrt(np.mean(np.square(tally.errors))))
    return [
        design,
        str(len(tally.compare_s)),
        share(tally.held),
        f"{100 * float(np.median(tally.widths)):.2f}",
        f"{rmse:.2f}",
        share(tally.found),
        share(tally.false),
        share(tally.false_uncorrected),
        share(tally.wrong_studies),
        ", ".join(f"{key} {100 * float(np.mean(held)):.1f}" for key, held in tally.held_by_factor.items()),
        f"{1000 * float(np.median(tally.compare_s)):.0f}",
    ]


HEADING = (
    "design",
    "studies",
    "coverage %",
    "width, points",
    "rmse",
    "power %",
    "false %",
    "false uncorrected %",
    "wrong studies %",
    "coverage by factor %",
    "ms",
)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=500)
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--design", action="append", choices=DESIGNS)
    options = parser.parse_args()
    print("| " + " | ".join(HEADING) + " |")
    print("|" + "---|" * len(HEADING))
    for design in options.design or DESIGNS:
        print("| " + " | ".join(line(design, measure(design, options.studies, options.trials))) + " |", flush=True)


if __name__ == "__main__":
    main()
