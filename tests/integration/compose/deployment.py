"""One deployment of `docker-compose.yml` from a clone of its own, as its user sees it: Compose, the command `study`, MLflow."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
import requests
from mlflow import MlflowClient
from mlflow.entities import Run

PROJECT = "studytest"
COMPOSE = (
    ("docker", "compose")
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
    else ("docker-compose",)
)
HEALTHY_S = 300.0


class Deployment:
    """Attributes:
    folder: the clone, with its .env.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def cloned(cls, repository: Path, folder: Path) -> "Deployment":
        """From a fresh clone of what is committed."""
        subprocess.run(["git", "clone", "--quiet", str(repository), str(folder)], check=True)
        return cls(folder)

    def compose(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """One command of Compose in the clone."""
        return run([*COMPOSE, *arguments], self.folder, check=check)

    def configure(self, **settings: str) -> None:
        """Sets variables of .env."""
        file = self.folder / ".env"
        lines = [line for line in file.read_text().splitlines() if line.split("=")[0] not in settings]
        file.write_text("\n".join([*lines, *(f"{name}={value}" for name, value in settings.items())]) + "\n")

    @property
    def settings(self) -> Mapping[str, str]:
        """The variables of .env."""
        lines = (self.folder / ".env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))

    @property
    def mlflow_address(self) -> str:
        """As the host sees it."""
        return f"http://127.0.0.1:{self.settings['MLFLOW_PORT']}"

    @property
    def jobs_address(self) -> str:
        """As the host sees it."""
        return f"http://127.0.0.1:{self.settings['RAY_DASHBOARD_PORT']}"

    @property
    def login(self) -> tuple[str, str]:
        """Name and password of MLflow's administrator."""
        return self.settings["MLFLOW_ADMIN_USERNAME"], self.settings["MLFLOW_ADMIN_PASSWORD"]

    @property
    def outside(self) -> dict[str, str]:
        """The environment of somebody on the host who was given the addresses and secrets."""
        name, password = self.login
        return {
            **os.environ,
            "PYTHONPATH": str(self.folder),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.settings["RAY_AUTH_TOKEN"],
            "MLFLOW_TRACKING_URI": self.mlflow_address,
            "MLFLOW_TRACKING_USERNAME": name,
            "MLFLOW_TRACKING_PASSWORD": password,
        }

    def study(self, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """One command of ours on the host, with the clone's code."""
        return run([sys.executable, "-m", "study.cli", *arguments], self.folder, {**self.outside, **(environment or {})})

    def start_study(self, *arguments: str) -> subprocess.Popen[str]:
        """The same, going on meanwhile."""
        command = [sys.executable, "-m", "study.cli", *arguments]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.outside, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def containers(self, service: str) -> list[str]:
        """Of a service that runs."""
        return self.compose("ps", "-q", service).stdout.split()

    def wait_until_healthy(self, num_workers: int) -> None:
        """Until every container says so.

        Raises:
            SystemExit: if that takes too long.
        """
        deadline_s = time.monotonic() + HEALTHY_S
        services = ("postgres", "mlflow", "ray-head", "ray-worker")
        while True:
            found = [container for service in services for container in self.containers(service)]
            states = [inspect(container, "{{.State.Health.Status}}") for container in found]
            if len(states) == 3 + num_workers and set(states) == {"healthy"}:
                return
            if time.monotonic() > deadline_s:
                raise SystemExit(f"all containers must be healthy within {HEALTHY_S:.0f} s, but they are {states}")
            time.sleep(1)

    def client(self) -> MlflowClient:
        """MLflow from the host, logged in."""
        os.environ.update({key: value for key, value in self.outside.items() if key.startswith("MLFLOW_")})
        mlflow.set_tracking_uri(self.mlflow_address)
        return MlflowClient(self.mlflow_address)

    def trials(self, name: str) -> list[Run]:
        """The trials of a study in MLflow, by number."""
        client = self.client()
        experiment = client.get_experiment_by_name(name)
        runs = (
            client.search_runs([experiment.experiment_id], "tags.`study.trial_number` != ''", max_results=1000)
            if experiment
            else []
        )
        own = [one for one in runs if one.data.tags.get("study.name", name) == name]
        return sorted(own, key=lambda one: int(one.data.tags["study.trial_number"]))

    def parent_run(self, name: str) -> Run:
        """The run of a study itself."""
        client = self.client()
        experiment = client.get_experiment_by_name(name)
        assert experiment is not None, f"{name} must be an experiment"
        return client.search_runs([experiment.experiment_id], "tags.`study.objective` != ''", max_results=1)[0]

    def holdings(self) -> dict[str, Any]:
        """What must not be lost: runs with their states and figures, registered models with their aliases."""
        client = self.client()
        experiments = [one.experiment_id for one in client.search_experiments()]
        runs = client.search_runs(experiments, max_results=5000)
        models = client.search_registered_models()
        return {
            "runs": {one.info.run_id: (one.info.status, sorted(one.data.metrics.items())) for one in runs},
            "models": {one.name: sorted(one.aliases.items()) for one in models},
            "optuna": self.compose("exec", "-T", "postgres", "sh", "-c", COUNTS).stdout.split(),
        }

    def remove(self) -> None:
        """With all that it holds."""
        self.compose("down", "--volumes", "--timeout", "5", check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


COUNTS = (
    "PGPASSWORD=$POSTGRES_PASSWORD psql -h 127.0.0.1 -U postgres -At study "
    "-c 'select state, count(*) from trials group by state order by state'"
)


def run(
    command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None, *, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """A command to its end; its output is shown where it fails and should not have."""
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done


def inspect(container: str, template: str) -> str:
    """What Docker knows of a container."""
    command = ["docker", "inspect", "--format", template, container]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def status_of(url: str, login: tuple[str, str] | None = None, **headers: str) -> int:
    """HTTP status of a GET."""
    return requests.get(url, auth=login, headers=headers, timeout=20).status_code
