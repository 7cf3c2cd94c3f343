import errno
import os
import resource
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
import torch
from filelock import FileLock

from study.training import activation_cache
from study.training.activation_cache import ActivationCache
from study.training.activation_files import Batches, is_intact, packed_batches
from study.training.activation_parts import SharedWork
from tests.children import in_child

NUM_PHOTOS = 4
# An array of 1 KiB of zeros a photo, its header, description and trailer.
FILE_BYTES = NUM_PHOTOS * 1024 + 200

# A child that only writes files and is then killed, or exits at once, may be forked from a process with threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def batches(value: float = 1.0) -> Batches:
    return packed_batches([[torch.full((2, 256), value)], [torch.full((2, 256), value)]], torch.float32)


def work(compute: Callable[[], Batches]) -> SharedWork:
    """In one part."""
    return SharedWork((NUM_PHOTOS,), lambda part: compute(), "float32")


def put(cache: ActivationCache, key: str, value: float = 1.0, compute: Callable[[], Batches] | None = None) -> bool:
    """Whether it had to be computed."""
    stored, is_new = cache.find_or_write(key, FILE_BYTES, work(compute or (lambda: batches(value))))
    assert stored.rows.shape == (NUM_PHOTOS, 1, 256)
    return is_new


def kept(folder: Path, pattern: str = "*.npy") -> list[str]:
    return sorted(path.stem for path in folder.glob(pattern))


def test_what_one_process_wrote_is_found_by_the_next(tmp_path: Path) -> None:
    assert put(ActivationCache(tmp_path), "a", value=3.0)
    cache = ActivationCache(tmp_path)
    assert not put(cache, "a", value=4.0)
    found = cache.find("a")
    assert found is not None
    assert found.rows.eq(3.0).all()
    assert cache.find("b") is None


def test_a_folder_that_nobody_may_write_to_serves_what_it_has(tmp_path: Path) -> None:
    put(ActivationCache(tmp_path), "a", value=3.0)
    denied = PermissionError(errno.EACCES, "Permission denied")
    with mock.patch.object(FileLock, "acquire", side_effect=denied), mock.patch.object(Path, "mkdir", side_effect=denied):
        cache = ActivationCache(tmp_path)
        assert not put(cache, "a", value=4.0)
        with pytest.raises(PermissionError):
            put(cache, "b")


def test_two_processes_at_once_compute_once(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def compute() -> Batches:
        with log.open("a") as file:
            file.write("computed\n")
        time.sleep(0.2)
        return batches()

    children = [in_child(lambda: put(ActivationCache(tmp_path), "a", compute=compute)) for _ in range(3)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert log.read_text() == "computed\n"


def test_a_writer_that_is_killed_leaves_nothing_that_counts(tmp_path: Path) -> None:
    def write_for_ever() -> Batches:
        yield from batches()
        (tmp_path / "half").touch()
        time.sleep(60)

    child = in_child(lambda: put(ActivationCache(tmp_path), "a", compute=write_for_ever))
    while not (tmp_path / "half").exists():
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert (kept(tmp_path), kept(tmp_path, "*.partial")) == ([], ["a"])
    assert put(ActivationCache(tmp_path), "a")
    assert (kept(tmp_path), kept(tmp_path, "*.partial")) == (["a"], [])


def test_what_dead_writers_left_is_removed_by_the_next_writer_of_anything(tmp_path: Path) -> None:
    (tmp_path / "dead.partial").write_bytes(bytes(100))
    (tmp_path / "evicted.used").touch()
    with FileLock(tmp_path / "alive.lock"):
        (tmp_path / "alive.partial").write_bytes(bytes(100))
        put(ActivationCache(tmp_path), "a")
        assert kept(tmp_path, "*.partial") == ["alive"]
    assert kept(tmp_path, "*.used") == ["a"]


def test_an_error_while_computing_leaves_no_file(tmp_path: Path) -> None:
    def fail() -> Batches:
        yield from batches()
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        put(ActivationCache(tmp_path), "a", compute=fail)
    assert (kept(tmp_path), kept(tmp_path, "*.partial")) == ([], [])


@pytest.mark.parametrize("is_new_process", [True, False])
def test_a_file_that_was_damaged_is_computed_anew(is_new_process: bool, tmp_path: Path) -> None:
    cache = ActivationCache(tmp_path)
    put(cache, "a")
    file = tmp_path / "a.npy"
    content = bytearray(file.read_bytes())
    content[1000] ^= 1
    time.sleep(0.01)  # a coarse clock would give the file the same time of change
    file.write_bytes(content)
    cache = ActivationCache(tmp_path) if is_new_process else cache
    assert cache.find("a") is None
    assert put(cache, "a")
    assert not put(ActivationCache(tmp_path), "a")


def test_a_process_checks_a_file_once(tmp_path: Path) -> None:
    put(ActivationCache(tmp_path), "a")
    cache = ActivationCache(tmp_path)
    with mock.patch.object(activation_cache, "is_intact", wraps=is_intact) as check:
        assert all(cache.find("a") for _ in range(3))
    assert check.call_count == 1


def test_the_least_recently_used_leave_first(tmp_path: Path) -> None:
    cache = ActivationCache(tmp_path, budget_bytes=3 * (FILE_BYTES + 100))
    for number, key in enumerate("abc"):
        put(cache, key)
        os.utime(tmp_path / f"{key}.used", (1000 + number, 1000 + number))
    assert cache.find("a") is not None  # now it was used last
    put(cache, "d")
    assert kept(tmp_path) == ["a", "c", "d"]
    put(cache, "e")
    assert kept(tmp_path) == ["a", "d", "e"]


def test_all_files_together_stay_within_the_budget(tmp_path: Path) -> None:
    cache = ActivationCache(tmp_path, budget_bytes=2 * FILE_BYTES)
    for key in "abcdef":
        put(cache, key)
        assert sum(file.stat().st_size for file in tmp_path.glob("*.npy")) <= cache.budget_bytes


def test_what_is_larger_than_the_budget_is_not_kept_and_evicts_nothing(tmp_path: Path) -> None:
    put(ActivationCache(tmp_path), "a")
    with pytest.raises(OSError, match="no room for"):
        put(ActivationCache(tmp_path, budget_bytes=FILE_BYTES - 1), "b")
    assert kept(tmp_path) == ["a"]


def test_a_file_being_written_counts(tmp_path: Path) -> None:
    with FileLock(tmp_path / "other.lock"), (tmp_path / "other.partial").open("wb") as file:
        file.truncate(FILE_BYTES)
        with pytest.raises(OSError, match="no room for"):
            put(ActivationCache(tmp_path, budget_bytes=2 * FILE_BYTES - 1), "a")


def test_an_evicted_file_serves_who_has_it_open(tmp_path: Path) -> None:
    cache = ActivationCache(tmp_path, budget_bytes=FILE_BYTES)
    stored, _ = cache.find_or_write("a", FILE_BYTES, work(lambda: batches(5.0)))
    put(cache, "b")
    assert kept(tmp_path) == ["b"]
    assert stored.rows.eq(5.0).all()


@pytest.mark.parametrize("num_bytes", [FILE_BYTES, 10])  # refused when room is reserved, and in the middle of writing
def test_a_disk_that_refuses_to_write_leaves_no_half_file(num_bytes: int, tmp_path: Path) -> None:
    def write_where_files_stay_small() -> None:
        # In a child: the limit is for all files of a process, and pytest's own output may go to one.
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES // 2, FILE_BYTES // 2))
        with pytest.raises(OSError, match="File too large"):
            ActivationCache(tmp_path).find_or_write("a", num_bytes, work(batches))

    _, status = os.waitpid(in_child(write_where_files_stay_small), 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert (kept(tmp_path), kept(tmp_path, "*.partial")) == ([], [])


def test_a_disk_without_room_evicts_and_then_refuses(tmp_path: Path) -> None:
    cache = ActivationCache(tmp_path, budget_bytes=2**30)
    put(cache, "a")
    usage = shutil.disk_usage(tmp_path)
    with mock.patch.object(shutil, "disk_usage", return_value=usage._replace(free=FILE_BYTES // 2)):
        put(cache, "b")
        assert kept(tmp_path) == ["b"]
    with (
        mock.patch.object(shutil, "disk_usage", return_value=usage._replace(free=0)),
        pytest.raises(OSError, match="no room for"),
    ):
        cache.find_or_write("c", 10 * FILE_BYTES, work(batches))
    assert kept(tmp_path) == ["b"]


def test_the_default_budget_is_20_gib_or_a_quarter_of_a_smaller_disk(tmp_path: Path) -> None:
    usage = shutil.disk_usage(tmp_path)
    for total_gib, budget_gib in ((1000, 20), (40, 10)):
        with mock.patch.object(shutil, "disk_usage", return_value=usage._replace(total=total_gib * 2**30)):
            assert ActivationCache(tmp_path / "not" / "there").budget_bytes == budget_gib * 2**30
    assert ActivationCache(None).budget_bytes == 0
