"""What is kept with a study when it is created, all in one attribute: a study has its notes or was never begun."""

from collections.abc import Mapping
from typing import Any

import optuna

from study.errors import SearchError
from study.search.storages import Storage, load_study, study_names, write

NOTES = "notes"  # the attribute; studies of earlier versions have one for each note
SEARCH_NOTES = ("definition", "file", "run_id")
REPETITION_NOTES = ("confirms", "run_id")
OPTIONAL_NOTES = ("data_digest", "earlier_recipes", "driver")  # `driver`: study/tuning/claim.py


def notes_of(stored: optuna.Study) -> dict[str, Any]:
    """A study's notes, whichever version wrote them; empty for another program's study, or one that has none yet."""
    attrs = dict(stored.user_attrs)
    return {**attrs.pop(NOTES, {}), **attrs}


def write_notes(stored: optuna.Study, notes: Mapping[str, Any]) -> None:
    """Keeps notes with a study, all or none.

    Raises:
        SearchError: if the storage does not take them.
    """
    write(lambda: stored.set_user_attr(NOTES, dict(notes)))


def is_begun(name: str, storage: Storage) -> bool:
    """Whether the storage has a study of this name, and not only what a killed `study run` left of one."""
    return name in study_names(storage) and not is_half_created(load_study(name, storage))


def is_half_created(stored: optuna.Study) -> bool:
    """Whether its driver was killed before the notes were whole: nothing is lost when it is begun anew."""
    attrs = stored.user_attrs
    if NOTES in attrs or attrs.keys() - {*SEARCH_NOTES, *REPETITION_NOTES, *OPTIONAL_NOTES} or _are_whole(attrs):
        return False
    return not stored.get_trials(deepcopy=False)


def own_notes(name: str, storage: Storage) -> dict[str, Any]:
    """The notes of a study that `study` made.

    Raises:
        SearchError: if there is none of this name, it is another program's, or it was never begun.
    """
    stored = load_study(name, storage)
    notes = notes_of(stored)
    if _are_whole(notes):
        return notes
    if is_half_created(stored):
        raise SearchError(
            f"a study must have begun to be gone on with, but the driver of {name!r} ended before that. "
            f"Run it again: study run FILE"
        )
    raise SearchError(
        f"a study must be one that `study` began, but {name!r} in STUDY_STORAGE is another program's. "
        f"Look at it with that program, or see all of ours: study status --all"
    )


def search_notes(name: str, storage: Storage, command: str) -> dict[str, Any]:
    """As `own_notes`, of a study that is no part of another.

    Args:
        command: what `study` was asked to do with it.
    Raises:
        SearchError: as `own_notes`, or if it repeats the best recipes of another study.
    """
    notes = own_notes(name, storage)
    if "confirms" in notes:
        raise SearchError(
            f"{name!r} repeats the best recipes of {notes['confirms']!r} and goes on with it. "
            f"Use `study {command} {notes['confirms']}`."
        )
    return notes


def _are_whole(notes: Mapping[str, Any]) -> bool:
    return all(key in notes for key in SEARCH_NOTES) or all(key in notes for key in REPETITION_NOTES)
