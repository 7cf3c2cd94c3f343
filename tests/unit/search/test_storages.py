"""Optuna's storages under kills, full disks and restarts."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from study.errors import SearchError
from study.search.record import Record
from study.search.storages import Journal, open_storage, together, write


def test_a_half_line_at_the_journal_s_end_is_dropped_and_the_study_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "study.journal"
    study = optuna.create_study(study_name="a", storage=open_storage(str(file)))
    study.tell(study.ask(), 1.0)
    with file.open("ab") as journal:
        journal.write(b'{"op_code":4,"worker_id":"x","stu')  # a power cut
    again = optuna.load_study(study_name="a", storage=open_storage(str(file)))
    again.tell(again.ask(), 2.0)
    values = [trial.value for trial in optuna.load_study(study_name="a", storage=open_storage(str(file))).trials]
    assert values == [1.0, 2.0]


def test_a_full_disk_leaves_whole_lines_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "study.journal")
    journal.append_logs([{"a": 1}])

    def fill_up(descriptor: int) -> None:
        with (tmp_path / "study.journal").open("rb+") as file:
            file.truncate(file.seek(0, os.SEEK_END) - 4)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fill_up)
        with pytest.raises(OSError, match="No space left"):
            journal.append_logs([{"b": 2}])
    journal.append_logs([{"c": 3}])
    assert list(journal.read_logs(0)) == [{"a": 1}, {"c": 3}]


def test_what_one_thread_holds_back_holds_no_other_thread_s_records_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "study.journal")
    with journal.together():
        journal.append_logs([{"ours": 1}])
        other = threading.Thread(target=journal.append_logs, args=([{"theirs": 1}],))
        other.start()
        other.join()
        assert list(journal.read_logs(0)) == [{"theirs": 1}]
        journal.append_logs([{"ours": 2}])
    assert list(journal.read_logs(0)) == [{"theirs": 1}, {"ours": 1}, {"ours": 2}]


def test_a_killed_driver_leaves_no_lock_behind(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom study.search.storages import Journal\n"
        "journal = Journal(Path(sys.argv[1]))\njournal._kernel_lock.acquire()\nprint('held', flush=True)\ntime.sleep(60)"
    )
    file = tmp_path / "study.journal"
    with subprocess.Popen([sys.executable, "-c", code, str(file)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        process.send_signal(signal.SIGKILL)
    began_s = time.monotonic()
    Journal(file).append_logs([{"a": 1}])
    assert time.monotonic() - began_s < 1


def test_what_is_written_together_is_one_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_storage(str(tmp_path / "study.journal"))
    trial = optuna.create_study(study_name="a", storage=storage).ask()
    waits: list[int] = []
    monkeypatch.setattr(os, "fsync", waits.append)
    with together(storage):
        for epoch in range(1, 11):
            storage.set_trial_intermediate_value(trial._trial_id, epoch, 0.5)
    assert len(waits) == 1
    assert len(storage.get_trial(trial._trial_id).intermediate_values) == 10


class Flaky(InMemoryStorage):
    """A database that fails some of its writes, after it carried them out or before."""

    def __init__(self, num_failures: int, is_carried_out: bool) -> None:
        super().__init__()
        self.num_failures = num_failures
        self._is_carried_out = is_carried_out

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        if self.num_failures and not self._is_carried_out:
            self._fail()
        number = super().create_new_trial(study_id, template_trial)
        if self.num_failures:
            self._fail()
        return number

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        is_set = super().set_trial_state_values(trial_id, state, values)
        if self.num_failures:
            self._fail()
        return is_set

    def _fail(self) -> None:
        self.num_failures -= 1
        raise StorageInternalError("the server closed the connection unexpectedly")


@pytest.mark.parametrize("is_carried_out", [True, False])
def test_a_write_that_failed_is_repeated_and_carried_out_once(is_carried_out: bool) -> None:
    storage = Flaky(0, is_carried_out)
    study = optuna.create_study(study_name="a", storage=storage)
    record = Record(study)
    begun = optuna.trial.create_trial(state=TrialState.RUNNING)
    begun.number = 0
    storage.num_failures = 1
    record.begin(begun)
    ended = optuna.trial.create_trial(value=0.5)
    ended.number = 0
    storage.num_failures = 1
    record.end(ended)
    assert [(trial.state, trial.value) for trial in study.trials] == [(TrialState.COMPLETE, 0.5)]


def test_a_storage_that_stays_away_is_one_line_that_says_what_to_do() -> None:
    def fail() -> None:
        raise StorageInternalError("an invalid transaction") from OSError("No space left on device")

    with pytest.raises(SearchError, match=r"for 0.05 s it did not: No space left on device. .*`study resume NAME`"):
        write(fail, patience_s=0.05)


@pytest.mark.parametrize(
    ("address", "fix"),
    [
        ("postgresql+psycopg2://me:secret@host/trials", "pip install 'study[postgresql]'"),
        ("mysql+mysqldb://me:secret@host/trials", "SQLAlchemy's documentation"),
    ],
)
def test_a_database_without_its_driver_is_told_with_what_to_install(address: str, fix: str) -> None:
    with pytest.raises(SearchError, match="needs its driver") as raised:
        open_storage(address)
    assert fix in str(raised.value)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)
