"""What every peer of bench_overhead.py and bench_end_to_end.py is given, and how it tells what it took."""

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.benchmarks.processes import cpu_s, memory_mib


@dataclass(frozen=True)
class Contest:
    """A study to run.

    Attributes:
        uri: an MLflow server's, where everything is to be durable at the end.
        work: "no-op", "clothing" or "clothing-race".
        reports_a_step: epochs that a trainable gathers before it reports, where the peer can.
        is_pruned: with ASHA (Ray) or Hyperband (Optuna).
        seed: of the sampler; None draws one.
    """

    uri: str
    num_trials: int
    work: str
    num_epochs: int
    reports_a_step: int
    is_pruned: bool = False
    seed: int | None = None


def main(run: Callable[[Contest], list[float]], begin: Callable[[], object] | None = None) -> None:
    """Runs the contest of the command line, prints seconds, processor seconds and what the trials reached as JSON.

    Args:
        begin: what is there before the clock starts: Ray.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("uri")
    parser.add_argument("trials", type=int)
    parser.add_argument("--work", default="no-op", choices=["no-op", "clothing", "clothing-race"])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--reports-a-step", type=int, default=1)
    parser.add_argument("--pruned", action="store_true", help="with the peer's own scheduler")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--server-pid", type=int, help="whose processor time counts too")
    arguments = parser.parse_args()
    if begin is not None:
        begin()
    contest = Contest(
        arguments.uri,
        arguments.trials,
        arguments.work,
        arguments.epochs,
        arguments.reports_a_step,
        arguments.pruned,
        arguments.seed,
    )
    server_s = cpu_s(arguments.server_pid) if arguments.server_pid else 0.0
    began_s, began_cpu_s = time.perf_counter(), cpu_s(os.getpid())
    reached = run(contest)
    wall_s = time.perf_counter() - began_s
    print(
        json.dumps(
            {
                "num_trials": contest.num_trials,
                "wall_s": wall_s,
                "all_cpu_s": cpu_s(os.getpid()) - began_cpu_s,
                "server_cpu_s": cpu_s(arguments.server_pid) - server_s if arguments.server_pid else 0.0,
                "memory_mib": memory_mib(),
                "reached": reached,
            }
        )
    )
