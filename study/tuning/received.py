"""A command that came to the cluster as a job: is it of the same software, and where do its files stay?"""

import json
import os
from pathlib import Path

from study.errors import DefinitionError
from study.settings import Settings, settings_from
from study.tuning.node_probe import versions
from study.tuning.submission import PACKAGE, unpack

RAY_JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # how Ray tells a job's driver its runtime environment and metadata (2.60)
RECEIVED_FOLDER = "received"
# Without these, a job's stores would be in a folder that Ray deletes.
PLACES = {"MLFLOW_TRACKING_URI": "tracking_uri", "STUDY_STORAGE": "storage", "STUDY_OUTPUT": "output_folder"}


def this_version() -> str:
    """Of `study`, with the digest of its files: a checkout changes under one version."""
    return versions()["study"]


def require_version(sent: str) -> None:
    """Returns if the command comes from the same software.

    Raises:
        DefinitionError: if not.
    """
    here = this_version()
    if sent != here:
        raise DefinitionError(
            f"a study is sent by the software that runs it, but `study` is {sent} where the command was given, and {here} on "
            f"the cluster. Install the cluster's version there (its image has it), or update the cluster."
        )


def require_own_places() -> None:
    """Returns if the cluster says itself where its stores are.

    Raises:
        DefinitionError: if a variable is missing, or would depend on the folder that a job happens to run in.
    """
    one, other = settings_from(folder=Path("/one")), settings_from(folder=Path("/other"))
    for variable, place in PLACES.items():
        if getattr(one, place) != getattr(other, place):
            found = f"is {os.environ[variable]!r}" if os.environ.get(variable) else "is not set"
            raise DefinitionError(
                f"a cluster's stores are named in the environment of its head, but {variable} {found} there. "
                f"Set it to an address or a path from the root before `ray start`."
            )


def keep_files(name: str, digest: str, settings: Settings) -> Path:
    """The files that came with the command, in the study's own folder: a resumed study needs them when Ray's copy is gone.

    Args:
        digest: of the files; those of another launch under the same name stay beside them.
    Raises:
        DefinitionError: if they cannot be written.
    """
    folder = settings.study_folder(name) / RECEIVED_FOLDER / digest
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unpack(Path(PACKAGE), folder)
    except OSError as error:
        raise DefinitionError(
            f"STUDY_OUTPUT must be a folder that can be written, but {folder} on the cluster cannot: {error}. "
            f"Make room there, or set STUDY_OUTPUT for the cluster."
        ) from None
    return folder


def leave_job_environment() -> None:
    """Takes the job's runtime environment from what is started now: trials need none of it, and would be given a copy each."""
    config = os.environ.get(RAY_JOB_CONFIG)
    if config is not None:
        os.environ[RAY_JOB_CONFIG] = json.dumps({**json.loads(config), "runtime_env": {}})
