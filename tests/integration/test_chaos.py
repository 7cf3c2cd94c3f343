"""Several things die in one study, or its disk is full: what is left is the study that nothing had happened to."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.processes import kill_a_trial
from tests.stores import mlflow_server

from .conftest import TINY, Workplace
from .test_study import assert_both_stores_agree, start, wait_for_line

MakeWorkplace = Callable[..., Workplace]
FAILED = 2  # exit code of an error that the user can mend


def test_a_worker_the_server_and_the_driver_die_in_one_study_and_every_trial_is_accounted_for_once(
    make_workplace: MakeWorkplace, tmp_path: Path
) -> None:
    text = TINY[: TINY.index("pruner =")].replace("trials = 6", "trials = 4").replace("epochs = 3", "epochs = 20")
    with mlflow_server(tmp_path) as server:
        workplace = make_workplace(MLFLOW_TRACKING_URI=server.uri)
        driver = start(workplace, "run", workplace.write(text))
        try:
            wait_for_line(driver, "study tiny")
            assert kill_a_trial(workplace.folder)
            server.kill()
            wait_for_line(driver, "/4 trials")  # trials go on without it
        finally:
            driver.kill()
            driver.communicate(timeout=60)
        server.start()
        assert workplace.json_here("resume", "tiny", "--in-process")["counts"] == {"COMPLETE": 4}
        assert_both_stores_agree(workplace, num_trials=4)
        assert workplace.json_here("reconcile", "tiny") == []


@contextmanager
def small_disk(folder: Path, size_kib: int) -> Iterator[Path]:
    """A disk of this size; the folder's name is taken for it."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def leave_free(disk: Path, num_bytes: int) -> Path:
    """A file that leaves so many bytes free on the disk."""
    filler = disk / "filler"
    free = os.statvfs(disk)
    filler.write_bytes(bytes(free.f_bavail * free.f_frsize - num_bytes))
    return filler


@pytest.mark.parametrize("executor", [[], ["--in-process"]], ids=["ray", "in_process"])
def test_a_full_disk_under_the_storage_is_told_in_one_line_and_costs_no_trial(
    executor: list[str], make_workplace: MakeWorkplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.search.record.PATIENCE_S", 1.0)  # of 30 s: the disk stays full however long one waits
    with small_disk(tmp_path / "disk", size_kib=1024) as disk:
        filler = leave_free(disk, 8 * 2**10)
        workplace = make_workplace(STUDY_STORAGE=str(disk / "study.journal"))
        full = workplace.here("run", workplace.write(TINY), *executor, code=FAILED)
        assert full.stderr.count("\n") == 1
        assert "No space left on device" in full.stderr
        assert "study resume" in full.stderr
        assert [study["state"] for study in workplace.json_here("list")] == ["INTERRUPTED"]  # MLflow has room, and is told
        filler.unlink()
        assert sum(workplace.json_here("resume", "tiny", "--in-process")["counts"].values()) == 6
        assert_both_stores_agree(workplace, num_trials=6)
        assert workplace.json_here("reconcile", "tiny") == []
