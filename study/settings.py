"""Where things are kept: the standard environment variables, and a default for each that needs no set-up."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Places that one command uses.

    Attributes:
        tracking_uri: MLflow's store: a server's address or a database URL (`MLFLOW_TRACKING_URI`).
        storage: Optuna's store: a database URL, or the path of a journal file (`STUDY_STORAGE`). A journal file records a trial
            of ten reports in 8 ms where SQLite takes 120 ms, so it is the default.
        cache_folder: packed photos and activations, shared by all studies on this machine (`STUDY_CACHE`).
        output_folder: what each study leaves: one folder a study (`STUDY_OUTPUT`); on a cluster, a folder that all nodes see.
        ray_address: a running Ray cluster; None starts Ray on this machine (`RAY_ADDRESS`).
    """

    tracking_uri: str
    storage: str
    cache_folder: Path
    output_folder: Path
    ray_address: str | None

    def on_cluster(self, address: str | None) -> "Settings":
        """The same with the cluster that a command names; None leaves the environment's."""
        return self if address is None else replace(self, ray_address=address)

    def study_folder(self, name: str) -> Path:
        """The folder that the study `name` leaves its files in."""
        return self.output_folder / name


def settings_from(environment: Mapping[str, str] = os.environ, folder: Path | None = None) -> Settings:
    """The settings that hold in `folder` (default: the present one); relative places are made absolute for Ray's workers."""
    here = (folder or Path.cwd()).resolve()
    default_cache = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "study"
    return Settings(
        tracking_uri=_absolute_database(environment.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db", here),
        storage=_absolute_storage(environment.get("STUDY_STORAGE") or "study.journal", here),
        cache_folder=here / (environment.get("STUDY_CACHE") or default_cache),
        output_folder=here / (environment.get("STUDY_OUTPUT") or "studies"),
        ray_address=environment.get("RAY_ADDRESS") or None,
    )


def _absolute_database(uri: str, here: Path) -> str:
    """`sqlite:///file.db` (relative: three slashes) with its file's full path; other addresses as they are."""
    prefix = "sqlite:///"
    if uri.startswith(prefix) and not uri.startswith(prefix + "/"):
        return f"{prefix}{here / uri.removeprefix(prefix)}"
    return uri


def _absolute_storage(address: str, here: Path) -> str:
    return _absolute_database(address, here) if "://" in address else str(here / address)
