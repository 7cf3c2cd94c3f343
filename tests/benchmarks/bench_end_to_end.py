"""A real study from its command to its registered model, against Ray's documented stack and against a tuned one.

    python -m tests.benchmarks.bench_end_to_end

24 trials of SqueezeNet with ImageNet's weights on ../shared/data/clothing10, freeze depths 1.0 and 0.5, equal epochs, Ray,
Optuna and MLflow over REST. Ours is the `study run` command, all of it: packing the photos, starting Ray, registering the
winner. Peers are timed without Python's and Ray's start, over fewer trials (their rate is constant).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.bench_recording import running_server
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.own_command import study_run
from tests.benchmarks.photos import CLOTHING, SQUEEZENET_WEIGHTS
from tests.benchmarks.processes import cpu_s
from tests.benchmarks.report import Report, Row, add_report_argument, at_least, publish, table

TEXT = """
name = "end-to-end"
question = "How much sooner does a real study end?"
[data]
folder = "{photos}"
image_size = 224
[trial]
backbone = "squeezenet1_0"
weights = "{weights}"
epochs = {epochs}
batch_size = 64
[space]
freeze_depth = {{ choices = [0.5, 1.0] }}
"optimizer.lr" = {{ low = 3e-4, high = 1e-2, log = true }}
[search]
sampler = "tpe"
trials = {trials}
pruner = "none"
[resources]
cpus = 1
"""
DOCUMENTED, TUNED = "Ray, documented", "Ray, tuned"
PEERS = {DOCUMENTED: ("peer_ray_documented", ()), TUNED: ("peer_ray_tuned", ("--workers", "1"))}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--documented", type=int, default=2, help="trials of the documented stack that are timed")
    parser.add_argument("--tuned", type=int, default=6, help="trials of the tuned stack that are timed")
    parser.add_argument("--epochs", type=int, default=5)
    add_report_argument(parser)
    arguments = parser.parse_args()
    machine = describe_machine()
    ours = run_ours(arguments.trials, arguments.epochs)
    sizes = {TUNED: arguments.tuned, DOCUMENTED: arguments.documented}
    peers = {name: run_peer(name, size, arguments.epochs) for name, size in sizes.items()}
    rows = []
    for name, goal in ((DOCUMENTED, 10), (TUNED, 3)):
        ratio = per_trial(peers[name], "wall_s") / per_trial(ours, "wall_s")
        rows.append(Row(f"real study, {arguments.trials} trials × {arguments.epochs} epochs", name, *at_least(ratio, goal)))
    found = {"ours, the whole command": ours, **peers}
    report = Report("End to end", "python -m tests.benchmarks.bench_end_to_end", rows, f"{machine}\n\n{race_table(found)}")
    publish(report, arguments)


def run_ours(num_trials: int, num_epochs: int) -> dict[str, Any]:
    """What `study run` took."""
    with running_server(("--workers", "1")) as (uri, pid), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "end-to-end.toml"
        paths = {"photos": CLOTHING.resolve(), "weights": SQUEEZENET_WEIGHTS.resolve()}
        file.write_text(TEXT.format(trials=num_trials, epochs=num_epochs, **paths), encoding="utf-8")
        command, stores = study_run(file, uri)
        server_s, began_s, began_cpu_s, load = cpu_s(pid), time.perf_counter(), sum(os.times()[2:4]), os.getloadavg()[0]
        finished = subprocess.run(command, env={**os.environ, **stores}, stdout=subprocess.PIPE, text=True, check=True)
        outcome = json.loads(finished.stdout)
        return told(
            {
                "num_trials": num_trials,
                "wall_s": time.perf_counter() - began_s,
                "all_cpu_s": sum(os.times()[2:4]) - began_cpu_s,
                "server_cpu_s": cpu_s(pid) - server_s,
                "reached": [row["value"] for row in outcome["leaderboard"]],
                "load": load,
            }
        )


def run_peer(name: str, num_trials: int, num_epochs: int) -> dict[str, Any]:
    """What a peer printed."""
    module, options = PEERS[name]
    with running_server(options) as (uri, pid):
        command = [sys.executable, "-W", "ignore", "-m", f"tests.benchmarks.{module}", uri, str(num_trials)]
        command += ["--work", "clothing", "--epochs", str(num_epochs), "--server-pid", str(pid)]
        load = os.getloadavg()[0]
        finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return told({**json.loads(finished.stdout.splitlines()[-1]), "load": load})


def told(found: dict[str, Any]) -> dict[str, Any]:
    """The same, said aloud on the way."""
    print(json.dumps(found), file=sys.stderr, flush=True)
    return found


def per_trial(found: dict[str, Any], key: str) -> float:
    """Seconds."""
    return float(found[key]) / int(found["num_trials"])


def race_table(found: dict[str, dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        (
            name,
            one["num_trials"],
            f"{per_trial(one, 'wall_s'):.1f}",
            f"{3600 / per_trial(one, 'wall_s'):,.0f}",
            f"{per_trial(one, 'all_cpu_s') + per_trial(one, 'server_cpu_s'):.1f}",
            f"{max(one['reached']):.3f}, {np.median(one['reached']):.3f}",
            f"{one['load']:.1f}",
        )
        for name, one in found.items()
    ]
    heading = ("", "trials", "s a trial", "trials an hour", "processor s a trial", "objective: best, median", "load before")
    return table(heading, lines)


if __name__ == "__main__":
    main()
