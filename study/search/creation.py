"""A study comes into Optuna's storage."""

import optuna
from optuna.study import StudyDirection

from study.definition import StudyDefinition
from study.errors import SearchError
from study.search.notes import is_half_created
from study.search.storages import Storage, load_study


def created_study(definition: StudyDefinition, storage: Storage) -> optuna.Study:
    """The definition's study, new, or left empty by a driver that was killed as it made it.

    Raises:
        SearchError: if the storage has a study of this name that was begun, or is another program's.
    """
    direction = StudyDirection.MAXIMIZE if definition.objective.is_maximized else StudyDirection.MINIMIZE
    directions = [direction, StudyDirection.MINIMIZE] if definition.objective.cost else [direction]
    try:
        return optuna.create_study(study_name=definition.name, storage=storage, directions=directions)
    except optuna.exceptions.DuplicatedStudyError:
        stored = load_study(definition.name, storage)
        if not is_half_created(stored):
            raise SearchError(
                f"a study's name must be new, but {definition.name!r} exists in Optuna's storage. "
                f"Go on with it (`study resume {definition.name}`), or change `name` in {definition.file}."
            ) from None
    if stored.directions == directions:
        return stored
    optuna.delete_study(study_name=definition.name, storage=storage)  # it is empty, and of an objective that was changed since
    return optuna.create_study(study_name=definition.name, storage=storage, directions=directions)
