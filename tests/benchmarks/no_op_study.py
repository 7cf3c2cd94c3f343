"""Our side of bench_overhead.py: a study of trials that train nothing, through all that a real one passes.

Optuna's journal file, the outbox, Ray, its worker processes, MLflow over REST; only the training itself is replaced, by
tests/benchmarks/no_op_trial.py. Prints one line of JSON.

    python -m tests.benchmarks.no_op_study http://127.0.0.1:5000 1000 --folder /tmp/x
"""

import argparse
import cProfile
import json
import os
import pstats
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from study.definition import parse_definition
from study.search.advisor import Advisor
from study.search.storages import open_storage
from study.settings import Settings
from study.tracking.journaled_tracker import JournaledTracker
from study.tracking.mlflow_tracker import MlflowTracker
from study.tuning import cluster
from study.tuning.kept_weights import KeptWeights
from study.tuning.ledger import Ledger, TrialProgress
from study.tuning.preparation import PreparedStudy, prepare
from tests.benchmarks.bench_search import SPACE
from tests.benchmarks.no_op_trial import NUM_EPOCHS, NoOpTrainable
from tests.benchmarks.processes import cpu_s, memory_mib

TEXT = """
name = "overhead"
[data]
generated = "instruments"
num_photos = 60
image_size = 64
[trial]
weights = "none"
epochs = {epochs}
{space}
[search]
sampler = "tpe"
trials = {trials}
pruner = {{ name = "{pruner}" }}
[resources]
cpus = 1
"""


class Stopwatch:
    """How long calls took, in all, by the part that they belong to."""

    def __init__(self) -> None:
        self.wall_s: dict[str, float] = defaultdict(float)
        self.cpu_s: dict[str, float] = defaultdict(float)

    def watch(self, owner: Any, method: str, part: str) -> None:
        """Times a method of one object from now on."""
        setattr(owner, method, self._timed(getattr(owner, method), part))

    def _timed(self, call: Callable[..., Any], part: str) -> Callable[..., Any]:
        def timed(*args: Any, **options: Any) -> Any:
            began_s, began_cpu_s = time.perf_counter(), time.thread_time()
            try:
                return call(*args, **options)
            finally:
                self.wall_s[part] += time.perf_counter() - began_s
                self.cpu_s[part] += time.thread_time() - began_cpu_s

        return timed


class Memory:
    """The driver's memory as trials end: at a tenth, and at the end."""

    def __init__(self, num_trials: int) -> None:
        self._marks = {num_trials // 10 or 1, num_trials // 2 or 1, num_trials}
        self._num_ended = 0
        self.mib: dict[int, float] = {}

    def trial_began(self, trial: TrialProgress) -> None:
        """Nothing."""

    def trial_measured(self, trial: TrialProgress) -> None:
        """Nothing."""

    def trial_ended(self, trial: TrialProgress) -> None:
        """Looks, at some trials."""
        self._num_ended += 1
        if self._num_ended in self._marks:
            self.mib[self._num_ended] = memory_mib()


def prepared_study(folder: Path, uri: str, num_trials: int, pruner: str) -> PreparedStudy:
    """The study, its photos packed."""
    text = TEXT.format(epochs=NUM_EPOCHS, space=SPACE, trials=num_trials, pruner=pruner)
    settings = Settings(
        tracking_uri=uri,
        storage=str(folder / "study.journal"),
        output_folder=folder / "studies",
        cache_folder=folder / "cache",
        ray_address=None,
    )
    return prepare(parse_definition(text, folder / "overhead.toml"), settings)


def run(folder: Path, uri: str, num_trials: int, pruner: str, server_pid: int | None, profile: str | None) -> dict[str, Any]:
    """All trials, from the first question to Optuna until MLflow has the last record."""
    prepared = prepared_study(folder, uri, num_trials, pruner)
    definition, watch, memory = prepared.definition, Stopwatch(), Memory(num_trials)
    tracker = JournaledTracker(MlflowTracker(uri), folder / "outbox")
    run_id = tracker.begin_study(definition.name, "overhead", {}, definition.text, "")
    advisor = Advisor.create(definition, open_storage(prepared.settings.storage), {"run_id": run_id})
    watch.watch(advisor, "ask", "ask")
    watch.watch(tracker, "begin_trial", "begin run")
    watch.watch(advisor, "attach_run", "note its run")
    watch.watch(advisor, "report_all", "report")
    watch.watch(advisor, "should_prune", "prune")
    watch.watch(advisor, "tell", "tell")
    watch.watch(tracker, "end_trial", "end run")
    watch.watch(tracker.inner, "deliver", "outbox (in its own thread)")
    kept = KeptWeights(folder / "studies" / "overhead", definition, 3, ())
    ledger = Ledger(advisor, tracker, run_id, definition.objective, [kept, memory])
    profiler = cProfile.Profile() if profile else None
    with cluster.ray_executor(prepared, is_verbose=False) as ours:
        executor = replace(ours, trainable=NoOpTrainable)
        before_mib, server_before_s = memory_mib(), cpu_s(server_pid) if server_pid else 0.0
        began_s, began_cpu_s, driver_s = time.perf_counter(), cpu_s(os.getpid()), time.process_time()
        with profiler or nullcontext():
            executor.run(ledger)
        ended_s = time.perf_counter()
        tracker.close(600).require_empty()
        wall_s = time.perf_counter() - began_s
        result = {
            "num_trials": num_trials,
            "wall_s": wall_s,
            "delivering_after_s": wall_s - (ended_s - began_s),
            "driver_cpu_s": time.process_time() - driver_s,
            "all_cpu_s": cpu_s(os.getpid()) - began_cpu_s,
            "server_cpu_s": (cpu_s(server_pid) - server_before_s) if server_pid else 0.0,
            "parts_wall_s": dict(watch.wall_s),
            "parts_cpu_s": dict(watch.cpu_s),
            "memory_mib": {0: before_mib, **memory.mib},
        }
    assert len(advisor.outcomes()) == num_trials, "a trial was lost"
    if profiler and profile:
        pstats.Stats(profiler).dump_stats(profile)
    return result


def main() -> None:
    """Prints what it found as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("uri")
    parser.add_argument("trials", type=int)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--pruner", default="none")
    parser.add_argument("--server-pid", type=int)
    parser.add_argument("--profile", help="write cProfile's statistics of the driver there")
    arguments = parser.parse_args()
    result = run(arguments.folder, arguments.uri, arguments.trials, arguments.pruner, arguments.server_pid, arguments.profile)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
