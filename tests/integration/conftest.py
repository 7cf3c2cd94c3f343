"""Real studies for the integration tests: the `study` command as a user runs it, on a few drawn photos."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

TINY = """
name = "tiny"
question = "Does a study of seconds come through whole?"
[data]
generated = "instruments"
target = "view"
num_photos = 60
image_size = 32
[trial]
backbone = "squeezenet1_0"
weights = "none"
epochs = 3
batch_size = 16
[space]
head = { choices = ["replace", "append"] }
imbalance = { choices = ["none", "weighted_loss"] }
freeze_depth = { choices = [0.0, 0.5] }
"optimizer.lr" = { low = 1e-4, high = 1e-2, log = true }
[search]
trials = 6
pruner = { name = "median", n_startup_trials = 2, n_warmup_steps = 0 }
"""

# Each starts Ray, which wants the machine's cores and ports for itself: one after the other, in one of pytest's processes.
START_RAY = {
    f"test_{name}.py" for name in ("chaos", "jobs", "metrics", "newcomers", "nodes", "shared_address", "slurm", "study")
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent and item.path.name in START_RAY:
            item.add_marker(pytest.mark.xdist_group("ray"))


@dataclass(frozen=True)
class Workplace:
    """A folder that a user works in: all stores of its studies are there, none elsewhere.

    Attributes:
        environment: beside the present process's, for each command.
    """

    folder: Path
    environment: Mapping[str, str]

    def write(self, text: str, name: str = "tiny.toml") -> Path:
        file = self.folder / name
        file.write_text(text, encoding="utf-8")
        return file

    def command(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "study.cli", *map(str, arguments)]

    def run(self, *arguments: str | Path, code: int = 0, timeout_s: float = 240) -> "subprocess.CompletedProcess[str]":
        """Runs `study` in a process of its own."""
        finished = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert finished.returncode == code, finished.stdout + finished.stderr
        return finished

    def json(self, *arguments: str | Path) -> Any:
        """What a command prints with --json."""
        return json.loads(self.run(*arguments, "--json").stdout)

    def here(self, *arguments: str | Path, code: int = 0) -> Result:
        """Runs `study` in this process: where a process of its own would only import everything once more, which takes seconds.

        Paths must be whole ones.
        """
        from study.cli import main

        result = CliRunner().invoke(main, list(map(str, arguments)), env=dict(self.environment))
        assert result.exit_code == code, result.output
        return result

    def json_here(self, *arguments: str | Path, code: int = 0) -> Any:
        """What a command prints with --json, run in this process."""
        return json.loads(self.here(*arguments, "--json", code=code).stdout)

    def stores(self) -> list[str]:
        """What studies have left in the folder."""
        return sorted(path.name for path in self.folder.iterdir() if path.suffix != ".toml")


@pytest.fixture(scope="session")
def make_workplace(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Workplace]:
    """Workplaces that share packed photos, and nothing else."""
    cache = tmp_path_factory.mktemp("cache")

    def make(**environment: str) -> Workplace:
        folder = tmp_path_factory.mktemp("work")
        stores = {
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
            "STUDY_STORAGE": f"{folder}/study.journal",
            "STUDY_OUTPUT": f"{folder}/studies",
            "STUDY_CACHE": str(cache),
            "RAY_ADDRESS": "",
        }
        return Workplace(folder, stores | environment)

    return make


@pytest.fixture
def workplace(make_workplace: Callable[..., Workplace]) -> Workplace:
    return make_workplace()


@pytest.fixture
def invoke(workplace: Workplace) -> Callable[..., Result]:
    """Runs `study` in this process: for commands that end before anything is trained."""
    from study.cli import main

    def invoke_here(arguments: Sequence[str | Path], **environment: str) -> Result:
        return CliRunner().invoke(main, list(map(str, arguments)), env={**workplace.environment, **environment})

    return invoke_here
