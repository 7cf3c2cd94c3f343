"""Registered models: an exported model packed for MLflow, its versions and aliases, and the way back to plain files."""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import LoggedModelOutput
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, Schema
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

import study
from study.errors import RegistryError, nearest
from study.models.contract import ModelContract, read_contract
from study.models.timm_models import is_timm
from study.tracking.connection import Connection, without_warnings

# What study/models/exported.py imports, and what MLflow's interface needs: pinned, so that the model answers as it did here.
REQUIREMENTS = ("mlflow", "numpy", "pandas", "pillow", "pydantic", "safetensors", "torch", "torchvision")
PACKAGED_MODEL = Path(__file__).with_name("packaged_model.py")
EXPORTED_PATH = "artifacts/model"  # of the exported folder, inside the registered model
MODEL_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+|latest))")


@dataclass(frozen=True)
class ModelVersion:
    """One version of a registered model."""

    name: str
    version: str
    run_id: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    description: str


def register_model(
    tracking_uri: str, name: str, exported_folder: Path, run_id: str, tags: Mapping[str, str], description: str
) -> str:
    """The new version's number. The model is an artifact of the run that trained it; no file in it is a pickle.

    Args:
        name: of the registered model; made where there is none.
        exported_folder: as `save_exported` left it.
        run_id: of the trial that trained it.
    Raises:
        RegistryError: if MLflow refuses, or the run is unknown.
    """
    connection = Connection(tracking_uri)
    with connection.reporting(f"register a version of `{name}`", RegistryError), TemporaryDirectory() as temporary:
        client = connection.client
        experiment_id = client.get_run(run_id).info.experiment_id
        folder = _package(exported_folder, Path(temporary))
        logged = client.create_logged_model(experiment_id, name=name, source_run_id=run_id, tags=dict(tags))
        _sign(folder, logged.model_id, run_id, logged.artifact_location)
        client.log_model_artifacts(logged.model_id, str(folder))
        client.finalize_logged_model(logged.model_id, "READY")
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])  # the run's page lists it
        _ensure_registered(client, name)
        # The source is the place itself, not `models:/<id>`: MLflow would look that up in the process's global store.
        made = client.create_model_version(
            name, logged.artifact_location, run_id, dict(tags), description=description, model_id=logged.model_id
        )
        # So that the model's page names the version; a server writes the same itself.
        versions = json.dumps([{"name": name, "version": int(made.version)}])
        client.set_logged_model_tags(logged.model_id, {MLFLOW_MODEL_VERSIONS: versions})
    return str(made.version)


def set_alias(tracking_uri: str, name: str, alias: str, version: str) -> None:
    """`models:/name@alias` is that version from now on.

    Raises:
        RegistryError: for an unknown model or version.
    """
    connection = Connection(tracking_uri)
    with connection.reporting(f"set the alias `{alias}` of `{name}`", RegistryError):
        _existing_version(connection, name, version)
        connection.client.set_registered_model_alias(name, alias, version)


def model_versions(tracking_uri: str, name: str) -> list[ModelVersion]:
    """Every version of a registered model, newest first.

    Raises:
        RegistryError: for an unknown model.
    """
    connection = Connection(tracking_uri)
    with connection.reporting(f"list the versions of `{name}`", RegistryError):
        aliases = _aliases(connection, name)
        found = connection.client.search_model_versions(f"name = '{name}'")
        versions = [
            ModelVersion(
                name=name,
                version=str(entry.version),
                run_id=entry.run_id or "",
                aliases=tuple(sorted(alias for alias, number in aliases.items() if number == str(entry.version))),
                tags=dict(entry.tags),
                description=entry.description or "",
            )
            for entry in found
        ]
    return sorted(versions, key=lambda version: int(version.version), reverse=True)


def registered_versions(tracking_uri: str, name: str) -> list[ModelVersion]:
    """As `model_versions`, but none where there is no such model yet.

    Raises:
        RegistryError: if MLflow does not answer.
    """
    connection = Connection(tracking_uri)
    with connection.reporting(f"look for `{name}`", RegistryError):
        is_known = bool(connection.client.search_registered_models(f"name = '{name}'", max_results=1))
    return model_versions(tracking_uri, name) if is_known else []


def download_model(tracking_uri: str, uri: str, destination: Path) -> Path:
    """The exported model as plain files in `destination` (contract.json, weights.safetensors).

    Args:
        uri: `models:/name@alias`, `models:/name/3` or `models:/name/latest`.
        destination: a folder that is empty or not there yet.
    Raises:
        RegistryError: for another kind of address, an unknown model, alias or version, or a folder with files in it.
    """
    connection = Connection(tracking_uri)
    with connection.reporting(f"download {uri}", RegistryError):
        name, version = _resolve(connection, uri)
        if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
            raise RegistryError(f"a model is downloaded to a new or empty folder, but {destination} is neither. Name another.")
        source = f"{connection.client.get_model_version_download_uri(name, version)}/{EXPORTED_PATH}"
        destination.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=destination.parent, prefix=".download-") as temporary:
            folder = download_artifacts(artifact_uri=source, dst_path=temporary, tracking_uri=connection.uri)
            Path(folder).replace(destination)  # at once: an interrupted download leaves nothing
    return destination


def _package(exported_folder: Path, temporary: Path) -> Path:
    """A folder in MLflow's format: our code, the exported model, the versions it needs."""
    contract = read_contract(exported_folder)
    with without_warnings():
        from mlflow.pyfunc import save_model  # here, because its mere import warns

        save_model(
            path=str(temporary / "package"),
            python_model=str(PACKAGED_MODEL),
            mlflow_model=Model(signature=_signature(contract)),
            pip_requirements=requirements(contract.backbone),  # MLflow would load the model in a subprocess to find them out
            code_paths=[str(Path(study.__file__).parent)],
            uv_project_path=str(temporary),  # none there: MLflow would copy the uv.lock of whatever folder we run in
        )
    # Copied here, not as `artifacts=`: MLflow would take the folder for an address and stumble over a space or `#` in its name.
    shutil.copytree(exported_folder, temporary / "package" / EXPORTED_PATH)
    return temporary / "package"


def _signature(contract: ModelContract) -> ModelSignature:
    """Outputs only: an input schema would refuse what `PackagedModel.predict` takes beside tables (paths, bytes, arrays)."""
    if contract.task == "number":
        return ModelSignature(outputs=Schema([ColSpec("float", "value")]))
    return ModelSignature(outputs=Schema([ColSpec("string", "class"), ColSpec("float", "probability")]))


def requirements(backbone: str) -> list[str]:
    """Pinned requirements of a packaged model; `2.15.0+cu130` is on no public index, `2.15.0` is."""
    needed = (*REQUIREMENTS, *(("timm",) if is_timm(backbone) else ()))
    return [f"{package}=={installed_version(package).partition('+')[0]}" for package in needed]


def _sign(folder: Path, model_id: str, run_id: str, location: str) -> None:
    """Completes MLmodel: which model it is, where its files lie; out goes what misleads (local paths, "cloudpickle")."""
    model = Model.load(str(folder))
    model.model_id = model.model_uuid = model_id
    model.run_id = run_id
    model.artifact_path = location
    flavor = model.flavors["python_function"]
    flavor.pop("cloudpickle_version", None)
    flavor["model_code_path"] = PACKAGED_MODEL.name
    flavor["artifacts"] = {"model": {"path": EXPORTED_PATH, "uri": EXPORTED_PATH}}
    model.save(str(folder / "MLmodel"))


def _ensure_registered(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _resolve(connection: Connection, uri: str) -> tuple[str, str]:
    """Name and version that a model's address means now."""
    parsed = MODEL_URI.fullmatch(uri)
    if parsed is None:
        raise RegistryError(
            f"a registered model's address must be models:/name@alias or models:/name/version, but got {uri!r}. "
            f"Write, for example, models:/clothing@champion."
        )
    name, alias, version = parsed["name"], parsed["alias"], parsed["version"]
    aliases = _aliases(connection, name)
    if alias is None:
        return name, _existing_version(connection, name, version)
    if alias not in aliases:
        hint = _hint(alias, aliases, "It has no alias yet.")
        raise RegistryError(f"the model `{name}` in MLflow at {connection.shown} has no alias `{alias}`. {hint}")
    return name, aliases[alias]


def _existing_version(connection: Connection, name: str, version: str) -> str:
    _aliases(connection, name)  # raises for an unknown model
    versions = [str(entry.version) for entry in connection.client.search_model_versions(f"name = '{name}'")]
    if version == "latest" and versions:
        return max(versions, key=int)
    if version not in versions:
        hint = f"Known: {', '.join(sorted(versions, key=int)) or 'none'}."
        raise RegistryError(f"the model `{name}` in MLflow at {connection.shown} has no version {version}. {hint}")
    return version


def _aliases(connection: Connection, name: str) -> dict[str, str]:
    """Version by alias of a registered model."""
    try:
        aliases = connection.client.get_registered_model(name).aliases
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        known = [model.name for model in connection.client.search_registered_models()]
        hint = _hint(name, known, "None is registered there yet.")
        raise RegistryError(f"MLflow at {connection.shown} knows no registered model `{name}`. {hint}") from None
    return {alias: str(version) for alias, version in aliases.items()}


def _hint(name: str, known: Sequence[str] | Mapping[str, str], if_none: str) -> str:
    return nearest(name, known) if known else if_none
