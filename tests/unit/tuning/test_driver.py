"""Who drives a study, how that is known elsewhere, and how a driver is ended."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from filelock import FileLock

from study.errors import SearchError
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
