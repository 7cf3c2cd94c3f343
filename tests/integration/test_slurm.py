"""cluster/slurm.sh really run: nodes are Ray nodes of this machine, started by a stand-in `srun`."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.tracking.mlflow_tracker import MlflowTracker
from study.tracking.registry import download_model
from study.trial import TrialState
from tests.slurm import Job, Slurm, make_slurm

from .conftest import TINY

INTERRUPTED = 1  # exit codes
REFUSED = 1
LONGER = TINY[: TINY.index("pruner =")].replace("trials = 6", "trials = 3").replace("epochs = 3", "epochs = 40")


@pytest.fixture
def slurm(project: Path, tmp_path: Path) -> Iterator[Slurm]:
    """A cluster; the processes of its jobs must be gone when they are."""
    cluster = make_slurm(project, tmp_path)
    yield cluster
    cluster.cancel()
    assert processes_of(tmp_path) == []


def processes_of(folder: Path) -> list[str]:
    """Command lines of processes that were started in a job of this folder's and live on."""
    living = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            title, environment = (process / "cmdline").read_text(), (process / "environ").read_bytes()
        except OSError:
            continue
        if title and f"SLURM_SUBMIT_DIR={folder}".encode() in environment:
            living.append(title.replace("\0", " "))
    return living


def write(slurm: Slurm, text: str) -> Path:
    file = slurm.folder / "tiny.toml"
    file.write_text(text, encoding="utf-8")
    return file


def record_of(slurm: Slurm) -> MlflowTracker:
    """What the job's MLflow wrote, read without it."""
    return MlflowTracker(f"sqlite:///{slurm.folder}/study-slurm/mlflow.db")


def states_of(slurm: Slurm) -> list[str]:
    tracker = record_of(slurm)
    run_id = tracker.find_study("tiny")
    assert run_id is not None
    return [record.state.value for record in tracker.trials(run_id)]


def secrets_in(job: Job) -> set[Path]:
    return {file for name in ("ray_token", "mlflow_password", "mlflow_users.*") for file in job.folder.glob(name)}


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_a_study_runs_on_two_nodes_of_one_job_and_its_model_can_be_had_when_the_job_is_over(slurm: Slurm) -> None:
    job = slurm.submit(write(slurm, TINY), num_nodes=2)
    job.wait_for("study tiny: 6 trials, 2 at once")
    assert job.folder.stat().st_mode & 0o777 == 0o700
    assert {(job.folder / name).stat().st_mode & 0o777 for name in ("ray_token", "mlflow_password")} == {0o600}
    assert job.wait() == 0, job.output
    assert secrets_in(job) == set()
    [study] = record_of(slurm).studies()
    assert study.state is TrialState.COMPLETE
    assert len(states_of(slurm)) == 6
    pulled = download_model(record_of(slurm).connection.uri, "models:/tiny@champion", slurm.folder / "model")
    assert (pulled / "weights.safetensors").exists()
    for name in ("study.log", "mlflow.log", "srun.log", "node-node1.log", "node-node2.log", "ray-node1", "ray-node2"):
        assert (job.folder / "logs" / name).exists(), name
    again = slurm.submit("tiny.toml")
    assert again.wait() == 0, again.output
    assert "This study is complete" in again.output


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_two_jobs_on_one_node_do_not_meet(slurm: Slurm) -> None:
    short = TINY.replace("trials = 6", "trials = 2").replace("epochs = 3", "epochs = 1")
    file = write(slurm, short)
    jobs = [slurm.submit(file, STUDY_SLURM_FOLDER=str(slurm.folder / name)) for name in ("one", "other")]
    for job, name in zip(jobs, ("one", "other"), strict=True):
        assert job.wait() == 0, job.output
        [study] = MlflowTracker(f"sqlite:///{slurm.folder}/{name}/mlflow.db").studies()
        assert study.state is TrialState.COMPLETE


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_the_time_limits_signal_ends_a_study_in_good_order_and_the_next_job_goes_on_with_it(slurm: Slurm) -> None:
    job = slurm.submit(write(slurm, LONGER), STUDY_REQUEUE="1")
    job.wait_for("1/3 trials")
    os.kill(job.process.pid, signal.SIGUSR1)
    assert job.wait() == INTERRUPTED, job.output
    assert "USR1 ended the study early; the next job goes on with it." in job.output
    assert slurm.requests() == ["requeue 1"]
    [study] = record_of(slurm).studies()
    assert study.state is TrialState.INTERRUPTED
    assert set(states_of(slurm)) <= {"COMPLETE", "INTERRUPTED"}

    job = slurm.submit("tiny.toml")
    assert job.wait() == 0, job.output
    assert states_of(slurm) == ["COMPLETE"] * 3
    assert [study.state for study in record_of(slurm).studies()] == [TrialState.COMPLETE]


def test_a_node_that_does_not_join_is_named_in_one_line(slurm: Slurm, tmp_path: Path) -> None:
    job = slurm.submit(
        write(slurm, TINY),
        num_nodes=2,
        ABSENT_NODE="node2",
        STUDY_NODES_S="15",
        MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path}/mlflow.db",
    )
    assert job.wait() == REFUSED, job.output
    assert job.output == (
        "Error: all 2 nodes must join Ray within 15 s (STUDY_NODES_S), but node2 did not: they did not answer. "
        f"See {job.folder}/logs/node-*.log and {job.folder}/logs/srun.log\n"
    )
