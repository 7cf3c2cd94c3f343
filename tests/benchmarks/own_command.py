"""`study run` as a benchmark calls it: with stores of its own, below one folder."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def study_run(definition: Path, tracking_uri: str) -> tuple[Sequence[str], Mapping[str, str]]:
    """The command, and what its environment must have; everything but MLflow's runs goes beside the definition."""
    folder = definition.parent
    stores = {
        "MLFLOW_TRACKING_URI": tracking_uri,
        "STUDY_STORAGE": str(folder / "study.journal"),
        "STUDY_OUTPUT": str(folder / "studies"),
        "STUDY_CACHE": str(folder / "cache"),
        "RAY_ADDRESS": "",  # a Ray of its own
    }
    return [sys.executable, "-m", "study.cli", "run", str(definition), "--json"], stores
