"""A file of activations that several processes compute together, whoever of them dies."""

import os
import signal
import time
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from study.training.activation_cache import ActivationCache
from study.training.activation_files import Batches, packed_batches
from study.training.activation_parts import MOST_PARTS, Parts, SharedWork, parts_of
from tests.children import in_child

NUM_PARTS, ROWS = 6, 3
FILE_BYTES = NUM_PARTS * ROWS * 64 + 200

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def work(folder: Path, wait_s: float = 0.0, dtype: torch.dtype = torch.float32) -> SharedWork:
    """Parts whose rows are their number; who computed which is written to `log`."""

    def compute(part: int) -> Batches:
        with (folder / "log").open("a") as log:
            log.write(f"{os.getpid()} {part}\n")
        time.sleep(wait_s)
        yield from packed_batches([[torch.full((ROWS, 16), float(part))]], dtype)

    return SharedWork((ROWS,) * NUM_PARTS, compute, str(dtype).removeprefix("torch."))


def log_of(folder: Path) -> list[tuple[str, str]]:
    lines = (folder / "log").read_text().splitlines() if (folder / "log").exists() else []
    return [(line.split()[0], line.split()[1]) for line in lines]


def have(folder: Path, wait_s: float = 0.0) -> None:
    stored, _ = ActivationCache(folder).find_or_write("a", FILE_BYTES, work(folder, wait_s))
    assert stored.rows[:, 0, 0].tolist() == [float(part) for part in range(NUM_PARTS) for _ in range(ROWS)]


@given(num_batches=st.integers(0, 300))
def test_parts_hold_every_batch_once_in_order_and_are_about_equal(num_batches: int) -> None:
    parts = parts_of(num_batches)
    assert list(chain.from_iterable(parts)) == list(range(num_batches))
    assert len(parts) <= MOST_PARTS
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_who_would_wait_computes_parts_and_no_part_is_computed_twice(tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    have(alone)
    children = [in_child(lambda: have(tmp_path, wait_s=0.15)) for _ in range(3)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    computed = log_of(tmp_path)
    assert Counter(part for _, part in computed) == Counter(map(str, range(NUM_PARTS)))
    assert len({pid for pid, _ in computed}) > 1
    assert (tmp_path / "a.npy").read_bytes() == (alone / "a.npy").read_bytes()
    assert {file.name for file in tmp_path.iterdir()} == {"alone", "log", "a.npy", "a.used", "a.lock", "folder.lock"}


def test_a_part_whose_helper_died_is_computed_by_the_writer(tmp_path: Path) -> None:
    whole = tmp_path / "a.npy"

    def help_for_ever() -> None:
        Parts(whole, work(tmp_path, wait_s=60)).help()

    helper = in_child(help_for_ever)
    while not log_of(tmp_path):
        time.sleep(0.01)
    writer = in_child(lambda: have(tmp_path))
    time.sleep(0.3)
    assert not whole.exists(), "it waits for the helper's part"
    os.kill(helper, signal.SIGKILL)
    os.waitpid(helper, 0)
    assert os.waitpid(writer, 0)[1] == 0
    assert not list(tmp_path.glob("*.part-*"))


def test_after_a_writer_died_what_helpers_had_computed_counts(tmp_path: Path) -> None:
    Parts(tmp_path / "a.npy", work(tmp_path)).help()
    assert len(list(tmp_path.glob("*.npy"))) == NUM_PARTS
    (tmp_path / "a.float32.part-000.npy").unlink()  # the writer had got so far
    before = len(log_of(tmp_path))
    have(tmp_path)
    assert [part for _, part in log_of(tmp_path)[before:]] == ["0"]


def test_a_damaged_part_is_computed_anew(tmp_path: Path) -> None:
    Parts(tmp_path / "a.npy", work(tmp_path)).help()
    part = tmp_path / "a.float32.part-002.npy"
    content = bytearray(part.read_bytes())
    content[200] ^= 1
    part.write_bytes(content)
    have(tmp_path)


def test_parts_of_another_precision_are_not_taken(tmp_path: Path) -> None:
    Parts(tmp_path / "a.npy", work(tmp_path, dtype=torch.float16)).help()
    have(tmp_path)


def test_there_is_no_help_with_what_is_done_or_begun(tmp_path: Path) -> None:
    have(tmp_path)
    before, files = log_of(tmp_path), sorted(tmp_path.iterdir())
    Parts(tmp_path / "a.npy", work(tmp_path)).help()
    assert (log_of(tmp_path), sorted(tmp_path.iterdir())) == (before, files)
    with FileLock(tmp_path / "b.float32.part-005.lock"):
        (tmp_path / "b.float32.part-000.claim").touch()
        Parts(tmp_path / "b.npy", work(tmp_path)).help()
    assert [part for _, part in log_of(tmp_path)[len(before) :]] == ["4", "3", "2", "1"]


def test_a_helper_that_fails_leaves_its_part_to_the_writer(tmp_path: Path) -> None:
    def fail(part: int) -> Batches:
        raise OSError("no space left on device")

    broken = SharedWork((ROWS,) * NUM_PARTS, fail, "float32")
    with pytest.raises(OSError, match="no space"):
        Parts(tmp_path / "a.npy", broken).help()
    have(tmp_path)


def test_claims_that_the_dead_left_go_with_the_next_writer_of_anything(tmp_path: Path) -> None:
    (tmp_path / "dead.float32.part-001.claim").touch()
    (tmp_path / "dead.float32.part-001.lock").touch()
    with FileLock(tmp_path / "alive.lock"):
        (tmp_path / "alive.float32.part-001.claim").touch()
        have(tmp_path)
    assert [file.name for file in tmp_path.glob("*.part-*")] == ["alive.float32.part-001.claim"]
