"""Who is in use: the aliases after each move, and after a move that was cut off."""

import uuid
from collections.abc import Mapping
from pathlib import Path

import pytest

from study.errors import RegistryError
from study.models.exported import save_exported
from study.tracking.champions import challenge, champion_of, crown, roll_back, seat
from study.tracking.mlflow_tracker import MlflowTracker
from study.tracking.registration import copy_version, register_model
from study.tracking.registry import CONTENT_TAG, ModelVersion, Registry
from study.trial import TrialConfig
from tests.unit.models.test_exported import export


@pytest.fixture
def registry(sqlite_uri: str) -> Registry:
    return Registry(sqlite_uri)


@pytest.fixture
def name(registry: Registry, tmp_path: Path) -> str:
    """A registered model of three versions."""
    name = f"pets-{uuid.uuid4().hex[:8]}"
    tracker = MlflowTracker(registry.connection.uri)
    run_id = tracker.begin_trial(tracker.begin_study(name, name, {}, "", ""), 0, TrialConfig(), {})
    model, contract = export(tmp_path / "model")
    for temperature in (1.0, 2.0, 3.0):
        save_exported(tmp_path / "model", model, contract.model_copy(update={"temperature": temperature}))
        register_model(registry, name, tmp_path / "model", run_id, {"study.name": name}, "a card")
    return name


def aliases(registry: Registry, name: str) -> dict[str, str]:
    return {alias: version.version for version in registry.versions(name) for alias in version.aliases}


def test_the_champion_before_is_kept_as_previous_and_a_rollback_puts_it_back(registry: Registry, name: str) -> None:
    first, second, third = (registry.version_at(f"models:/{name}/{number}") for number in (1, 2, 3))
    assert champion_of(registry, name) is None
    assert champion_of(registry, f"{name}-absent") is None
    crown(registry, first)
    assert aliases(registry, name) == {"champion": "1"}
    with pytest.raises(RegistryError, match="no version with the alias `previous`") as raised:
        roll_back(registry, name, {})
    assert "1 (champion)" in str(raised.value)
    challenge(registry, second)
    crown(registry, second)
    assert aliases(registry, name) == {"champion": "2", "previous": "1"}
    crown(registry, second)  # as after a move that was cut off
    assert aliases(registry, name) == {"champion": "2", "previous": "1"}
    crown(registry, third)
    assert aliases(registry, name) == {"champion": "3", "previous": "2"}
    restored, deposed = roll_back(registry, name, {"study.rollback_reason": "it failed on greys"})
    assert (restored.version, deposed.version) == ("2", "3")
    assert aliases(registry, name) == {"champion": "2", "challenger": "3"}
    assert registry.version_at(f"models:/{name}/2").tags["study.rollback_reason"] == "it failed on greys"


def test_a_search_fills_an_empty_place_and_takes_no_other(registry: Registry, name: str) -> None:
    first, second = (registry.version_at(f"models:/{name}/{number}") for number in (1, 2))
    assert seat(registry, first) == "champion"
    assert seat(registry, first) == "champion"  # a resumed study
    assert seat(registry, second) == "challenger"
    assert aliases(registry, name) == {"champion": "1", "challenger": "2"}


def test_a_move_that_was_cut_off_leaves_the_champion_in_use(registry: Registry, name: str) -> None:
    first, second = (registry.version_at(f"models:/{name}/{number}") for number in (1, 2))
    crown(registry, first)
    registry.set_alias(name, "previous", first.version)  # the first half of the next move
    with pytest.raises(RegistryError, match="rollback"):
        roll_back(registry, name, {})
    crown(registry, second)
    assert aliases(registry, name) == {"champion": "2", "previous": "1"}


class CutOff(Registry):
    """Carries out a number of changes; then its process is killed."""

    def __init__(self, tracking_uri: str, num_changes: int) -> None:
        super().__init__(tracking_uri)
        self.num_left = num_changes

    def set_alias(self, name: str, alias: str, version: str) -> None:
        self._count()
        super().set_alias(name, alias, version)

    def remove_alias(self, name: str, alias: str) -> None:
        self._count()
        super().remove_alias(name, alias)

    def annotate(self, version: ModelVersion, tags: Mapping[str, str], description: str | None = None) -> None:
        self._count()
        super().annotate(version, tags, description)

    def _count(self) -> None:
        if self.num_left == 0:
            raise KeyboardInterrupt
        self.num_left -= 1


@pytest.mark.parametrize("num_changes", [0, 1, 2, 3])
def test_a_rollback_that_was_cut_off_anywhere_is_ended_by_the_next(registry: Registry, name: str, num_changes: int) -> None:
    for number in (1, 2):
        crown(registry, registry.version_at(f"models:/{name}/{number}"))
    reason = {"study.rollback_reason": "it failed on greys"}
    with pytest.raises(KeyboardInterrupt):
        roll_back(CutOff(registry.connection.uri, num_changes), name, reason)
    assert champion_of(registry, name) is not None
    restored, deposed = roll_back(registry, name, reason)
    assert (restored.version, deposed.version) == ("1", "2")
    assert aliases(registry, name) == {"champion": "1", "challenger": "2"}
    assert registry.version_at(f"models:/{name}/1").tags["study.rollback_reason"] == "it failed on greys"


def test_a_version_is_copied_to_another_model_once_with_its_files_and_tags(
    registry: Registry, name: str, tmp_path: Path
) -> None:
    other = f"{name}-in-use"
    version = registry.version_at(f"models:/{name}/2")
    number = copy_version(registry, version, other)
    assert copy_version(registry, version, other) == number
    [copied] = registry.versions(other)
    assert (copied.tags, copied.run_id, copied.description) == (version.tags, version.run_id, version.description)
    assert registry.download(copied.uri, tmp_path / "pulled").is_dir()
    registry.connection.client.delete_model_version_tag(name, "1", CONTENT_TAG)
    with pytest.raises(RegistryError, match="older `study`"):
        copy_version(registry, registry.version_at(f"models:/{name}/1"), other)
