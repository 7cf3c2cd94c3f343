"""A model's way into the registry: packed, uploaded, and registered once, however often it is tried."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from study.errors import RegistryError
from study.models.contract import read_contract
from study.tracking.model_package import make_package, package_digest, sign_package
from study.tracking.registry import CONTENT_TAG, MAX_DESCRIPTION, PACKAGE_TAG, WEIGHTS_TAG, ModelVersion, Registry
from study.tracking.rest import post


@dataclass(frozen=True)
class _Files:
    """Where a version's files lie."""

    source: str
    model_id: str | None


def register_model(
    registry: Registry, name: str, exported_folder: Path, run_id: str, tags: Mapping[str, str], card: str = ""
) -> str:
    """The number of the version that holds this very model of this run: a new one, or the one that it was registered as before.

    The model is an artifact of the run that trained it; no file in it is a pickle. Every step may be repeated, and is, while
    the store is away and the registry's patience lasts.

    Args:
        name: of the registered model; made where there is none.
        exported_folder: as `save_exported` left it.
        run_id: of the trial that trained it.
        tags: of the version, beside those with its digests.
        card: Markdown; the version's description, and a file in the package.
    Raises:
        RegistryError: if MLflow refuses or stays away, or the run is unknown.
        ModelError: if the exported folder holds no model.
    """
    contract = read_contract(exported_folder)
    own = {CONTENT_TAG: contract.content_digest, WEIGHTS_TAG: contract.weights_digest}
    with TemporaryDirectory() as temporary:
        with registry.connection.reporting(f"pack `{name}`", RegistryError):
            package = make_package(exported_folder, Path(temporary), card)
        return registry.patiently(
            f"register a version of `{name}`",
            lambda: _registered(registry, name, package, run_id, {**tags, **own}, card[:MAX_DESCRIPTION]),
        )


def copy_version(registry: Registry, version: ModelVersion, name: str) -> str:
    """The number of the version of another registered model, `name`, that holds the same files; made where there is none.

    Raises:
        RegistryError: if MLflow refuses or stays away; for a version of an older study, which has no digest to know it by.
    """
    content = version.tags.get(CONTENT_TAG)
    if content is None:
        raise RegistryError(
            f"a version is copied by the digest of its content, but {version.uri} has none: an older `study` registered it. "
            f"Register it anew: `study resume {version.name}`."
        )

    def copy() -> str:
        known = registry.version_holding_now(name, content, version.run_id)
        if known is not None:
            return known
        entry = registry.connection.client.get_model_version(version.name, version.version)
        _ensure_registered(registry.connection.client, name)
        return _create_version(
            registry, name, _Files(entry.source or "", entry.model_id), version.run_id, version.tags, version.description
        )

    return registry.patiently(f"copy {version.uri} to `{name}`", copy)


def _registered(registry: Registry, name: str, package: Path, run_id: str, tags: Mapping[str, str], description: str) -> str:
    known = registry.version_holding_now(name, tags[CONTENT_TAG], run_id)
    if known is not None:
        return known
    client = registry.connection.client
    logged = _logged_model(client, name, run_id, tags)
    sign_package(package, logged.model_id, run_id, logged.artifact_location)
    client.log_model_artifacts(logged.model_id, str(package))
    client.finalize_logged_model(logged.model_id, "READY")
    _list_on_run(client, run_id, logged.model_id)
    _ensure_registered(client, name)
    signed = {**tags, PACKAGE_TAG: package_digest(package)}
    files = _Files(logged.artifact_location, logged.model_id)
    version = _create_version(registry, name, files, run_id, signed, description)
    # So that the model's page names the version; a server writes the same itself.
    client.set_logged_model_tags(
        logged.model_id, {MLFLOW_MODEL_VERSIONS: json.dumps([{"name": name, "version": int(version)}])}
    )
    return version


def _logged_model(client: MlflowClient, name: str, run_id: str, tags: Mapping[str, str]) -> LoggedModel:
    """What holds the files: of an attempt that was cut off, the same again."""
    experiment_id = client.get_run(run_id).info.experiment_id
    wanted = f"source_run_id = '{run_id}' AND tags.`{CONTENT_TAG}` = '{tags[CONTENT_TAG]}'"
    found = client.search_logged_models([experiment_id], wanted, max_results=1)
    if found:
        return found[0]
    return client.create_logged_model(experiment_id, name=name, source_run_id=run_id, tags=dict(tags))


def _list_on_run(client: MlflowClient, run_id: str, model_id: str) -> None:
    """The run's page lists the model."""
    outputs = client.get_run(run_id).outputs
    if outputs is None or model_id not in {output.model_id for output in outputs.model_outputs}:
        client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])


def _create_version(
    registry: Registry, name: str, files: _Files, run_id: str, tags: Mapping[str, str], description: str
) -> str:
    """The new version's number. Its source is the place itself: MLflow would look `models:/<id>` up in its global store."""
    connection = registry.connection
    if not connection.is_server:
        made = connection.client.create_model_version(
            name, files.source, run_id, dict(tags), description=description, model_id=files.model_id
        )
        return str(made.version)
    # Sent once: where a reply is lost, MLflow's client would ask again and make a second version.
    contents = {
        "name": name,
        "source": files.source,
        "run_id": run_id,
        "tags": [{"key": key, "value": value} for key, value in tags.items()],
        "description": description,
        "model_id": files.model_id,
    }
    return str(post(connection.uri, "model-versions/create", contents)["model_version"]["version"])


def _ensure_registered(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
