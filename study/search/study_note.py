"""A note on a study in Optuna's storage that any thread may read and write while trials are recorded."""

from typing import Any

from study.search.storages import PATIENCE_S, Storage, load_study, write

__all__ = ["StudyNote"]


class StudyNote:
    """One note, by its key."""

    def __init__(self, name: str, storage: Storage, key: str) -> None:
        """Args:
        name: of the study.
        Raises:
            SearchError: if the storage has none of this name.
        """
        self._storage = storage
        self._study_id = load_study(name, storage)._study_id
        self._key = key

    def read(self, patience_s: float = PATIENCE_S) -> Any:
        """What was written last, by whichever process; None where nothing was.

        Raises:
            SearchError: if the storage gives no answer.
        """
        return write(lambda: self._storage.get_study_user_attrs(self._study_id), patience_s).get(self._key)

    def write(self, value: Any, patience_s: float = PATIENCE_S) -> None:
        """Replaces the note by plain data.

        Raises:
            SearchError: if the storage does not take it.
        """
        write(lambda: self._storage.set_study_user_attr(self._study_id, self._key, value), patience_s)

    def leave(self) -> None:
        """Gives back the connection that a storage keeps for each thread."""
        self._storage.remove_session()
