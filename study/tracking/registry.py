"""Registered models: their versions and aliases, and the way back to plain files."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion as MlflowVersion
from mlflow.exceptions import MlflowException

from study.errors import RegistryError, TrackingError, nearest
from study.models.contract import CONTRACT_FILE, read_contract
from study.models.exported import WEIGHTS_FILE
from study.tracking.connection import Connection
from study.tracking.model_package import EXPORTED_PATH
from study.tracking.patience import Patience

Answer = TypeVar("Answer")

MODEL_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+|latest))")
CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"  # aliases

# Tags of a version.
CONTENT_TAG = "study.content_digest"  # of all that the answers depend on: by it and its run nothing is registered twice
WEIGHTS_TAG = "study.weights_digest"
PACKAGE_TAG = "study.package_digest"  # of every file in the package, our code among them

MAX_DESCRIPTION = 5000  # characters; the column's width in MLflow's database (SqlModelVersion.description)
AT_ONCE = Patience(0.0)


@dataclass(frozen=True)
class ModelVersion:
    """One version of a registered model."""

    name: str
    version: str
    run_id: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    description: str

    @property
    def uri(self) -> str:
        """What MLflow and `study` load it by, whatever becomes of the aliases."""
        return f"models:/{self.name}/{self.version}"


class Registry:
    """The registered models of one MLflow store.

    Every method raises `RegistryError`, in one line, if the store refuses, or stays away for longer than the patience lasts.
    """

    def __init__(self, tracking_uri: str, patience: Patience = AT_ONCE) -> None:
        self.connection = Connection(tracking_uri)
        self.patience = patience

    def versions(self, name: str) -> list[ModelVersion]:
        """Every version of a registered model, newest first; for an unknown model, the error names the known ones."""
        return self.patiently(f"list the versions of `{name}`", lambda: self._versions(name, self._aliases(name)))

    def known_versions(self, name: str) -> list[ModelVersion]:
        """As `versions`, but none where there is no such model yet."""
        return self.patiently(f"look for `{name}`", lambda: self._known_versions(name))

    def version_holding_now(self, name: str, content: str, run_id: str) -> str | None:
        """The number of the oldest version with that content of that run, else None; asked once, for a call of `patiently`.

        Of that run: what its study found of it is not to be told of an equal model of another study, or of another recipe.
        """
        for version in reversed(self._known_versions(name)):
            if version.tags.get(CONTENT_TAG) == content and version.run_id == run_id:
                return version.version
        return None

    def version_at(self, uri: str) -> ModelVersion:
        """The version that a model's address means now.

        Args:
            uri: `models:/name@alias`, `models:/name/3` or `models:/name/latest`.
        """
        return self.patiently(f"find {uri}", lambda: self._version_at(uri))

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """`models:/name@alias` is that version from now on."""

        def set_it() -> None:
            self._version_at(f"models:/{name}/{version}")  # raises for an unknown one
            self.connection.client.set_registered_model_alias(name, alias, version)

        self.patiently(f"set the alias `{alias}` of `{name}`", set_it)

    def remove_alias(self, name: str, alias: str) -> None:
        """`models:/name@alias` is no version from now on; it need not be one now."""

        def remove() -> None:
            if alias in self._aliases(name):
                self.connection.client.delete_registered_model_alias(name, alias)

        self.patiently(f"remove the alias `{alias}` of `{name}`", remove)

    def annotate(self, version: ModelVersion, tags: Mapping[str, str], description: str | None = None) -> None:
        """Sets tags of a version, and its description where one is given."""

        def annotate() -> None:
            client = self.connection.client
            for key, value in tags.items():
                client.set_model_version_tag(version.name, version.version, key, value)
            if description is not None:
                client.update_model_version(version.name, version.version, description)

        self.patiently(f"annotate version {version.version} of `{version.name}`", annotate)

    def download(self, uri: str, destination: Path) -> Path:
        """The exported model as plain files in `destination`: contract.json and weights.safetensors, whatever else lies there.

        Args:
            uri: as `version_at` takes it.
            destination: a folder that is empty or not there yet.
        Raises:
            RegistryError: also for a folder with files in it, or a contract that is not the one that was registered.
        """
        version = self.version_at(uri)
        if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
            raise RegistryError(f"a model is downloaded to a new or empty folder, but {destination} is neither. Name another.")
        destination.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=destination.parent, prefix=".download-") as temporary:
            for name in (CONTRACT_FILE, WEIGHTS_FILE):
                self._fetch(version, f"{EXPORTED_PATH}/{name}", Path(temporary))
            _require_registered(version, read_contract(Path(temporary)).content_digest)
            Path(temporary).replace(destination)  # at once: an interrupted download leaves nothing
            Path(temporary).mkdir()  # which the context removes
        return destination

    def download_package(self, version: ModelVersion, folder: Path) -> Path:
        """Everything that MLflow would load and run of a version, into `folder`."""
        return self._fetch(version, "", folder)

    def patiently(self, duty: str, call: Callable[[], Answer]) -> Answer:
        """What `call` returns, repeated while the store is away; its failures in one line.

        Args:
            call: harmless to repeat.
        """

        def attempt() -> Answer:
            with self.connection.reporting(duty):
                return call()

        try:
            return self.patience.of(attempt)
        except RegistryError:
            raise
        except TrackingError as error:
            raise RegistryError(str(error)) from error

    def _fetch(self, version: ModelVersion, path: str, folder: Path) -> Path:
        def fetch() -> Path:
            source = self.connection.client.get_model_version_download_uri(version.name, version.version)
            address = f"{source}/{path}" if path else source
            return Path(download_artifacts(artifact_uri=address, dst_path=str(folder), tracking_uri=self.connection.uri))

        return self.patiently(f"download {version.uri}", fetch)

    def _known_versions(self, name: str) -> list[ModelVersion]:
        is_known = bool(self.connection.client.search_registered_models(f"name = '{name}'", max_results=1))
        return self._versions(name, self._aliases(name)) if is_known else []

    def _versions(self, name: str, aliases: Mapping[str, str]) -> list[ModelVersion]:
        found = [_model_version(entry, aliases) for entry in self.connection.client.search_model_versions(f"name = '{name}'")]
        return sorted(found, key=lambda version: int(version.version), reverse=True)

    def _version_at(self, uri: str) -> ModelVersion:
        parsed = MODEL_URI.fullmatch(uri)
        if parsed is None:
            raise RegistryError(
                f"a registered model's address must be models:/name@alias or models:/name/version, but got {uri!r}. "
                f"Write, for example, models:/clothing@champion."
            )
        name, alias, number = parsed["name"], parsed["alias"], parsed["version"]
        aliases = self._aliases(name)
        versions = self._versions(name, aliases)
        where = f"the model `{name}` in MLflow at {self.connection.shown}"
        if alias is not None and alias not in aliases:
            raise RegistryError(f"{where} has no alias `{alias}`. {_hint(alias, aliases, 'It has no alias yet.')}")
        wanted = aliases[alias] if alias is not None else versions[0].version if number == "latest" and versions else number
        found = next((version for version in versions if version.version == wanted), None)
        if found is None:
            known = ", ".join(version.version for version in reversed(versions)) or "none"
            raise RegistryError(f"{where} has no version {wanted}. Known: {known}.")
        return found

    def _aliases(self, name: str) -> dict[str, str]:
        """Version by alias of a registered model."""
        try:
            aliases = self.connection.client.get_registered_model(name).aliases
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            known = [model.name for model in self.connection.client.search_registered_models()]
            hint = _hint(name, known, "None is registered there yet.")
            raise RegistryError(f"MLflow at {self.connection.shown} knows no registered model `{name}`. {hint}") from None
        return {alias: str(version) for alias, version in aliases.items()}


def model_versions(tracking_uri: str, name: str) -> list[ModelVersion]:
    """As `Registry.versions`."""
    return Registry(tracking_uri).versions(name)


def download_model(tracking_uri: str, uri: str, destination: Path) -> Path:
    """As `Registry.download`."""
    return Registry(tracking_uri).download(uri, destination)


def _model_version(entry: MlflowVersion, aliases: Mapping[str, str]) -> ModelVersion:
    return ModelVersion(
        name=entry.name,
        version=str(entry.version),
        run_id=entry.run_id or "",
        aliases=tuple(sorted(alias for alias, number in aliases.items() if number == str(entry.version))),
        tags=dict(entry.tags),
        description=entry.description or "",
    )


def _require_registered(version: ModelVersion, digest: str) -> None:
    """The weights are held against the contract when they are loaded; this holds the contract against the registry."""
    registered = version.tags.get(CONTENT_TAG)  # versions of older studies have none
    if registered not in (None, digest):
        raise RegistryError(
            f"{version.uri} must hold the model that was registered, of digest {str(registered)[:16]}…, but its files say "
            f"{digest[:16]}…: they were changed since. Use another version, and find out who writes to the artifact store."
        )


def _hint(name: str, known: Sequence[str] | Mapping[str, str], if_none: str) -> str:
    return nearest(name, known) if known else if_none
