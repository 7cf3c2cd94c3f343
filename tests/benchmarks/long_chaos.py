"""A study killed at random moments against the same one undisturbed: the same trials, none lost or doubled, how much later.

python -m tests.benchmarks.long_chaos ../shared/data/clothing10 --weights WEIGHTS.safetensors

Dies, in random order: trials' processes, the driver, the MLflow server, PostgreSQL (Optuna's storage; Debian's packages).
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna

from study.search.algorithms import open_storage
from study.tracking.mlflow_tracker import MlflowTracker
from tests.benchmarks.machine import describe_machine
from tests.postgres import PostgresServer, postgres_server, why_not
from tests.processes import kill_a_trial
from tests.stores import MlflowServer, mlflow_server

STUDY = """
name = "chaos"
[data]
{data}
image_size = 96
[trial]
backbone = "squeezenet1_0"
weights = "{weights}"
freeze_depth = 1.0
epochs = {epochs}
batch_size = 32
[space]
head = {{ choices = ["replace", "append"] }}
imbalance = {{ choices = ["none", "weighted_loss"] }}
"optimizer.name" = {{ choices = ["adam", "sgd"] }}
"optimizer.lr" = {{ low = 1e-4, high = 1e-2, log = true }}
[search]
sampler = "random"
trials = {trials}
pruner = {{ name = "none" }}
[resources]
cpus = 1
"""
# Each trial's recipe is given: a resumed sampler is seeded anew, and would ask for other trials than an undisturbed one.
POINT = """
[[search.enqueue]]
head = "{head}"
imbalance = "{imbalance}"
"optimizer.name" = "{name}"
"optimizer.lr" = {lr}
"""
DEATHS = ("worker", "driver", "worker", "MLflow", "PostgreSQL")  # as often as they are named, again and again
AWAY_S = 3.0  # a server that dies is started again after as long
MOST_RESUMES = 30
Trial = tuple[Mapping[str, Any], float | None, str]


@dataclass
class Place:
    """One study's folder and stores."""

    folder: Path
    environment: Mapping[str, str]
    num_ended: int = 0
    deaths: list[str] = field(default_factory=list)
    num_resumes: int = 0

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """A command of the study; its lines are read as they come."""
        process = subprocess.Popen(
            [sys.executable, "-m", "study.cli", *arguments],
            cwd=self.folder,
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self._read, args=(process,), daemon=True).start()
        return process

    def call(self, *arguments: str) -> str:
        """What a command prints that is to succeed."""
        environment = {**os.environ, **self.environment}
        command = [sys.executable, "-m", "study.cli", *arguments]
        return subprocess.run(command, cwd=self.folder, env=environment, check=True, capture_output=True, text=True).stdout

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        with (self.folder / "driver.log").open("a") as log:
            for line in process.stdout:
                log.write(line)
                log.flush()
                if found := re.search(r"(\d+)/\d+ trials", line):
                    self.num_ended = int(found[1])


def disturb(place: Place, death: str, driver: "subprocess.Popen[str]", mlflow: MlflowServer, postgres: PostgresServer) -> None:
    """Lets something die."""
    place.deaths.append(f"{death} after {place.num_ended} trials")
    if death == "worker":
        kill_a_trial(place.folder, patience_s=20)
    elif death == "driver":
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    else:
        server = mlflow if death == "MLflow" else postgres
        server.kill()
        time.sleep(AWAY_S)
        server.start()


def run(place: Place, moments: Sequence[tuple[float, str]], mlflow: MlflowServer, postgres: PostgresServer) -> float:
    """Seconds until the study is whole, whatever it takes.

    Args:
        moments: numbers of trials ended, rising, and what dies then.
    """
    began_s = time.monotonic()
    driver, waiting = place.start("run", "chaos.toml"), list(moments)
    try:
        while driver.poll() != 0:
            if driver.poll() is not None:
                place.num_resumes += 1
                assert place.num_resumes < MOST_RESUMES, (place.folder / "driver.log").read_text()[-3000:]
                driver = place.start("resume", "chaos")
            if waiting and place.num_ended >= waiting[0][0]:
                time.sleep(waiting[0][0] % 1)  # anywhere in a trial, not at its end
                disturb(place, waiting.pop(0)[1], driver, mlflow, postgres)
            time.sleep(0.05)
    finally:
        driver.kill()
    return time.monotonic() - began_s


def trials_in_optuna(place: Place) -> list[Trial]:
    """What became of each trial, by number."""
    stored = optuna.load_study(study_name="chaos", storage=open_storage(place.environment["STUDY_STORAGE"]))
    return [(trial.params, trial.value, trial.state.name) for trial in stored.get_trials()]


def account(place: Place, num_trials: int, epochs: int) -> dict[str, int]:
    """What MLflow has too little or too much of; all zeros are right."""
    tracker = MlflowTracker(place.environment["MLFLOW_TRACKING_URI"])
    run_id = tracker.find_study("chaos")
    assert run_id is not None
    runs = tracker.trial_runs(run_id)
    own = Counter(run.number for run in runs if run.duplicate_of is None)
    histories = [[step for step, _ in tracker.history(run.run_id, "val_loss")] for run in runs if run.duplicate_of is None]
    return {
        "trials without a run": sum(number not in own for number in range(num_trials)),
        "trials with two runs": sum(count > 1 for count in own.values()),
        "runs marked as duplicates": sum(run.duplicate_of is not None for run in runs),
        "runs with epochs missing or doubled": sum(steps != list(range(1, epochs + 1)) for steps in histories),
        "differences that `study reconcile` finds": len(json.loads(place.call("reconcile", "chaos", "--json"))),
    }


def main() -> None:
    """Runs both studies and prints what they came to, in Markdown."""
    parser = argparse.ArgumentParser()
    parser.add_argument("photos", nargs="?", type=Path, help="a folder of classes; default: drawn ones")
    parser.add_argument("--weights", default="none")
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if reason := why_not():
        sys.exit(reason)
    print(f"{describe_machine()}\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        _race(asked, Path(folder))


def _race(asked: argparse.Namespace, folder: Path) -> None:
    data = f'folder = "{asked.photos.absolute()}"' if asked.photos else 'generated = "instruments"\nnum_photos = 400'
    weights = asked.weights if asked.weights == "none" else str(Path(asked.weights).absolute())
    text = STUDY.format(data=data, weights=weights, epochs=asked.epochs, trials=asked.trials)
    packed = folder / "packed"
    random_ = random.Random(asked.seed)
    text += "".join(_point(random_) for _ in range(asked.trials))
    deaths = [DEATHS[number % len(DEATHS)] for number in range(asked.kills)]
    random_.shuffle(deaths)
    moments = sorted(random_.uniform(0, 0.95 * asked.trials) for _ in deaths)
    plans = {"undisturbed": [], "disturbed": list(zip(moments, deaths, strict=True))}
    found: dict[str, tuple[float, list[Trial]]] = {}
    for name, plan in plans.items():
        place_folder = folder / name
        place_folder.mkdir()
        (place_folder / "mlflow").mkdir()
        (place_folder / "chaos.toml").write_text(text)
        with mlflow_server(place_folder / "mlflow") as mlflow, postgres_server() as postgres:
            place = _place(place_folder, mlflow, postgres)
            if not packed.exists():  # both begin with packed photos and nothing else
                place.call("check", "chaos.toml")
                shutil.copytree(place_folder / "cache", packed)
            shutil.copytree(packed, place_folder / "cache", dirs_exist_ok=True)
            load = os.getloadavg()[0]
            seconds = run(place, plan, mlflow, postgres)
            found[name] = seconds, trials_in_optuna(place)
            _tell(place, name, seconds, load, account(place, asked.trials, asked.epochs))
    _compare(found["undisturbed"], found["disturbed"])


def _point(random_: random.Random) -> str:
    """One recipe to try, as the definition's text."""
    return POINT.format(
        head=random_.choice(("replace", "append")),
        imbalance=random_.choice(("none", "weighted_loss")),
        name=random_.choice(("adam", "sgd")),
        lr=10 ** random_.uniform(-4, -2),
    )


def _place(folder: Path, mlflow: MlflowServer, postgres: PostgresServer) -> Place:
    environment = {
        "MLFLOW_TRACKING_URI": mlflow.uri,
        "STUDY_STORAGE": postgres.make_database(),
        "STUDY_OUTPUT": str(folder / "studies"),
        "STUDY_CACHE": str(folder / "cache"),
        "RAY_ADDRESS": "",
    }
    return Place(folder, environment)


def _tell(place: Place, name: str, seconds: float, load: float, wrong: Mapping[str, int]) -> None:
    print(f"### {name}: {seconds:.0f} s (load {load:.1f} at its start), {place.num_resumes} times resumed\n")
    if place.deaths:
        print(f"Killed {len(place.deaths)} times: {'; '.join(place.deaths)}.\n")
    print("| what | number |\n|---|---|")
    for what, number in wrong.items():
        print(f"| {what} | {number} |")
    print(flush=True)


def _compare(undisturbed: tuple[float, list[Trial]], disturbed: tuple[float, list[Trial]]) -> None:
    (calm_s, calm), (wild_s, wild) = undisturbed, disturbed
    alike = sum(one == other for one, other in zip(calm, wild, strict=False))
    print("| undisturbed against disturbed | |\n|---|---|")
    print(f"| trials | {len(calm)} and {len(wild)} |")
    print(f"| trials with the same recipe, state and value, bit for bit | {alike} |")
    print(f"| total time | {wild_s / calm_s:.2f} × |")


if __name__ == "__main__":
    main()
