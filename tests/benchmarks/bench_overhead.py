"""What the platform itself costs a trial: N trials that train nothing, ten reports of three metrics each, durable in MLflow.

    python -m tests.benchmarks.bench_overhead                      # N = 10, 100 and 1,000, and the peers
    python -m tests.benchmarks.bench_overhead --sizes 1000 10000   # how it grows

Each contestant runs in processes of its own, one after the other, on a real `mlflow server` (SQLite) that is fresh for it. The
bare trial takes 0.1 ms, so the overhead is wall / N. Beside the clock stands processor time: of the contestant with Ray's
processes, and of the server; on a machine that others use too, it is the steadier figure.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.bench_recording import running_server
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.report import Report, Row, add_report_argument, at_least, at_most, publish, table

ONE_WORKER = ("--workers", "1")
PARTS = ("ask", "begin run", "note its run", "report", "prune", "tell", "end run", "outbox (in its own thread)")


@dataclass(frozen=True)
class Contestant:
    """A module that runs N trials and prints what they took.

    Attributes:
        server: options of `mlflow server`.
        num_trials: of a peer whose rate is constant; None: as many as ours.
    """

    name: str
    module: str
    options: tuple[str, ...] = ()
    server: tuple[str, ...] = ONE_WORKER
    num_trials: int | None = None


OURS = Contestant("ours", "no_op_study")
PRUNING = Contestant("ours, the pruner asked at each report", "no_op_study", ("--pruner", "median"))
TUNED = Contestant("Ray, tuned", "peer_ray_tuned")
TUNED_TOGETHER = Contestant("Ray, tuned, all reports in one step", "peer_ray_tuned", ("--reports-a-step", "10"))
OPTUNA = Contestant("Optuna's loop, documented", "peer_optuna_loop", server=(), num_trials=8)
DOCUMENTED = Contestant("Ray, documented", "peer_ray_documented", server=(), num_trials=4)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1_000])
    parser.add_argument("--tuned", type=int, default=200, help="trials of the tuned stack, and of ours beside it")
    parser.add_argument("--without-peers", action="store_true")
    add_report_argument(parser)
    arguments = parser.parse_args()
    machine = describe_machine()
    ours = {size: run(OURS, size) for size in arguments.sizes}
    peers = {} if arguments.without_peers else race(arguments.tuned)
    details = [machine, growth_table(ours), parts_table(ours), *([peers_table(peers)] if peers else [])]
    rows = [*growth_rows(ours), *(peer_rows(peers) if peers else ())]
    publish(Report("Overhead", "python -m tests.benchmarks.bench_overhead", rows, "\n\n".join(details)), arguments)


def race(num_trials: int) -> dict[str, dict[str, Any]]:
    """All contestants, one after the other."""
    contestants = (OURS, TUNED, PRUNING, TUNED_TOGETHER, OPTUNA, DOCUMENTED)
    return {one.name: run(one, one.num_trials or num_trials) for one in contestants}


def run(contestant: Contestant, num_trials: int) -> dict[str, Any]:
    """What it printed, on a server of its own."""
    with running_server(contestant.server) as (uri, pid), tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-W", "ignore", "-m", f"tests.benchmarks.{contestant.module}", uri, str(num_trials)]
        command += ["--server-pid", str(pid), *contestant.options]
        command += ["--folder", folder] if contestant.module == "no_op_study" else []
        load = os.getloadavg()[0]
        finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = {**json.loads(finished.stdout.splitlines()[-1]), "load": load}
    shown = {key: found[key] for key in ("num_trials", "wall_s", "all_cpu_s", "server_cpu_s", "load")}
    print(f"{contestant.name}: {json.dumps(shown)}", file=sys.stderr, flush=True)
    return found


def overhead_ms(found: dict[str, Any]) -> float:
    """A trial, on the clock."""
    return 1000 * float(found["wall_s"]) / int(found["num_trials"])


def cpu_ms(found: dict[str, Any]) -> float:
    """A trial, of processor time, the server's included."""
    return 1000 * float(found["all_cpu_s"] + found["server_cpu_s"]) / int(found["num_trials"])


def growth_rows(ours: dict[int, dict[str, Any]]) -> list[Row]:
    """The goals that need no peer."""
    rows = []
    if 1_000 in ours:
        rows.append(Row("overhead of a trial, N = 1,000", "—", *at_most(overhead_ms(ours[1_000]), 100, " ms")))
    if {1_000, 10_000} <= ours.keys():
        growth = overhead_ms(ours[10_000]) / overhead_ms(ours[1_000])
        rows.append(Row("overhead of a trial at 10,000 trials over that at 1,000", "—", *at_most(growth, 2, "×")))
    return rows


def peer_rows(found: dict[str, dict[str, Any]]) -> list[Row]:
    """Ratios on the clock within the race."""
    goals = ((DOCUMENTED, OURS, 100), (OPTUNA, OURS, 8), (TUNED, PRUNING, 1), (TUNED_TOGETHER, OURS, 1))
    return [
        Row(
            f"overhead of a trial, {ours.name}",
            peer.name,
            *at_least(overhead_ms(found[peer.name]) / overhead_ms(found[ours.name]), goal),
        )
        for peer, ours, goal in goals
    ]


def growth_table(ours: dict[int, dict[str, Any]]) -> str:
    """Ours by the number of trials."""
    lines = []
    for size, found in ours.items():
        memory = found["memory_mib"]
        marks = ", ".join(f"{float(mib):.0f} after {mark}" for mark, mib in memory.items() if mark != "0")
        driver_ms, server_ms = (1000 * found[key] / size for key in ("driver_cpu_s", "server_cpu_s"))
        lines.append(
            (
                f"{size:,}",
                f"{overhead_ms(found):.0f}",
                f"{cpu_ms(found):.0f}",
                f"{driver_ms:.0f}",
                f"{server_ms:.0f}",
                marks,
                f"{found['load']:.1f}",
            )
        )
    heading = ("N", "ms a trial", "processor ms, all", "driver's", "server's", "driver's memory, MiB", "load before")
    return table(heading, lines)


def parts_table(ours: dict[int, dict[str, Any]]) -> str:
    """Where the driver's time goes."""
    lines = []
    for size, found in ours.items():
        wall, cpu = (
            {part: 1000 * found[key].get(part, 0.0) / size for part in PARTS} for key in ("parts_wall_s", "parts_cpu_s")
        )
        in_loop = sum(milliseconds for part, milliseconds in wall.items() if "thread" not in part)
        cells = [f"{wall[part]:.1f} ({cpu[part]:.1f})" for part in PARTS]
        lines.append((f"{size:,}", *cells, f"{overhead_ms(found) - in_loop:.1f}"))
    title = "Parts of a trial, ms on the clock (processor ms); the rest is Ray's loop and waiting for its workers:"
    return f"{title}\n\n{table(('N', *PARTS, 'the rest'), lines)}"


def peers_table(found: dict[str, dict[str, Any]]) -> str:
    """The race."""
    lines: Sequence[Sequence[str]] = [
        (
            name,
            str(one["num_trials"]),
            f"{overhead_ms(one):,.0f}",
            f"{overhead_ms(one) / overhead_ms(found[OURS.name]):.2f}",
            f"{cpu_ms(one):,.0f}",
            f"{cpu_ms(one) / cpu_ms(found[OURS.name]):.2f}",
            f"{one['load']:.1f}",
        )
        for name, one in found.items()
    ]
    heading = ("", "trials", "ms a trial", "times ours", "processor ms", "times ours", "load before")
    return f"One run, contestants one after the other:\n\n{table(heading, lines)}"


if __name__ == "__main__":
    main()
