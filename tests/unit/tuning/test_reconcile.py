"""The stores are made to differ by hand, and set right."""

from io import StringIO
from pathlib import Path

import pytest
from optuna.storages import InMemoryStorage
from rich.console import Console

from study.definition import parse_definition
from study.progress import PlainLines
from study.search.advisor import Advisor
from study.search.algorithms import open_storage
from study.settings import settings_from
from study.tracking.mlflow_tracker import MlflowTracker
from study.tracking.tracker import MemoryTracker
from study.trial import TrialState
from study.tuning.confirm import confirming_definition
from study.tuning.reconcile import Finding, reconcile
from study.tuning.runner import reconcile_study
from study.tuning.shared_files import NOT_SHARED, SharedFiles
from study.tuning.trial_files import state_file, weights_file

DEFINITION = parse_definition(
    """
name = "torn"
data.generated = "instruments"
[space]
"optimizer.lr" = { low = 1e-4, high = 1e-1, log = true }
[search]
trials = 3
""",
    Path("/somewhere/torn.toml"),
)


class Torn:
    """A study of one completed trial and one that was running when its driver died."""

    def __init__(self) -> None:
        self.storage, self.tracker = InMemoryStorage(), MemoryTracker()
        self.parent = self.tracker.begin_study("torn", "torn", {}, DEFINITION.text, "")
        advisor = Advisor.create(DEFINITION, self.storage, {})
        self.runs: list[str] = []
        for _ in range(2):
            proposal = advisor.ask()
            assert proposal is not None
            self.runs.append(self.tracker.begin_trial(self.parent, proposal.number, proposal.config, {}))
            advisor.attach_run(proposal.number, self.runs[-1])
        advisor.tell(0, TrialState.COMPLETE, 0.5)

    def reconcile(self, folder: Path, shared: SharedFiles = NOT_SHARED) -> list[Finding]:
        return reconcile(Advisor.resume(DEFINITION, self.storage), self.tracker, self.parent, folder, shared)


def test_runs_are_told_what_optuna_knows(tmp_path: Path) -> None:
    torn = Torn()
    findings = torn.reconcile(tmp_path)
    assert [(one.trial, one.is_repaired) for one in findings] == [(0, True), (1, True), (None, True)]
    states = {record.number: record.state for record in torn.tracker.trials(torn.parent)}
    assert states == {0: TrialState.COMPLETE, 1: TrialState.INTERRUPTED}
    assert torn.reconcile(tmp_path) == []


def test_a_second_run_of_a_trial_is_marked_and_kept(tmp_path: Path) -> None:
    torn = Torn()
    torn.reconcile(tmp_path)
    config = Advisor.resume(DEFINITION, torn.storage).outcomes()[0].config
    second = torn.tracker.begin_trial(torn.parent, 0, config, {"study.run_key": "another"})
    found = [one for one in torn.reconcile(tmp_path) if second in one.what]
    assert [(one.trial, one.is_repaired) for one in found] == [(0, True)]
    assert [record.run_id for record in torn.tracker.trials(torn.parent)] == torn.runs
    [marked] = [run for run in torn.tracker.trial_runs(torn.parent) if run.run_id == second]
    assert marked.duplicate_of == torn.runs[0]


def test_a_run_that_is_gone_is_left_to_people(tmp_path: Path) -> None:
    torn = Torn()
    advisor = Advisor.resume(DEFINITION, torn.storage)
    waiting = advisor.ask()
    assert waiting is not None
    advisor.attach_run(waiting.number, "gone")
    advisor.tell(waiting.number, TrialState.COMPLETE, 0.6)
    findings = torn.reconcile(tmp_path)
    assert [one.is_repaired for one in findings if "gone is not in MLflow" in one.what] == [False]


def test_saved_trainings_of_ended_trials_are_deleted(tmp_path: Path) -> None:
    torn = Torn()
    torn.reconcile(tmp_path)
    for number in (0, 1):
        state_file(tmp_path, number).parent.mkdir(exist_ok=True)
        state_file(tmp_path, number).touch()
    assert [one.trial for one in torn.reconcile(tmp_path)] == [0]
    assert not state_file(tmp_path, 0).exists()
    assert state_file(tmp_path, 1).exists()


def test_weights_of_trials_that_failed_are_deleted_and_those_of_completed_ones_kept(tmp_path: Path) -> None:
    torn = Torn()
    advisor = Advisor.resume(DEFINITION, torn.storage)
    assert advisor.ask() is not None
    advisor.tell(1, TrialState.FAIL)
    torn.reconcile(tmp_path)
    for number in (0, 1):
        weights_file(tmp_path, number).parent.mkdir(exist_ok=True)
        weights_file(tmp_path, number).touch()
    assert [(one.trial, one.what) for one in torn.reconcile(tmp_path)] == [(1, "its weights were left behind: deleted")]
    assert weights_file(tmp_path, 0).exists()
    assert not weights_file(tmp_path, 1).exists()


def test_the_repetitions_of_a_study_are_set_right_with_it(sqlite_uri: str, tmp_path: Path) -> None:
    """The driver died while the first repetition was running."""
    settings = settings_from({"MLFLOW_TRACKING_URI": sqlite_uri, "STUDY_STORAGE": "study.journal"}, tmp_path)
    definition = parse_definition(DEFINITION.text + "[confirm]\ntop = 1\nseeds = 2\n", DEFINITION.file)
    storage, tracker = open_storage(settings.storage), MlflowTracker(sqlite_uri)

    def begun(study: str, notes: dict[str, str]) -> tuple[Advisor, str]:
        parent = tracker.begin_study(study, "torn", {}, definition.text, "")
        whole = definition if study == "torn" else confirming_definition(definition, search.outcomes())
        advisor = Advisor.create(whole, storage, {"run_id": parent, **notes})
        proposal = advisor.ask()
        assert proposal is not None
        advisor.attach_run(proposal.number, tracker.begin_trial(parent, proposal.number, proposal.config, {}))
        return advisor, parent

    search, _ = begun("torn", {"definition": definition.text, "file": str(definition.file)})
    search.tell(0, TrialState.COMPLETE, 0.5)
    _, repeated = begun("torn.confirm", {"confirms": "torn"})
    findings = reconcile_study("torn", settings, PlainLines(Console(file=StringIO())))
    assert [(one.study, one.trial) for one in findings] == [
        ("torn", 0),
        ("torn", None),
        ("torn.confirm", 0),
        ("torn.confirm", None),
    ]
    assert [run.state for run in tracker.trial_runs(repeated)] == [TrialState.INTERRUPTED]
    assert reconcile_study("torn", settings, PlainLines(Console(file=StringIO()))) == []


def test_a_saved_training_that_cannot_be_deleted_is_not_called_deleted(tmp_path: Path) -> None:
    torn = Torn()
    state_file(tmp_path, 0).mkdir(parents=True)
    [left] = [one for one in torn.reconcile(tmp_path) if "saved training" in one.what]
    assert (left.trial, left.is_repaired) == (0, False)
    assert "could not be deleted" in left.what


def test_saved_trainings_in_a_bucket_are_listed_once_and_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torn, shared = Torn(), SharedFiles(f"file://{tmp_path}/bucket", "torn")
    torn.reconcile(tmp_path)
    state_file(tmp_path, 0).parent.mkdir()
    state_file(tmp_path, 0).touch()
    shared.send(state_file(tmp_path, 0))
    asked = list[Path]()
    listed = SharedFiles.names

    def counted(self: SharedFiles, folder: Path) -> frozenset[str]:
        asked.append(folder)
        return listed(self, folder)

    monkeypatch.setattr(SharedFiles, "names", counted)
    monkeypatch.setattr(SharedFiles, "has", None)  # one request a trial
    assert [(one.trial, one.is_repaired) for one in torn.reconcile(tmp_path, shared)] == [(0, True)]
    assert len(asked) == 1
    assert torn.reconcile(tmp_path, shared) == []


def test_a_bucket_that_cannot_be_read_is_told_and_the_rest_is_set_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torn = Torn()

    def refused(self: SharedFiles) -> None:
        raise OSError("AWS Error SLOW_DOWN during ListObjectsV2")

    monkeypatch.setattr(SharedFiles, "_open", refused)
    findings = torn.reconcile(tmp_path, SharedFiles(f"file://{tmp_path}/bucket", "torn"))
    assert [(one.trial, one.is_repaired) for one in findings if "SLOW_DOWN" in one.what] == [(None, False)]
    assert [one.is_repaired for one in findings if "SLOW_DOWN" not in one.what] == [True, True, True]
