"""Where things are kept: the standard environment variables, and a default for each that needs no set-up."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl

from study.errors import DefinitionError

JOB_SCHEMES = ("http://", "https://")
SECRET_WORDS = ("secret", "key", "password", "token", "sas", "credential")  # in names of options such as client_secret


def is_job_address(address: str | None) -> bool:
    """Whether a cluster's address is that of its job API, which takes commands from outside, and not of a node to join."""
    return (address or "").startswith(JOB_SCHEMES)


@dataclass(frozen=True)
class Settings:
    """Places that one command uses.

    Attributes:
        tracking_uri: MLflow's store: a server's address or a database URL (`MLFLOW_TRACKING_URI`).
        storage: Optuna's store: a database URL, or the path of a journal file (`STUDY_STORAGE`). A journal file records a trial
            of ten reports in 8 ms where SQLite takes 120 ms, so it is the default.
        cache_folder: packed photos and activations, shared by all studies on this machine (`STUDY_CACHE`).
        output_folder: what each study leaves: one folder a study (`STUDY_OUTPUT`); on a cluster, a folder that all nodes see.
        ray_address: a running Ray cluster; None starts Ray on this machine (`RAY_ADDRESS`). With http:// in front, commands
            are sent there (study/commands/on_cluster.py).
        shared_address: a bucket for trials' files (`s3://bucket/prefix`), where nodes have no folder in common; "" where the
            output folder is one (`STUDY_SHARED`).
    """

    tracking_uri: str
    storage: str
    cache_folder: Path
    output_folder: Path
    ray_address: str | None
    shared_address: str = ""

    def on_cluster(self, address: str | None) -> "Settings":
        """The same with the cluster that a command names; None leaves the environment's."""
        return self if address is None else replace(self, ray_address=address)

    def study_folder(self, name: str) -> Path:
        """The folder that the study `name` leaves its files in."""
        return self.output_folder / name

    def node_folder(self, name: str) -> Path:
        """Where the study's trials write on their node: the study's folder, unless that is on the driver's disk alone."""
        return self.cache_folder / "trials" / name if self.shared_address else self.study_folder(name)


def settings_from(environment: Mapping[str, str] = os.environ, folder: Path | None = None) -> Settings:
    """The settings that hold in `folder` (default: the present one); relative places are made absolute for Ray's workers.

    Raises:
        DefinitionError: if a folder is an address (`s3://…`), or an address is none.
    """
    here = (folder or Path.cwd()).resolve()
    default_cache = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "study"
    return Settings(
        tracking_uri=_absolute_database(environment.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db", here),
        storage=_absolute_storage(environment.get("STUDY_STORAGE") or "study.journal", here),
        cache_folder=here / (_folder(environment, "STUDY_CACHE") or default_cache),
        output_folder=here / (_folder(environment, "STUDY_OUTPUT") or "studies"),
        ray_address=environment.get("RAY_ADDRESS") or None,
        shared_address=_address(environment, "STUDY_SHARED"),
    )


def _folder(environment: Mapping[str, str], name: str) -> str:
    """A folder's path as a variable has it; "" where it has none."""
    given = environment.get(name, "")
    if "://" in given:
        # As a path it would become a folder named `s3:` here, which no other node sees.
        raise DefinitionError(
            f"{name} must be a folder, but is {given}: locks and appended files need a file system. Set it to "
            f"a folder; where nodes have none in common, set STUDY_SHARED to the address beside it."
        )
    return given


def _address(environment: Mapping[str, str], name: str) -> str:
    """A bucket's address as a variable has it; "" where it has none. It is told to every trial, so it holds no password."""
    given = environment.get(name, "")
    path, _, options = given.partition("?")
    if given and ("://" not in path or "@" in path):
        what = "without a password: credentials are the environment's" if "@" in path else "such as s3://bucket/prefix"
        raise DefinitionError(f"{name} must be an address {what}, but is {path.rpartition('@')[2]}. Correct it.")
    for option, _ in parse_qsl(options, keep_blank_values=True):
        if any(word in option.lower() for word in SECRET_WORDS):
            raise DefinitionError(
                f"{name} must hold no secret, but has the option {option}: every trial is told the address. Leave it out: "
                f"credentials are the environment's."
            )
    return given


def _absolute_database(uri: str, here: Path) -> str:
    """`sqlite:///file.db` (relative: three slashes) with its file's full path; other addresses as they are."""
    prefix = "sqlite:///"
    if uri.startswith(prefix) and not uri.startswith(prefix + "/"):
        return f"{prefix}{here / uri.removeprefix(prefix)}"
    return uri


def _absolute_storage(address: str, here: Path) -> str:
    return _absolute_database(address, here) if "://" in address else str(here / address)
