"""Where a study's results come from: definition, data, code, libraries and hardware, as tags of its parent run."""

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch

import study
from study.definition import StudyDefinition
from study.tracking.records import OBJECTIVE_TAG, SEARCHED_TAG

RECORDED_LIBRARIES = ("torch", "torchvision", "ray", "optuna", "mlflow")


def provenance_tags(definition: StudyDefinition, data_digest: str) -> dict[str, str]:
    """Tags that say what would have to be the same to get the same result."""
    tags = {
        "study.name": definition.name,
        "study.question": definition.question,
        "study.definition_digest": definition.digest,
        "study.data_digest": data_digest,
        OBJECTIVE_TAG: definition.objective.key,
        SEARCHED_TAG: ",".join(definition.space.parameters),
        "study.sampler": definition.search.sampler.name,
        "study.pruner": definition.search.pruner.name,
        "study.num_trials": str(definition.num_trials),
        "study.version": study.__version__,
        "study.python": platform.python_version(),
        "study.hardware": hardware(),
    }
    tags |= {f"study.{library}": version(library) for library in RECORDED_LIBRARIES}
    commit = git_commit(definition.file.parent)
    return tags | ({"mlflow.source.git.commit": commit} if commit else {})


def hardware() -> str:
    """The driver's machine in words: cores, and the GPUs if any."""
    cores = f"{len(os.sched_getaffinity(0))} cores {platform.machine()}"
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return ", ".join([cores, *gpus])


def git_commit(folder: Path) -> str | None:
    """The commit that the folder's repository stands at; None outside one or without git."""
    command: Sequence[str] = ("git", "-C", str(folder), "rev-parse", "HEAD")
    try:
        finished = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return finished.stdout.strip() if finished.returncode == 0 else None
