"""The stores are made to differ by hand, and set right."""

from pathlib import Path

from optuna.storages import InMemoryStorage

from study.definition import parse_definition
from study.search.advisor import Advisor
from study.tracking.tracker import MemoryTracker
from study.trial import TrialState
from study.tuning.reconcile import Finding, reconcile
from study.tuning.trial_files import state_file

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

    def reconcile(self, folder: Path) -> list[Finding]:
        return reconcile(Advisor.resume(DEFINITION, self.storage), self.tracker, self.parent, folder)


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
