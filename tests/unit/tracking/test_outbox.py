import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from study.errors import TrackingError
from study.tracking.deliveries import Delivery, Point
from study.tracking.failures import RecordRefusedError, StoreAwayError
from study.tracking.journal import RunJournal
from study.tracking.outbox import Outbox
from study.tracking.records import STATE_TAG
from study.trial import TrialState

PROJECT = Path(__file__).parents[3]
AT_ONCE = 0.0
NEVER_BY_ITSELF = 600.0


class Inbox:
    """A receiver that keeps what it is given, and can be away or choosy."""

    def __init__(self) -> None:
        self.received: list[tuple[str, Delivery]] = []
        self.is_away = False
        self.refused_run = ""
        self.num_tries = 0
        self.is_open = threading.Event()
        self.is_open.set()

    def deliver(self, run_id: str, delivery: Delivery) -> None:
        self.num_tries += 1
        assert self.is_open.wait(10)
        if self.is_away:
            raise StoreAwayError("MLflow must answer, but does not.")
        if run_id == self.refused_run:
            raise RecordRefusedError("the run was deleted.")
        self.received.append((run_id, delivery))

    def steps(self, run_id: str) -> list[int]:
        return [point.step for told, delivery in self.received if told == run_id for point in delivery.points]


def points(*steps: int) -> Delivery:
    return Delivery(points=[Point("val_loss", 1 / step, 1000 + step, step) for step in steps])


END = Delivery(tags={STATE_TAG: "COMPLETE"}, state=TrialState.COMPLETE, at_ms=5000)


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 10
    while not is_true():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


@contextmanager
def left_by_dead_process(folder: Path, code: str) -> Iterator[None]:
    """Runs `code`, which has an outbox called `outbox` whose receiver is away, and kills it when it says that it is ready."""
    start = (
        "import time\nfrom pathlib import Path\nfrom tests.unit.tracking.test_outbox import *\n"
        f"inbox = Inbox(); inbox.is_away = True; outbox = Outbox(Path({str(folder)!r}), inbox)\n"
    )
    command = [sys.executable, "-c", f"{start}{code}\nprint('ready', flush=True)\ntime.sleep(60)"]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    yield


def test_a_short_trial_is_one_batch(inbox: Inbox, tmp_path: Path) -> None:
    with Outbox(tmp_path, inbox, NEVER_BY_ITSELF) as outbox:
        outbox.put("r", Delivery(params={"backbone": "alexnet"}))
        for epoch in range(1, 6):
            outbox.put("r", points(epoch))
        outbox.put("r", END)
        wait_until(lambda: len(inbox.received) > 0)
    [(run_id, told)] = inbox.received
    assert (run_id, told.params, told.tags, told.state, told.at_ms) == ("r", {"backbone": "alexnet"}, END.tags, END.state, 5000)
    assert inbox.steps("r") == [1, 2, 3, 4, 5]


def test_a_long_trial_is_seen_while_it_runs(inbox: Inbox, tmp_path: Path) -> None:
    with Outbox(tmp_path, inbox, linger_s=0.02) as outbox:
        outbox.put("r", points(1))
        wait_until(lambda: inbox.steps("r") == [1])
        outbox.put("r", points(2))
        wait_until(lambda: inbox.steps("r") == [1, 2])


def test_much_at_once_is_sent_in_batches_that_mlflow_takes(inbox: Inbox, tmp_path: Path) -> None:
    with Outbox(tmp_path, inbox, NEVER_BY_ITSELF) as outbox:
        for first in range(1, 2501, 100):
            outbox.put("r", points(*range(first, first + 100)))
        assert outbox.flush(10).is_empty
    assert inbox.steps("r") == list(range(1, 2501))
    assert max(len(delivery.points) for _, delivery in inbox.received) <= 1000
    assert len(inbox.received) <= 5


def test_what_comes_while_a_full_batch_is_sent_waits_for_company(inbox: Inbox, tmp_path: Path) -> None:
    inbox.is_open.clear()
    with Outbox(tmp_path, inbox, NEVER_BY_ITSELF) as outbox:
        outbox.put("r", points(*range(1, 1001)))
        wait_until(lambda: inbox.num_tries == 1)
        outbox.put("r", points(1001))
        inbox.is_open.set()
        wait_until(lambda: len(inbox.received) == 1)
        time.sleep(0.1)
        assert len(inbox.received) == 1
        outbox.put("r", points(1002))
        assert outbox.flush(10).is_empty
    assert [len(delivery.points) for _, delivery in inbox.received] == [1000, 2]


def test_what_has_arrived_leaves_nothing_behind(inbox: Inbox, tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox", inbox, AT_ONCE) as outbox:
        outbox.put("r", points(1))
        outbox.put("s", END)
    assert list((tmp_path / "outbox").iterdir()) == []


def test_an_absence_is_waited_for_in_ever_longer_intervals(inbox: Inbox, tmp_path: Path) -> None:
    inbox.is_away = True
    with Outbox(tmp_path, inbox, AT_ONCE) as outbox:
        for number in range(20):
            outbox.put(f"r{number}", points(1))
        backlog = outbox.flush(1.0)
        assert (backlog.num_deliveries, backlog.num_runs, backlog.reason) == (20, 20, "MLflow must answer, but does not.")
        assert inbox.num_tries <= 4
        inbox.is_away = False
        assert outbox.flush(10).is_empty
    assert {run_id for run_id, _ in inbox.received} == {f"r{number}" for number in range(20)}


def test_what_a_killed_process_put_in_is_sent_by_the_next_in_order(inbox: Inbox, tmp_path: Path) -> None:
    code = "for number in range(50):\n    outbox.put('r', points(number + 1))\noutbox.put('r', END)"
    with left_by_dead_process(tmp_path, code), Outbox(tmp_path, inbox, NEVER_BY_ITSELF) as outbox:
        outbox.put("r", Delivery(tags={"later": "yes"}))
        assert outbox.flush(10).is_empty
    assert inbox.steps("r") == list(range(1, 51))
    assert inbox.received[0][1].state is TrialState.COMPLETE
    assert inbox.received[-1][1].tags["later"] == "yes"
    assert list(tmp_path.iterdir()) == []


def test_what_a_living_process_has_is_left_to_it(inbox: Inbox, tmp_path: Path) -> None:
    away = Inbox()
    away.is_away = True
    with Outbox(tmp_path, away, AT_ONCE) as owner:
        owner.put("r", points(1))
        with Outbox(tmp_path, inbox, AT_ONCE) as other:
            assert other.flush(0.2).is_empty
        assert inbox.received == []
        away.is_away = False
    assert away.steps("r") == [1]


def test_a_flush_finds_who_died_meanwhile(inbox: Inbox, tmp_path: Path) -> None:
    with Outbox(tmp_path, inbox) as outbox, left_by_dead_process(tmp_path, "outbox.put('r', points(1))"):
        assert outbox.flush(10).is_empty
    assert inbox.steps("r") == [1]


def test_only_what_had_not_arrived_is_sent_again(tmp_path: Path) -> None:
    journal = RunJournal(tmp_path, "r")
    for epoch in range(1, 4):
        journal.append(points(epoch))
        if epoch == 1:
            journal.mark_delivered(journal.size)
    again = RunJournal(tmp_path, "r")
    told, end = again.read(again.delivered)
    assert [point.step for point in told.points] == [2, 3]
    assert end == again.size


def test_waiting_deliveries_are_counted_as_they_come_and_arrive(tmp_path: Path) -> None:
    journal = RunJournal(tmp_path, "r")
    counts = [journal.num_waiting()]
    for epoch in range(1, 4):
        journal.append(points(epoch))
        counts.append(journal.num_waiting())
    ends = [index + 1 for index, byte in enumerate(journal.path.read_bytes()) if byte == ord("\n")]
    for end in ends:
        journal.mark_delivered(end)
        counts.append(journal.num_waiting())
    assert counts == [0, 1, 2, 3, 2, 1, 0]


def test_deliveries_that_wait_unchanged_are_counted_without_reading_them_again(tmp_path: Path) -> None:
    journal = RunJournal(tmp_path, "r")
    journal.append(points(1))
    assert journal.num_waiting() == 1
    journal.path.rename(tmp_path / "elsewhere")
    assert journal.num_waiting() == 1


@pytest.mark.parametrize("mark", ["", "7", "banana", "100000"])
def test_a_spoilt_mark_sends_all_again(tmp_path: Path, mark: str) -> None:
    RunJournal(tmp_path, "r").append(points(1))
    (tmp_path / "r.delivered").write_text(mark)
    assert RunJournal(tmp_path, "r").delivered == 0


def test_a_line_that_was_cut_short_is_passed_over(inbox: Inbox, tmp_path: Path) -> None:
    folder = tmp_path / "dead"
    folder.mkdir()
    RunJournal(folder, "r").append(points(1))
    with (folder / "r.jsonl").open("a") as file:
        file.write('{"points":[["val_loss",0.5')
    with Outbox(tmp_path, inbox) as outbox:
        assert outbox.flush(10).is_empty
    assert inbox.steps("r") == [1]


def test_a_damaged_journal_is_told_and_kept(inbox: Inbox, tmp_path: Path) -> None:
    (tmp_path / "dead").mkdir()
    (tmp_path / "dead" / "r.jsonl").write_bytes(b"\0" * 100 + b"\n")
    with Outbox(tmp_path, inbox) as outbox:
        backlog = outbox.flush(10)
        assert "must hold deliveries" in backlog.refused["r"]
        with pytest.raises(TrackingError, match="refused 1 of them"):
            backlog.require_empty()
    assert [file.name for file in (tmp_path / ".refused").rglob("*.jsonl")] == ["r.jsonl"]


def test_a_refused_run_is_told_at_its_next_record_and_stops_no_other(inbox: Inbox, tmp_path: Path) -> None:
    inbox.refused_run = "deleted"
    with Outbox(tmp_path, inbox, AT_ONCE) as outbox:
        outbox.put("deleted", points(1))
        outbox.put("r", points(1))
        backlog = outbox.flush(10)
        assert backlog.refused == {"deleted": "the run was deleted."}
        assert backlog.num_deliveries == 0
        with pytest.raises(TrackingError, match="the run was deleted"):
            outbox.put("deleted", points(2))
        outbox.put("r", points(2))
    assert inbox.steps("r") == [1, 2]


def test_a_full_disk_is_an_error_and_spoils_nothing(inbox: Inbox, tmp_path: Path) -> None:
    """A limit on a file's size fails a write half way, as a full disk does."""
    code = (
        "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    for epoch in range(1, 100): outbox.put('r', points(epoch))\n"
        "except TrackingError as error:\n    assert 'Free some space' in str(error)\nelse: raise SystemExit('no error')\n"
    )
    with left_by_dead_process(tmp_path, code), Outbox(tmp_path, inbox) as outbox:
        assert outbox.flush(10).is_empty
    assert inbox.steps("r") == list(range(1, len(inbox.steps("r")) + 1))
    assert len(inbox.steps("r")) >= 10


def test_a_folder_that_cannot_be_written_is_refused_at_once(inbox: Inbox, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrackingError, match="before it is sent"):
        Outbox(tmp_path / "file" / "outbox", inbox)


def test_a_long_absence_takes_disk_not_memory(inbox: Inbox, tmp_path: Path) -> None:
    inbox.is_away = True
    batch = Delivery(points=[Point(f"metric_{index}", index / 7, 1000, 1) for index in range(200)])
    with Outbox(tmp_path, inbox) as outbox:
        outbox.put("r", batch)
        before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(1000):  # 200,000 values, 8 MB
            outbox.put("r", batch)
        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
        assert sum(file.stat().st_size for file in tmp_path.rglob("*.jsonl")) > 5_000_000
        outbox.close(0)
    assert grown_kib < 4_000


def test_a_caller_waits_for_the_disk_only(tmp_path: Path) -> None:
    release = threading.Event()

    class Slow:
        def deliver(self, run_id: str, delivery: Delivery) -> None:
            release.wait(10)

    with Outbox(tmp_path, Slow(), AT_ONCE) as outbox:
        outbox.put("r", points(1))
        started_s = time.perf_counter()
        for epoch in range(2, 102):
            outbox.put("r", points(epoch))
        assert time.perf_counter() - started_s < 0.5  # 100 records; the receiver is still at the first
        release.set()


def test_an_outbox_that_was_closed_takes_nothing(inbox: Inbox, tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, inbox)
    outbox.close()
    with pytest.raises(TrackingError, match="was closed"):
        outbox.put("r", points(1))


def test_two_processes_never_share_a_folder(inbox: Inbox, tmp_path: Path) -> None:
    with Outbox(tmp_path, inbox, NEVER_BY_ITSELF) as first, Outbox(tmp_path, inbox, NEVER_BY_ITSELF) as second:
        first.put("r", points(1))
        second.put("r", points(2))
        assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 2
    assert sorted(inbox.steps("r")) == [1, 2]
    assert os.listdir(tmp_path) == []
