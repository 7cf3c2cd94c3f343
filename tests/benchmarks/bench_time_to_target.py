"""Seconds from the command to a target accuracy on real photos: `study run` against Ray with ASHA and Optuna with Hyperband.

    python -m tests.benchmarks.bench_time_to_target

SqueezeNet with ImageNet's weights on ../shared/data/clothing10, 224 px; the same three keys searched by everybody (freeze depth
0, 0.5 or 1, learning rate from 1e-5 to 0.1, Adam or SGD), TPE each, everything recorded in an MLflow server of its own. The
clock starts with the process, Python and Ray included. Each has its time, ours less; a trial's epoch counts when it was
measured. The target is known afterwards: 95 % of the margin over chance of the best value that anybody reached in any run. Who
did not reach it in time is taken to have reached it then: such a ratio is told as "at least".
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import DEVNULL

import numpy as np
from mlflow import MlflowClient

from tests.benchmarks.bench_recording import running_server
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.own_command import study_run
from tests.benchmarks.peer_work import OBJECTIVE
from tests.benchmarks.photos import CLOTHING, SQUEEZENET_WEIGHTS
from tests.benchmarks.report import Report, Row, add_report_argument, at_least, publish, table

TEXT = """
name = "race"
question = "How soon is it good?"
[data]
folder = "{photos}"
image_size = 224
[trial]
backbone = "squeezenet1_0"
weights = "{weights}"
epochs = {epochs}
batch_size = 64
[space]
freeze_depth = {{ choices = [0.0, 0.5, 1.0] }}
"optimizer.lr" = {{ low = 1e-5, high = 1e-1, log = true }}
"optimizer.name" = {{ choices = ["adam", "sgd"] }}
[search]
sampler = "tpe"
seed = {seed}
trials = {trials}
{search}
[resources]
cpus = 1
"""
HEADS_FIRST = "[search.screening]\nheads = 12\npromote = 3"
CHANCE = 0.1
SHARES = (0.95, 0.98)
OURS, PLAIN, TUNED, LOOP = "ours, heads first", "ours, without screening", "Ray, tuned, ASHA", "Optuna's loop, Hyperband"
GOALS = {TUNED: 3, LOOP: 8}
PEERS = {TUNED: "peer_ray_tuned", LOOP: "peer_optuna_loop"}
GRACE_S = 20  # to stop in good order
Reached = Sequence[tuple[float, float]]  # seconds since the process began, and what was measured then


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--limit", type=float, default=240.0, help="seconds that each run of a peer has")
    parser.add_argument("--limit-ours", type=float, default=60.0, help="seconds that each run of ours has")
    parser.add_argument("--trials", type=int, default=60, help="at most")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--only", choices=[OURS, PLAIN, *PEERS], action="append")
    add_report_argument(parser)
    arguments = parser.parse_args()
    machine = describe_machine()
    found: dict[str, list[Reached]] = {name: [] for name in arguments.only or (OURS, PLAIN, *PEERS)}
    for seed in range(arguments.seeds):
        for name, runs in found.items():  # in turns: the machine's mood is everybody's
            runs.append(race(name, seed, arguments))
            told = {"contestant": name, "seed": seed, "reached": best_so_far(runs[-1])}
            print(json.dumps(told), file=sys.stderr, flush=True)
    best = max(value for runs in found.values() for run in runs for _, value in run)
    rows = [row for share in SHARES for row in rows_of(found, share, best, arguments.limit)]
    publish(Report("Time to a target, measured", COMMAND, rows, f"{machine}\n\n{details(found, best)}"), arguments)


COMMAND = "python -m tests.benchmarks.bench_time_to_target"


def race(name: str, seed: int, arguments: argparse.Namespace) -> Reached:
    """One run of one contestant, ended when its time is over."""
    with tempfile.TemporaryDirectory() as folder, running_server(("--workers", "1")) as (uri, _):
        command, environment = command_of(name, seed, Path(folder), uri, arguments)
        limit_s = arguments.limit if name in PEERS else arguments.limit_ours
        began_s = time.time()
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, start_new_session=True, stdout=DEVNULL, stderr=DEVNULL
        )
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        measured = [(one_s - began_s, value) for one_s, value in values_of(uri)]
    if not measured:  # a mistake in its command, or no time for a single epoch
        raise SystemExit(f"{name} must measure something within {limit_s:g} s, but it ended with {process.returncode}")
    return [one for one in sorted(measured) if one[0] <= limit_s]


def command_of(
    name: str, seed: int, folder: Path, uri: str, arguments: argparse.Namespace
) -> tuple[Sequence[str], Mapping[str, str]]:
    """What a user of it would call, and its environment."""
    if name in (OURS, PLAIN):
        search = HEADS_FIRST if name == OURS else ""
        paths = {"photos": CLOTHING.resolve(), "weights": SQUEEZENET_WEIGHTS.resolve()}
        (folder / "race.toml").write_text(TEXT.format(**vars(arguments), **paths, seed=seed, search=search), encoding="utf-8")
        return study_run(folder / "race.toml", uri)
    command = [sys.executable, "-W", "ignore", "-m", f"tests.benchmarks.{PEERS[name]}", uri, str(arguments.trials)]
    command += ["--work", "clothing-race", "--epochs", str(arguments.epochs), "--pruned", "--seed", str(seed)]
    return command, {}


def values_of(uri: str) -> list[tuple[float, float]]:
    """Every measured objective with its time, seconds since 1970."""
    client = MlflowClient(uri)
    experiments = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(experiments, max_results=1000)
    trials = [one for one in runs if OBJECTIVE in one.data.metrics and "study.objective" not in one.data.tags]
    histories = (client.get_metric_history(one.info.run_id, OBJECTIVE) for one in trials)
    return [(one.timestamp / 1000, one.value) for history in histories for one in history]


def best_so_far(run: Reached) -> list[tuple[float, float]]:
    """Where the best value rose."""
    risen: list[tuple[float, float]] = []
    for seconds, value in run:
        if not risen or value > risen[-1][1]:
            risen.append((round(seconds, 1), round(value, 4)))
    return risen


def seconds_to(target: float, run: Reached) -> float:
    """Infinite where it was not reached in time."""
    return next((seconds for seconds, value in run if value >= target), np.inf)


def rows_of(found: dict[str, list[Reached]], share: float, best: float, limit_s: float) -> list[Row]:
    """A row a peer."""
    target = CHANCE + share * (best - CHANCE)
    medians = {name: float(np.median([seconds_to(target, run) for run in runs])) for name, runs in found.items()}
    work = f"seconds to {share:.0%} of the best known margin, {target:.3f}, median"
    return [
        _row(work, name, seconds, medians[OURS], limit_s)
        for name, seconds in medians.items()
        if name in GOALS and np.isfinite(medians.get(OURS, np.inf))
    ]


def _row(work: str, peer: str, seconds: float, ours_s: float, limit_s: float) -> Row:
    goal, told, is_reached = at_least(min(seconds, limit_s) / ours_s, GOALS[peer])
    return Row(work, peer, goal, f"at least {told}" if seconds > limit_s else told, is_reached)


def details(found: dict[str, list[Reached]], best: float) -> str:
    """Markdown: each run."""
    lines = []
    for name, runs in found.items():
        for share in SHARES:
            target = CHANCE + share * (best - CHANCE)
            seconds = [seconds_to(target, run) for run in runs]
            shown = ", ".join("never" if np.isinf(one) else f"{one:.0f}" for one in seconds)
            lines.append((name, f"{target:.3f}", shown, f"{np.median(seconds):.0f}"))
    reached = ", ".join(
        f"{name}: {np.median([max((value for _, value in run), default=np.nan) for run in runs]):.3f}"
        for name, runs in found.items()
    )
    heading = ("", "target", "seconds, each seed", "median")
    return f"Best of all: {best:.3f}. Median of what was reached at the end: {reached}.\n\n{table(heading, lines)}"


if __name__ == "__main__":
    main()
