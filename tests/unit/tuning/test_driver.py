"""Who drives a study, how that is known elsewhere, and how a driver is ended."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import ray
from filelock import FileLock

from study.errors import SearchError
from study.search.storages import open_storage
from study.settings import Settings, settings_from
from study.tuning.cluster import connected
from study.tuning.driver import Driver, DriverRecord, End, driving, is_driven, read_driver, terminated_as_interrupted
from study.tuning.stopping import ask_to_stop, wait_until_stopped

DRIVE = """
import sys, time
from pathlib import Path
from study.tuning.driver import driving
try:
    with driving("pets", Path(sys.argv[1])):
        print("drives", flush=True)
        while True:
            time.sleep(0.05)
except KeyboardInterrupt:
    print("interrupted in good order")
    sys.exit(1)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_from({"STUDY_OUTPUT": str(tmp_path / "studies")}, tmp_path)


def started(folder: Path, code: str = DRIVE, **options: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", code, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload]
    assert process.stdout is not None
    assert process.stdout.readline() == "drives\n"
    return process  # type: ignore[no-any-return]


@pytest.fixture
def driver(settings: Settings) -> Iterator["subprocess.Popen[str]"]:
    process = started(settings.study_folder("pets"))
    yield process
    process.kill()
    process.communicate()


def test_a_study_is_driven_while_its_driver_lives_and_no_longer(driver: "subprocess.Popen[str]", settings: Settings) -> None:
    folder = settings.study_folder("pets")
    assert is_driven(folder)
    record = read_driver(folder)
    assert record is not None
    assert (record.pid, record.end, record.is_here) == (driver.pid, None, True)
    driver.kill()
    driver.wait()
    assert not is_driven(folder)
    assert record == read_driver(folder), "who died left no word of an end"
    assert not record.is_here


def refuse(monkeypatch: pytest.MonkeyPatch, refused: Callable[[int], bool]) -> None:
    """As another user's process is refused; root's, which tests may be, never is."""
    open_file = os.open

    def opened(path: str, flags: int, *rest: Any, **options: Any) -> int:
        if refused(flags):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return open_file(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", opened)


@pytest.mark.usefixtures("driver")
def test_who_may_only_read_the_lock_sees_that_the_study_is_driven(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, lambda flags: bool(flags & (os.O_WRONLY | os.O_RDWR)))
    assert is_driven(settings.study_folder("pets"))


@pytest.mark.usefixtures("driver")
def test_who_may_not_read_the_lock_cannot_tell(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, lambda flags: True)
    assert is_driven(settings.study_folder("pets")) is None


def test_who_looks_is_not_taken_for_a_driver_by_others_who_look(tmp_path: Path) -> None:
    drive(tmp_path, None)
    with (tmp_path / "driver.lock").open() as looker:
        fcntl.flock(looker, fcntl.LOCK_SH)
        assert is_driven(tmp_path) is False


def test_stop_spares_a_process_that_has_ended_its_study(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "kill", lambda pid, sent: pytest.fail(f"process {pid} was sent {sent}"))
    folder = settings.study_folder("pets")
    drive(folder, End.COMPLETE)
    with FileLock(folder / "driver.lock"), pytest.raises(SearchError, match="nobody is running 'pets'"):
        ask_to_stop("pets", settings)


def test_a_second_driver_is_told_who_the_first_is(driver: "subprocess.Popen[str]", settings: Settings) -> None:
    refused = pytest.raises(SearchError, match=rf"running 'pets' \(pid {driver.pid} on ")
    with refused, driving("pets", settings.study_folder("pets")):
        raise AssertionError("it must not drive")


def test_a_process_of_the_same_number_that_began_at_another_time_is_not_the_driver() -> None:
    record = DriverRecord.of_this_process()
    assert record.is_here
    assert not record.model_copy(update={"process_s": record.process_s - 60}).is_here
    assert not record.model_copy(update={"host": "another"}).is_here


def test_sigterm_ends_a_driver_in_good_order(driver: "subprocess.Popen[str]", settings: Settings) -> None:
    driver.send_signal(signal.SIGTERM)
    output, _ = driver.communicate(timeout=20)
    assert output == "interrupted in good order\n"
    record = read_driver(settings.study_folder("pets"))
    assert record is not None
    assert record.end is End.INTERRUPTED


def test_sigterm_is_heard_where_sigint_is_blocked_and_ignored_as_by_ray_and_by_shells(settings: Settings) -> None:
    code = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    code += "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})\n" + DRIVE
    process = started(settings.study_folder("pets"), code)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20)[0] == "interrupted in good order\n"


def test_stop_ends_the_driver_and_waits_for_it(driver: "subprocess.Popen[str]", settings: Settings) -> None:
    record_in_optuna(settings)
    asked = ask_to_stop("pets", settings)
    assert asked.pid == driver.pid
    assert wait_until_stopped("pets", asked, settings) is End.INTERRUPTED
    assert not is_driven(settings.study_folder("pets"))


def test_stop_of_a_study_that_nobody_runs_is_one_line(settings: Settings) -> None:
    with driving("pets", settings.study_folder("pets")):
        pass
    with pytest.raises(SearchError, match="nobody is running 'pets'. See `study status pets`"):
        ask_to_stop("pets", settings)
    with pytest.raises(SearchError, match="nobody is running 'pats'. Did you mean `pets`?"):
        ask_to_stop("pats", settings)


def test_stop_of_a_study_whose_driver_is_elsewhere_says_where(settings: Settings) -> None:
    folder = settings.study_folder("pets")
    with driving("pets", folder):
        record = read_driver(folder)
        assert record is not None
        elsewhere = record.model_copy(update={"host": "node7"})
        (folder / "driver.json").write_text(elsewhere.model_dump_json(), encoding="utf-8")
        with pytest.raises(SearchError, match=rf"that of 'pets' is pid {os.getpid()} on node7"):
            ask_to_stop("pets", settings)


def drive(folder: Path, end: End | None) -> None:
    with driving("pets", folder) as driver:
        assert isinstance(driver, Driver)
        driver.end = end


def test_a_driver_s_word_of_its_end_stays_until_another_one_knows_better(tmp_path: Path) -> None:
    told = []
    for end in (None, End.COMPLETE, None):  # the last only looks, as `study reconcile` does
        drive(tmp_path, end)
        record = read_driver(tmp_path)
        assert record is not None
        told.append(record.end)
    assert told == [End.INTERRUPTED, End.COMPLETE, End.COMPLETE]


def test_ray_s_beginning_does_not_take_sigterm_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "init", lambda **options: signal.signal(signal.SIGTERM, signal.SIG_DFL))  # as Ray 2.60 does
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with terminated_as_interrupted(), connected(None, is_verbose=False), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)


def test_sigterm_is_as_it_was_after_a_study(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    drive(tmp_path, None)
    assert signal.getsignal(signal.SIGTERM) is before


def prepare(folder: Path, *, to_the_end: bool = False) -> None:
    with driving("pets", folder, prepares=True) as driver:
        driver.does("packing photos, 1 of 2")
        if to_the_end:
            driver.runs()


def test_a_driver_says_what_it_does_until_its_trials_run(tmp_path: Path) -> None:
    with driving("pets", tmp_path, prepares=True) as driver:
        assert doing(tmp_path) == "preparing"
        driver.does("packing photos, 1 of 2")
        assert doing(tmp_path) == "packing photos, 1 of 2"
        driver.does("packing photos, 2 of 2")
        assert doing(tmp_path) == "packing photos, 1 of 2", "the file is not written again for each batch of photos"
        driver.runs()
        assert doing(tmp_path) is None
    with driving("pets", tmp_path):
        assert doing(tmp_path) is None, "who only looks prepares nothing"


def doing(folder: Path) -> str | None:
    record = read_driver(folder)
    assert record is not None
    return record.doing


def test_who_leaves_before_anything_is_recorded_leaves_nothing(tmp_path: Path) -> None:
    prepare(tmp_path / "studies" / "pets")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "studies").write_text("a file where the folder should be")
    with pytest.raises(SearchError, match="STUDY_OUTPUT must be a folder that can be written, but .*pets is not") as raised:
        prepare(tmp_path / "studies" / "pets")
    assert "\n" not in str(raised.value)


def test_what_was_in_the_folder_stays_there(tmp_path: Path) -> None:
    (tmp_path / "pets" / "received").mkdir(parents=True)
    prepare(tmp_path / "pets")
    assert [path.name for path in (tmp_path / "pets").iterdir()] == ["received"]


@pytest.mark.parametrize("end", End)
def test_who_leaves_a_recorded_study_while_it_prepares_leaves_the_earlier_driver_s_word(end: End, tmp_path: Path) -> None:
    drive(tmp_path, end)
    prepare(tmp_path)
    record = read_driver(tmp_path)
    assert record is not None
    assert (record.end, record.doing) == (end, None)


def test_a_driver_that_was_killed_while_it_prepared_leaves_nothing_that_the_next_one_keeps(tmp_path: Path) -> None:
    folder = tmp_path / "studies" / "pets"
    process = started(folder, DRIVE.replace("Path(sys.argv[1])", "Path(sys.argv[1]), prepares=True"))
    process.kill()
    process.communicate()
    assert doing(folder) == "preparing"
    prepare(folder)
    assert not folder.exists()


def test_who_waits_for_a_driver_that_takes_its_folder_away_drives_in_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.tuning.driver.LOOK_S", 10.0)
    folder = tmp_path / "pets"
    told = list[bool | None]()

    def wait_and_drive() -> None:
        with driving("pets", folder):
            told.append(is_driven(folder))

    waiter = threading.Thread(target=wait_and_drive)
    with driving("pets", folder, prepares=True):
        waiter.start()
        time.sleep(0.1)
    waiter.join()
    assert told == [True]


def record_in_optuna(settings: Settings) -> None:
    optuna.create_study(study_name="pets", storage=open_storage(settings.storage))


def test_stop_does_not_speak_of_resuming_what_was_never_recorded(driver: "subprocess.Popen[str]", settings: Settings) -> None:
    """As while Ray starts, after the photos are packed."""
    assert wait_until_stopped("pets", ask_to_stop("pets", settings), settings) is None
    assert driver.wait() == 1


def test_stop_ends_a_driver_that_prepares_and_nothing_is_left(settings: Settings) -> None:
    folder = settings.study_folder("pets")
    process = started(folder, DRIVE.replace("Path(sys.argv[1])", "Path(sys.argv[1]), prepares=True"))
    asked = ask_to_stop("pets", settings)
    output, _ = process.communicate(timeout=20)
    assert output == "interrupted in good order\n"
    assert wait_until_stopped("pets", asked, settings) is None
    assert not folder.exists()
