"""A new study comes into both stores, or into neither: what a failed or killed start leaves is no study, and burns no name."""

import socket
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from typing import Any

from study.errors import StudyError
from study.search.advisor import Advisor
from study.search.storages import Storage
from study.settings import Settings
from study.tracking.provenance import provenance_tags
from study.tracking.records import KEY_TAG
from study.tracking.tracker import Tracker
from study.trial import TrialState
from study.tuning.data_card import write_data_card
from study.tuning.preparation import PreparedStudy


def create_study(prepared: PreparedStudy, tracker: Tracker, storage: Storage) -> tuple[str, Advisor]:
    """The new study in both stores: its run in MLflow, and what proposes its trials.

    MLflow comes first, and is told where the rest fails. A driver that is killed in between cannot tell: its run is found by
    its key when the study is begun again.
    """
    definition = prepared.definition
    tags = provenance_tags(definition, prepared.data.digest) | {KEY_TAG: _run_key(definition.name, prepared.settings)}
    run_id = tracker.begin_study(definition.name, definition.experiment_name, tags, definition.text, note=definition.question)
    try:
        _log_data(prepared, tracker, run_id)
        return run_id, Advisor.create(definition, storage, _notes(prepared, run_id))
    except BaseException:
        with suppress(StudyError):  # the first error is the news
            tracker.end_study(run_id, TrialState.FAIL, {}, {})
        raise


def _run_key(name: str, settings: Settings) -> str:
    """What the study's run is asked for with: the same at each try of this machine to begin it in this storage."""
    storage = settings.storage.rpartition("@")[2]  # no password
    return sha256(f"{name}\n{storage}\n{socket.gethostname()}".encode()).hexdigest()[:32]


def _notes(prepared: PreparedStudy, run_id: str) -> Mapping[str, Any]:
    definition = prepared.definition
    return {
        "definition": definition.text,
        "file": str(definition.file),
        "run_id": run_id,
        "data_digest": prepared.data.digest,
    }


def _log_data(prepared: PreparedStudy, tracker: Tracker, run_id: str) -> None:
    """The data as an input of the run, and their card among its artifacts."""
    data, name = prepared.data, prepared.definition.name
    tracker.log_dataset(run_id, name, data.digest, data.report.origin, data.report.splits)
    folder = write_data_card(data, prepared.settings.study_folder(name) / "data")
    tracker.log_artifacts(run_id, folder, "data")
