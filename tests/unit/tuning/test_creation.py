"""A start that fails or is killed on its way leaves a name that can be used again."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from optuna.storages import InMemoryStorage

from study.definition import parse_definition
from study.errors import TrackingError
from study.search.notes import is_begun, own_notes
from study.settings import settings_from
from study.tracking.tracker import MemoryTracker
from study.trial import TrialState
from study.tuning import creation
from study.tuning.beginning import require_new_in_mlflow
from study.tuning.creation import create_study
from study.tuning.preparation import PreparedStudy

DEFINITION = parse_definition(
    """
name = "pets"
data.generated = "instruments"
[space]
"optimizer.lr" = { low = 1e-4, high = 1e-1, log = true }
[search]
trials = 4
""",
    Path("/somewhere/pets.toml"),
)


class Killed(BaseException):
    """The process ends here."""


class FailingTracker(MemoryTracker):
    """One whose next upload ends with `failure`; nothing that comes after a kill is carried out."""

    def __init__(self, failure: BaseException | None) -> None:
        super().__init__()
        self.failure = failure

    def log_artifacts(self, run_id: str, folder: Path, artifact_path: str) -> None:
        if self.failure is not None:
            raise self.failure
        super().log_artifacts(run_id, folder, artifact_path)

    def end_study(self, *anything: Any) -> None:
        if not isinstance(self.failure, Killed):
            super().end_study(*anything)


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PreparedStudy:
    monkeypatch.setattr(creation, "write_data_card", lambda data, folder: folder)
    data = SimpleNamespace(digest="d1", report=SimpleNamespace(origin="drawn", splits={"train": 3}))
    return PreparedStudy(DEFINITION, settings_from({}, tmp_path), cast(Any, data), {})


@pytest.mark.parametrize(
    "failure", [TrackingError("refused"), KeyboardInterrupt(), Killed()], ids=["refused", "ctrl_c", "kill"]
)
def test_a_start_that_ended_on_its_way_is_begun_again_in_the_same_run(failure: BaseException, prepared: PreparedStudy) -> None:
    tracker, storage = FailingTracker(failure), InMemoryStorage()
    with pytest.raises(type(failure)):
        create_study(prepared, tracker, storage)
    [left] = tracker.studies()
    assert left.state is (TrialState.RUNNING if isinstance(failure, Killed) else TrialState.FAIL)
    assert not is_begun("pets", storage)
    tracker.failure = None
    require_new_in_mlflow(DEFINITION, tracker)
    run_id, advisor = create_study(prepared, tracker, storage)
    assert run_id == left.run_id == own_notes("pets", storage)["run_id"]
    assert [study.state for study in tracker.studies()] == [TrialState.RUNNING]
    assert advisor.ask() is not None


def test_a_name_whose_trials_are_in_mlflow_and_in_no_storage_is_refused_with_the_way_on(prepared: PreparedStudy) -> None:
    tracker = MemoryTracker()
    run_id, advisor = create_study(prepared, tracker, InMemoryStorage())
    proposal = advisor.ask()
    assert proposal is not None
    tracker.begin_trial(run_id, proposal.number, proposal.config, {})
    with pytest.raises(
        TrackingError, match="trials that are not in this STUDY_STORAGE. Set STUDY_STORAGE to where it was begun"
    ):
        require_new_in_mlflow(DEFINITION, tracker)
