"""What a trial costs the storage: waits for the disk are a good part of a short trial."""

import json
import os
from pathlib import Path

import optuna
import pytest

from study.definition import parse_definition
from study.errors import SearchError
from study.search.advisor import Advisor
from study.search.storages import open_storage
from study.trial import TrialState

TEXT = """
name = "waits"
data.generated = "instruments"
[space]
"optimizer.lr" = { low = 1e-4, high = 1e-2, log = true }
[search]
sampler = "random"
trials = 3
"""


@pytest.fixture
def advisor(tmp_path: Path) -> Advisor:
    definition = parse_definition(TEXT, tmp_path / "waits.toml")
    return Advisor.create(definition, open_storage(str(tmp_path / "study.journal")), {})


def test_a_trial_waits_for_the_disk_three_times(advisor: Advisor, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[int] = []
    monkeypatch.setattr(os, "fsync", waits.append)
    proposal = advisor.ask()
    assert proposal is not None
    advisor.attach_run(proposal.number, "run")
    advisor.report_all(proposal.number, {1: 0.1, 2: 0.2}, is_last=True)
    advisor.tell(proposal.number, TrialState.COMPLETE, 0.2, {"parameters_m": 1.0}, seconds=3.0)
    assert len(waits) == 3, "begun, its run noted, and all of its end together"


def test_what_comes_with_a_trials_end_is_all_in_the_storage(advisor: Advisor, tmp_path: Path) -> None:
    proposal = advisor.ask()
    assert proposal is not None
    advisor.attach_run(proposal.number, "run")
    advisor.report_all(proposal.number, {1: 0.1, 2: 0.2}, is_last=True)
    advisor.tell(proposal.number, TrialState.COMPLETE, 0.2, {"parameters_m": 1.0}, seconds=3.0)
    (stored,) = optuna.load_study(study_name="waits", storage=open_storage(str(tmp_path / "study.journal"))).trials
    assert stored.state is optuna.trial.TrialState.COMPLETE
    assert stored.value == 0.2
    assert stored.intermediate_values == {1: 0.1, 2: 0.2}
    assert stored.user_attrs["run_id"] == "run"
    assert stored.user_attrs["told"] == {"seconds": 3.0, "costs": {"parameters_m": 1.0}}


def test_an_interrupted_trial_keeps_its_reports_and_its_work(advisor: Advisor, tmp_path: Path) -> None:
    proposal = advisor.ask()
    assert proposal is not None
    advisor.attach_run(proposal.number, "run")
    advisor.report_all(proposal.number, {1: 0.1})
    advisor.tell(proposal.number, TrialState.INTERRUPTED, seconds=3.0)
    (stored,) = optuna.load_study(study_name="waits", storage=open_storage(str(tmp_path / "study.journal"))).trials
    assert stored.state is optuna.trial.TrialState.WAITING
    assert stored.intermediate_values == {1: 0.1}
    assert stored.user_attrs["told"]["seconds"] == 3.0


def test_an_end_that_was_written_although_the_disk_did_not_answer_is_not_written_again(
    advisor: Advisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal = advisor.ask()
    assert proposal is not None
    answers = [OSError("the disk does not answer")]

    def fsync(file: int) -> None:
        if answers:
            raise answers.pop()

    monkeypatch.setattr(os, "fsync", fsync)
    advisor.tell(proposal.number, TrialState.COMPLETE, 0.2)
    journal = tmp_path / "study.journal"
    states = [json.loads(line).get("state") for line in journal.read_text().splitlines()]
    assert states.count(int(optuna.trial.TrialState.COMPLETE)) == 1
    again = Advisor.resume(parse_definition(TEXT, tmp_path / "waits.toml"), open_storage(str(journal)))
    assert [(outcome.state, outcome.value) for outcome in again.outcomes()] == [(TrialState.COMPLETE, 0.2)]


def test_a_storage_that_was_waited_for_in_vain_is_not_waited_for_again(
    advisor: Advisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def is_full(file: int) -> None:
        raise OSError(28, "No space left on device")

    proposal = advisor.ask()
    assert proposal is not None
    monkeypatch.setattr("study.search.record.PATIENCE_S", 0.2)
    monkeypatch.setattr("study.search.storages.time.sleep", pauses.append)
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", is_full)
        full.setattr("study.search.storages.time.monotonic", lambda: 0.15 * len(pauses))
        for num_pauses in (1, 1):
            with pytest.raises(SearchError, match="No space left"):
                advisor.report(proposal.number, 1, 0.1)
            assert len(pauses) == num_pauses
    advisor.report(proposal.number, 1, 0.1)
    advisor.report(proposal.number, 2, 0.2)
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", is_full)
        full.setattr("study.search.storages.time.monotonic", lambda: 0.15 * len(pauses))
        with pytest.raises(SearchError, match=r"for 0\.2 s"):
            advisor.report(proposal.number, 3, 0.3)
    assert len(pauses) == 2, "it had taken something, so it is waited for again"
