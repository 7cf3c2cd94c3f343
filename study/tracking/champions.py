"""Which version of a registered model is in use: the aliases, moved so that a move that was cut off can be repeated."""

from collections.abc import Mapping

from study.errors import RegistryError
from study.tracking.registry import CHALLENGER, CHAMPION, PREVIOUS, ModelVersion, Registry


def champion_of(registry: Registry, name: str) -> ModelVersion | None:
    """The version in use; None where there is none."""
    return _with_alias(registry, name, CHAMPION)


def seat(registry: Registry, version: ModelVersion) -> str:
    """The alias that a search's winner gets: `champion` where there is none, else `challenger`; a champion stays what it is."""
    champion = champion_of(registry, version.name)
    if champion is None:
        crown(registry, version)
    elif champion.version != version.version:
        challenge(registry, version)
        return CHALLENGER
    return CHAMPION


def crown(registry: Registry, version: ModelVersion) -> None:
    """The version becomes champion, the one before it `previous`."""
    before = champion_of(registry, version.name)
    if before is not None and before.version != version.version:
        # First: cut off between the two, the old champion is still in use, and this may be called again.
        registry.set_alias(version.name, PREVIOUS, before.version)
    registry.set_alias(version.name, CHAMPION, version.version)
    challenger = _with_alias(registry, version.name, CHALLENGER)
    if challenger is not None and challenger.version == version.version:
        registry.remove_alias(version.name, CHALLENGER)


def challenge(registry: Registry, version: ModelVersion) -> None:
    """The version waits as challenger."""
    registry.set_alias(version.name, CHALLENGER, version.version)


def roll_back(registry: Registry, name: str, tags: Mapping[str, str]) -> tuple[ModelVersion, ModelVersion]:
    """The previous champion takes its place again, and the present one becomes challenger; both, in this order.

    Args:
        tags: set on the version that is put back.
    Raises:
        RegistryError: if there is no previous one.
    """
    champion, before = champion_of(registry, name), _with_alias(registry, name, PREVIOUS)
    challenger = _with_alias(registry, name, CHALLENGER)
    if champion is not None and before is not None and challenger is not None and champion.version == before.version:
        registry.remove_alias(name, PREVIOUS)  # the last step of a rollback that was cut off there
        return champion, challenger
    present, previous = rivals_of(registry, name)
    registry.annotate(previous, tags)
    registry.set_alias(name, CHALLENGER, present.version)
    registry.set_alias(name, CHAMPION, previous.version)
    registry.remove_alias(name, PREVIOUS)
    return previous, present


def rivals_of(registry: Registry, name: str) -> tuple[ModelVersion, ModelVersion]:
    """The champion and the one before it.

    Raises:
        RegistryError: if there are not both.
    """
    champion, previous = champion_of(registry, name), _with_alias(registry, name, PREVIOUS)
    if champion is None or previous is None or champion.version == previous.version:
        known = ", ".join(f"{entry.version} ({', '.join(entry.aliases) or 'no alias'})" for entry in registry.versions(name))
        raise RegistryError(
            f"a rollback needs a champion and the one before it, but `{name}` has no version with the alias `{PREVIOUS}`. "
            f"Its versions: {known}. `study promote {name}` moves the champion."
        )
    return champion, previous


def _with_alias(registry: Registry, name: str, alias: str) -> ModelVersion | None:
    return next((version for version in registry.known_versions(name) if alias in version.aliases), None)
