"""What a trial costs the storage: waits for the disk are a good part of a short trial."""

import os
from pathlib import Path

import optuna
import pytest

from study.definition import parse_definition
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
