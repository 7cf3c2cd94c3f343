"""What a trial's suggestion, ten reports and end cost as a study grows, and how long taking it up again takes.

    python -m tests.benchmarks.bench_search_cost

The peer is Optuna's own study with its default TPE (all keys at once) and median pruner on the same journal file, as its
documentation has it. Ours is the default too: TPE by key.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from study.definition import StudyDefinition
from study.search.advisor import Advisor, Proposal
from study.search.samplers import optuna_distribution, suggest
from study.search.storages import open_storage
from study.space import Choices, Distribution
from study.trial import TrialState
from tests.benchmarks.bench_search import ENDLESS, make_definition
from tests.benchmarks.machine import describe_machine

SIZES = (100, 1_000, 3_000, 10_000)
NUM_ROUNDS = 30
REPORTS = 10


def draw(distribution: Distribution, rng: np.random.Generator) -> object:
    """A random value."""
    if isinstance(distribution, Choices):
        return distribution.choices[rng.integers(len(distribution.choices))]
    low, high = float(distribution.low), float(distribution.high)
    if distribution.log:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))
    if distribution.is_integer:
        return distribution.grid()[rng.integers(len(distribution.grid()))]
    return rng.uniform(low, high)


def fill(file: str, num_trials: int) -> None:
    """A journal of past trials, two thirds of them pruned at the second epoch; each report a record, as in a real study."""
    definition = make_definition(ENDLESS)
    study = optuna.create_study(study_name="bench", storage=open_storage(file), direction="maximize")
    rng = np.random.default_rng(0)
    for number in range(num_trials):
        values, params = definition.fixed_values, {}
        for key, distribution in definition.space.items():
            if definition.space.is_active(key, values):
                values[key] = params[key] = draw(distribution, rng)
        distributions = {key: optuna_distribution(definition.space.parameters[key]) for key in params}
        begun = optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING, params=params, distributions=distributions)
        trial_id = study._storage.create_new_trial(study._study_id, begun)
        is_pruned = number % 3 != 0
        for epoch in range(1, 3 if is_pruned else REPORTS + 1):
            study._storage.set_trial_intermediate_value(trial_id, epoch, float(rng.uniform()))
        state = optuna.trial.TrialState.PRUNED if is_pruned else optuna.trial.TrialState.COMPLETE
        study._storage.set_trial_state_values(trial_id, state, [float(rng.uniform())])


@dataclass(frozen=True)
class Cost:
    """Of one trial, milliseconds on the clock, and in all of processor time."""

    ask: float
    report: float
    tell: float
    cpu: float

    @property
    def wall(self) -> float:
        """In all, on the clock."""
        return self.ask + self.report + self.tell


def one_round(ask: Callable[[], Any], report: Callable[[Any, int], None], tell: Callable[[Any], object]) -> Cost:
    """A trial: proposed, ten times reported and judged, and ended."""
    began, began_cpu = time.perf_counter(), time.process_time()
    trial = ask()
    asked = time.perf_counter()
    for epoch in range(1, REPORTS + 1):
        report(trial, epoch)
    reported = time.perf_counter()
    tell(trial)
    ended, cpu = time.perf_counter(), time.process_time() - began_cpu
    return Cost(*(1000 * seconds for seconds in (asked - began, reported - asked, ended - reported, cpu)))


def round_of_ours(advisor: Advisor) -> Cost:
    """Through the advisor."""

    def report(proposal: Proposal, epoch: int) -> None:
        advisor.report(proposal.number, epoch, 0.5)
        advisor.should_prune(proposal.number)

    return one_round(advisor.ask, report, lambda proposal: advisor.tell(proposal.number, TrialState.COMPLETE, 0.5))


def round_of_optuna(study: optuna.Study, definition: StudyDefinition) -> Cost:
    """With Optuna's own study, as its documentation has it."""

    def ask() -> optuna.Trial:
        trial = study.ask()
        suggest(trial, definition)
        return trial

    def report(trial: optuna.Trial, epoch: int) -> None:
        trial.report(0.5, step=epoch)
        trial.should_prune()

    return one_round(ask, report, lambda trial: study.tell(trial, 0.5))


def memory_mib() -> float:
    """What this process has in memory now."""
    match = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(match[1]) / 1024 if match else float("nan")


def measure_ours(file: str) -> dict[str, float]:
    """A study is taken up again and goes on; in a process of its own, for its memory."""
    definition = make_definition(ENDLESS)
    before_mib, began = memory_mib(), time.perf_counter()
    storage = open_storage(file)
    replayed = time.perf_counter()
    advisor = Advisor.resume(definition, storage)
    loaded = time.perf_counter()
    advisor.outcomes()
    listed = time.perf_counter()
    grown_mib = memory_mib() - before_mib
    seconds = {"replay_s": replayed - began, "load_s": loaded - replayed, "outcomes_s": listed - loaded}
    return seconds | {"memory_mib": grown_mib} | median_cost([round_of_ours(advisor) for _ in range(NUM_ROUNDS)])


def measure_optuna(file: str) -> dict[str, float]:
    """The same study with Optuna alone."""
    definition = make_definition(ENDLESS)
    study = optuna.load_study(
        study_name="bench",
        storage=JournalStorage(JournalFileBackend(file)),
        sampler=optuna.samplers.TPESampler(seed=0),
        pruner=optuna.pruners.MedianPruner(),
    )
    return median_cost([round_of_optuna(study, definition) for _ in range(NUM_ROUNDS)])


def median_cost(rounds: Sequence[Cost]) -> dict[str, float]:
    """Of many rounds, each part by itself."""
    return {
        name: float(np.median([getattr(cost, name) for cost in rounds])) for name in ("ask", "report", "tell", "wall", "cpu")
    }


def in_its_own_process(call: str, file: str) -> dict[str, float]:
    """What a function of this module returns there."""
    code = f"import json; from tests.benchmarks import bench_search_cost as bench; print(json.dumps(bench.{call}({file!r})))"
    shown = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    return dict(json.loads(shown.stdout))


def main() -> None:
    """Prints the table of costs."""
    print(describe_machine())
    print(f"ms a trial, median of {NUM_ROUNDS}: ask, {REPORTS} reports each with the pruner's word, tell; all, of which CPU")
    print("TPE, median pruner, 12 keys, journal file with its waits for the disk; behind N trials")
    print(f"{'N':>6} | {'ours':^34} | {'Optuna alone':^34} | times less: wall, CPU | replay, load, list s | memory, file MiB")
    costs: dict[int, dict[str, float]] = {}
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            ours_file, their_file = str(Path(folder) / "ours.journal"), str(Path(folder) / "theirs.journal")
            with patch("os.fsync"):  # filling is not what is measured
                fill(ours_file, size)
            shutil.copy(ours_file, their_file)
            mib = Path(ours_file).stat().st_size / 2**20
            ours, theirs = in_its_own_process("measure_ours", ours_file), in_its_own_process("measure_optuna", their_file)
        costs[size] = ours
        names = ("ask", "report", "tell", "wall", "cpu")
        parts = [" ".join(f"{cost[name]:6.1f}" for name in names) for cost in (ours, theirs)]
        times = f"{theirs['wall'] / ours['wall']:4.1f} {theirs['cpu'] / ours['cpu']:4.1f}"
        seconds = f"{ours['replay_s']:5.2f} {ours['load_s']:5.2f} {ours['outcomes_s']:6.4f}"
        print(f"{size:6,} | {parts[0]} | {parts[1]} | {times} | {seconds} | {ours['memory_mib']:5.0f} {mib:5.1f}", flush=True)
    for what in ("ask", "wall", "cpu"):
        growth = costs[SIZES[-1]][what] / costs[SIZES[1]][what]
        print(f"{what}: ours at {SIZES[-1]:,} trials is {growth:.2f} times that at {SIZES[1]:,}")


if __name__ == "__main__":
    main()
