"""A trial of an ended study that is to be promoted: its model in the registry, whether or not it was the search's winner."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from study.definition import StudyDefinition, parse_definition
from study.errors import RegistryError
from study.search.advisor import Advisor, Outcome, load_study
from study.search.notes import search_notes
from study.search.storages import Storage, open_storage
from study.settings import Settings
from study.tracking.registry import ModelVersion, Registry
from study.tuning.preparation import prepare
from study.tuning.registered_trial import export_trial, register_trial


def version_of_trial(
    name: str, trial: int, settings: Settings, registry: Registry, announce: Callable[[str], None]
) -> ModelVersion:
    """The registered version of a study's trial; registered now, from the weights that the study kept, if it was not before.

    Args:
        announce: told what takes a while.
    Raises:
        StudyError: if the trial's weights or the study's photos are gone, or a store cannot be used.
    """
    storage = open_storage(settings.storage)
    notes = search_notes(name, storage, "promote")
    definition = parse_definition(notes["definition"], Path(notes["file"]))
    outcome = outcome_of(definition, storage, trial)
    known = [version for version in registry.known_versions(name) if outcome is not None and is_of(version, outcome)]
    if known:
        return known[0]
    announce(f"trial {trial} of {name} is not registered yet: its model is rebuilt and registered")
    prepared = prepare(definition, settings)
    if outcome is None or outcome.run_id is None or prepared.data.digest != notes["data_digest"]:
        raise RegistryError(
            f"a trial's model is registered from its run and on the photos that it was trained with, but trial {trial} of "
            f"{name} has {'other photos now' if outcome else 'no run'}. Restore what is missing, or promote another study."
        )
    with TemporaryDirectory() as folder:
        number = register_trial(prepared, export_trial(prepared, outcome, Path(folder) / "model"), registry)
    return registry.version_at(f"models:/{name}/{number}")


def is_of(version: ModelVersion, outcome: Outcome) -> bool:
    """Whether a version is of this very trial: its run trained it.

    Name and number do not say so: a study that was deleted and run again has both, and a model may have versions that other
    studies were promoted with. A version that does not tell its run is not taken; the trial is registered anew.
    """
    return outcome.run_id is not None and version.run_id == outcome.run_id


def outcome_of(definition: StudyDefinition, storage: Storage, trial: int) -> Outcome | None:
    """How a study's trial ended; None if it did not.

    Nothing is written: `Advisor.resume` would make the trials that a driver runs meanwhile wait to be run again.
    """
    outcomes = Advisor(definition, load_study(definition.name, storage)).outcomes()
    return next((outcome for outcome in outcomes if outcome.number == trial), None)
