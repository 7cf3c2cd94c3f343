"""The real `docker-compose.yml`, brought up, used, broken and restored, step by step, with times. By hand, as root:

    python -m tests.integration.compose.run ../shared/data        # clothing10 and weights below it
    python -m tests.integration.compose.run ../shared/data --keep # leaves it running

Images that no registry gives here are made by debootstrap (stand_ins.py); Compose's file itself is used as it is.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.integration.compose import stand_ins
from tests.integration.compose.attackers import login_pages, refusals, scan_from_elsewhere
from tests.integration.compose.deployment import PROJECT, Deployment, inspect, run, status_of
from tests.integration.compose.studies import write_definition

ROOT = Path(__file__).parents[3]
NUM_WORKERS = 2
PORTS = {"MLFLOW_PORT": "5055", "RAY_DASHBOARD_PORT": "8277"}


class Steps:
    """What was done, what was seen, how long it took."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, float]] = []

    def __call__(self, name: str, do: Callable[[], str]) -> None:
        """Does one step; a claim that does not hold ends the script."""
        print(f"… {name}", flush=True)
        began_s = time.monotonic()
        seen = do()
        self.rows.append((name, seen, time.monotonic() - began_s))
        print(f"  {seen} ({self.rows[-1][2]:.1f} s)", flush=True)

    def table(self) -> str:
        """As Markdown."""
        lines = [f"| {name} | {seen} | {seconds:.1f} |" for name, seen, seconds in self.rows]
        return "\n".join(["| step | seen | s |", "|---|---|---|", *lines])


def main() -> None:
    """Runs all steps and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="a folder with clothing10 and weights")
    parser.add_argument("--keep", action="store_true", help="leave the deployment running")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "study-compose")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    stand_ins.require_engine(work)
    steps = Steps()
    steps("stand-in images", stand_ins.make_images)
    deployment = Deployment.cloned(ROOT, Path(tempfile.mkdtemp(dir=work, prefix="clone-")))
    try:
        _walk(steps, deployment, arguments.photos.resolve(), work)
    finally:
        print(steps.table())
        if not arguments.keep:
            deployment.remove()


def _walk(steps: Steps, deployment: Deployment, photos: Path, work: Path) -> None:
    steps("`up` without .env", lambda: refused_without_env(deployment))
    steps("cluster/init", lambda: initialised(deployment, photos))
    steps("image built", lambda: built(deployment))
    steps("image built again after a change of code", lambda: rebuilt(deployment))
    steps("`up -d`, until all are healthy", lambda: up(deployment))
    steps("calls without credentials", lambda: refusals(deployment))
    steps("scan of all ports from another network namespace", lambda: scan_from_elsewhere(deployment))
    steps("a study of real photos, launched outside, on 2 workers", lambda: study_on_cluster(deployment, "clothes"))
    steps("MLflow's login in Chromium", lambda: login_pages(deployment, work))
    steps("the same file on this machine", lambda: same_as_here(deployment, work))
    steps("a worker container killed mid-study", lambda: broken(deployment, "clothes-worker", kill_worker))
    steps("PostgreSQL restarted mid-study", lambda: broken(deployment, "clothes-database", restart_database))
    steps("a third worker added", lambda: worker_added(deployment))
    steps("`down` and `up`", lambda: down_and_up(deployment))
    steps("cluster/rotate", lambda: rotated(deployment))
    steps("the runbook's upgrade", lambda: upgraded(deployment))
    steps("a model pulled and used outside", lambda: pulled(deployment, photos))
    steps("backup, all volumes deleted, restore", lambda: restored(deployment, work))


def refused_without_env(deployment: Deployment) -> str:
    """One sentence that says what to do."""
    done = deployment.compose("up", "-d", check=False)
    said = (done.stdout + done.stderr).strip()
    assert done.returncode != 0, "it must not start"
    assert "run cluster/init first, it writes .env with random secrets" in said, said
    return f"refused: “… {said[said.rindex('run cluster') :]}”"


def initialised(deployment: Deployment, photos: Path) -> str:
    """Secrets that only their owner reads; a second call keeps them."""
    run(["cluster/init"], deployment.folder)
    mode = (deployment.folder / ".env").stat().st_mode & 0o777
    assert mode == 0o600
    again = run(["cluster/init"], deployment.folder, check=False)
    assert again.returncode == 2
    deployment.configure(
        COMPOSE_PROJECT_NAME=PROJECT,
        BASE_IMAGE=stand_ins.PYTHON,
        POSTGRES_IMAGE=stand_ins.POSTGRES,
        STUDY_IMAGE="study-test/study",
        PHOTOS=str(photos),
        WORKERS=str(NUM_WORKERS),
        WORKER_CPUS="1",
        WORKER_MEMORY="5g",
        **PORTS,
    )
    return ".env of mode 600; a second call keeps it"


def built(deployment: Deployment) -> str:
    """With the network of this machine, which may reach a package index that a container does not."""
    arguments = ["--network", "host", "--build-arg", f"BASE_IMAGE={stand_ins.PYTHON}", "--file", "cluster/Dockerfile"]
    run(["docker", "build", *arguments, "--tag", "study-test/study", "."], deployment.folder)
    return f"{int(inspect('study-test/study', '{{.Size}}')) / 1e9:.1f} GB"


def rebuilt(deployment: Deployment) -> str:
    """After one line of code."""
    with (deployment.folder / "study" / "errors.py").open("a") as code:
        code.write("# changed\n")
    built(deployment)
    return "only the layers of the code"


def up(deployment: Deployment, num_workers: int = NUM_WORKERS) -> str:
    """All services."""
    deployment.compose("up", "-d")
    deployment.wait_until_healthy(num_workers)
    return f"postgres, mlflow, ray-head and {num_workers} workers healthy"


def study_on_cluster(deployment: Deployment, name: str) -> str:
    """From the host, on all workers."""
    hosts, best = _sent(deployment, name)
    assert len(hosts) == NUM_WORKERS, f"trials ran on {hosts}"
    return f"8 COMPLETE on {len(hosts)} hosts, best {best:.3f}"


def _sent(deployment: Deployment, name: str) -> tuple[set[str], float]:
    """A study through Ray's job API: where its trials ran, and what it reached."""
    file = write_definition(deployment.folder / "definitions", name)
    done = deployment.study("run", str(file), "--address", deployment.jobs_address, "--json")
    best = json.loads(done.stdout)
    trials = deployment.trials(name)
    hosts = {one.data.tags.get("study.host", "") for one in trials}
    assert [one.data.tags["study.trial_state"] for one in trials] == ["COMPLETE"] * 8, "eight trials, all complete"
    return hosts - {""}, best["winner"]["value"]


def same_as_here(deployment: Deployment, work: Path) -> str:
    """The same recipes and, for the same seeds, the same measurements on the CPU."""
    here = work / "here"
    here.mkdir(exist_ok=True)
    file = write_definition(deployment.folder / "definitions", "clothes", photos=Path(deployment.settings["PHOTOS"]))
    places = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{here}/mlflow.db",
        "STUDY_STORAGE": f"{here}/study.journal",
        "STUDY_OUTPUT": f"{here}/studies",
        "STUDY_CACHE": f"{here}/cache",
    }
    deployment.study("run", str(file), environment=places)
    shown = deployment.study("show", "clothes", "--json", environment=places)
    there = deployment.study("show", "clothes", "--json")
    own, others = (_figures(json.loads(done.stdout)) for done in (shown, there))
    assert own.keys() == others.keys(), "the same recipes"
    assert own == others, f"measurements differ:\n{own}\n{others}"
    return f"{len(own)} recipes, {len(next(iter(own.values())))} measurements of each equal to the last bit"


def _figures(shown: dict[str, Any]) -> dict[str, dict[str, float]]:
    trials = shown["trials"]
    # The weights are the same file at another path.
    recipes = ({key: value for key, value in one["params"].items() if key != "weights"} for one in trials)
    metrics = ({key: value for key, value in one["metrics"].items() if key.startswith("best_val_")} for one in trials)
    return {json.dumps(recipe, sort_keys=True): figures for recipe, figures in zip(recipes, metrics, strict=True)}


def broken(deployment: Deployment, name: str, break_it: Callable[[Deployment], None]) -> str:
    """A study during which something dies: every trial once in Optuna and in MLflow, all of them complete."""
    file = write_definition(deployment.folder / "definitions", name, epochs=12, freeze_depth=0.0)
    process = deployment.start_study("run", str(file), "--address", deployment.jobs_address)
    _wait_for_trials(deployment, name, 2)
    break_it(deployment)
    said = process.communicate(timeout=900)[0]
    resumed = ""
    if process.returncode != 0:
        resumed = "; `study resume` was needed"
        deployment.wait_until_healthy(NUM_WORKERS)
        deployment.study("resume", name, "--address", deployment.jobs_address)
    deployment.wait_until_healthy(NUM_WORKERS)
    trials = deployment.trials(name)
    states = [one.data.tags["study.trial_state"] for one in trials]
    assert states == ["COMPLETE"] * 8, f"{states}\n{said[-3000:]}"
    assert [int(one.data.tags["study.trial_number"]) for one in trials] == list(range(8)), "each trial once"
    return f"8 trials, 8 runs, all COMPLETE{resumed}"


def _wait_for_trials(deployment: Deployment, name: str, number: int, patience_s: float = 300.0) -> None:
    deadline_s = time.monotonic() + patience_s
    while len(deployment.trials(name)) < number:
        assert time.monotonic() < deadline_s, f"{number} trials of {name} must begin"
        time.sleep(1)


def kill_worker(deployment: Deployment) -> None:
    """As when its machine loses power: its first process is killed from outside, and Docker starts it again."""
    container = deployment.containers("ray-worker")[0]
    os.kill(int(inspect(container, "{{.State.Pid}}")), 9)


def restart_database(deployment: Deployment) -> None:
    """As for an upgrade."""
    deployment.compose("restart", "postgres")


def down_and_up(deployment: Deployment) -> str:
    """Nothing lost."""
    before = deployment.holdings()
    deployment.compose("down")
    up(deployment)
    after = deployment.holdings()
    assert after == before
    return _told(after)


def worker_added(deployment: Deployment) -> str:
    """By one line of .env, and taken away again."""
    deployment.configure(WORKERS=str(NUM_WORKERS + 1))
    up(deployment, NUM_WORKERS + 1)
    deployment.configure(WORKERS=str(NUM_WORKERS))
    up(deployment)
    return f"{NUM_WORKERS + 1} workers, then {NUM_WORKERS} again"


def rotated(deployment: Deployment) -> str:
    """Old secrets open nothing, new ones everything, nothing lost."""
    before = deployment.holdings()
    old = deployment.settings
    runs = f"{deployment.mlflow_address}/api/2.0/mlflow/experiments/search?max_results=1"
    jobs = f"{deployment.jobs_address}/api/jobs/"
    run(["cluster/rotate"], deployment.folder)
    deployment.wait_until_healthy(NUM_WORKERS)
    new = deployment.settings
    assert status_of(runs, (old["MLFLOW_ADMIN_USERNAME"], old["MLFLOW_ADMIN_PASSWORD"])) == 401
    assert status_of(runs, deployment.login) == 200
    assert status_of(jobs, Authorization=f"Bearer {old['RAY_AUTH_TOKEN']}") in (401, 403)
    assert status_of(jobs, Authorization=f"Bearer {new['RAY_AUTH_TOKEN']}") == 200
    for name, database in (("POSTGRES", "postgres"), ("STUDY_DATABASE", "study"), ("MLFLOW_DATABASE", "mlflow")):
        assert not _signs_in(deployment, database, old[f"{name}_PASSWORD"]), f"{database}'s old password must be refused"
        assert _signs_in(deployment, database, new[f"{name}_PASSWORD"])
    assert deployment.holdings() == before
    _sent(deployment, "clothes-rotated")
    return f"old ones refused, new ones taken; {_told(before)}, and a study runs"


def _signs_in(deployment: Deployment, user: str, password: str) -> bool:
    query = f"PGPASSWORD={password} psql -h 127.0.0.1 -U {user} {user} -c 'select 1'"
    return deployment.compose("exec", "-T", "postgres", "sh", "-c", query, check=False).returncode == 0


def upgraded(deployment: Deployment) -> str:
    """As the runbook writes it, on tables that are up to date."""
    before = deployment.holdings()
    deployment.compose("stop", "mlflow", "ray-head", "ray-worker")
    deployment.compose("run", "--rm", "-T", "mlflow", "sh", "-c", 'mlflow db upgrade "$MLFLOW_BACKEND_STORE_URI"')
    deployment.compose("run", "--rm", "-T", "ray-head", "sh", "-c", 'optuna storage upgrade --storage "$STUDY_STORAGE"')
    up(deployment)
    assert deployment.holdings() == before
    return f"{_told(before)}: all as before"


def restored(deployment: Deployment, work: Path) -> str:
    """Nothing lost, though all volumes were."""
    before = deployment.holdings()
    backup = work / f"backup-{os.getpid()}"
    run(["cluster/backup", str(backup)], deployment.folder)
    size_mb = sum(file.stat().st_size for file in backup.iterdir()) / 1e6
    deployment.compose("down", "--volumes")
    up(deployment)
    run(["cluster/restore", str(backup), "--yes"], deployment.folder)
    deployment.wait_until_healthy(NUM_WORKERS)
    assert deployment.holdings() == before
    subprocess.run(["rm", "-r", str(backup)], check=True)
    return f"{_told(before)}; {size_mb:.0f} MB"


def _told(holdings: dict[str, Any]) -> str:
    return f"{len(holdings['runs'])} runs, {len(holdings['models'])} models, Optuna {' '.join(holdings['optuna'])}"


def pulled(deployment: Deployment, photos: Path) -> str:
    """From the registry, with a login, to plain files that predict."""
    folder = deployment.folder / "model"
    deployment.study("pull", "models:/clothes@champion", str(folder))
    photo = next((photos / "clothing10" / "validation" / "dress").glob("*.jpg"))
    answer = json.loads(deployment.study("predict", str(folder), str(photo), "--json").stdout)
    return f"{sorted(file.name for file in folder.iterdir())}; a dress is called {answer[0].get('class')}"


if __name__ == "__main__":
    main()
