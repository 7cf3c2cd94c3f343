"""cluster/slurm.sh: what it makes of its environment, and what it refuses. Jobs that run: tests/integration/test_slurm.py."""

import fcntl
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from study.definition import parse_definition
from tests.slurm import Slurm, make_slurm

REFUSED = 2  # exit code
STUDIES = """#!/bin/sh
cat "$STUDIES_FILE"
"""


@pytest.fixture
def slurm(project: Path, tmp_path: Path) -> Slurm:
    return make_slurm(project, tmp_path)


@pytest.fixture
def definition(slurm: Slurm) -> Path:
    return write(slurm.folder / "tiny.toml", 'name = "tiny"\n')


def write(file: Path, text: str, mode: int = 0o644) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    file.chmod(mode)
    return file


def in_script(slurm: Slurm, commands: str, **environment: str) -> str:
    """What commands print that call the script's functions."""
    script = shlex.quote(str(slurm.project / "cluster" / "slurm.sh"))
    return subprocess.run(
        ["bash", "-c", f"source {script}\n{commands}"],
        env={**os.environ, **slurm.environment, "SLURM_JOB_ID": "1", "SLURM_SUBMIT_DIR": str(slurm.folder), **environment},
        cwd=slurm.folder,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def refusal(slurm: Slurm, *arguments: str | Path, **environment: str) -> str:
    """The one line that a job is refused with."""
    job = slurm.submit(*arguments, num_nodes=1, **environment)
    assert job.wait() == REFUSED, job.output
    assert job.output.count("\n") == 1, job.output
    return job.output


def test_the_script_is_bash(project: Path) -> None:
    subprocess.run(["bash", "-n", project / "cluster" / "slurm.sh"], check=True)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing(project: Path) -> None:
    found = subprocess.run(["shellcheck", project / "cluster" / "slurm.sh"], capture_output=True, text=True, check=False)
    assert found.stdout == ""


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ({}, "0"),
        ({"SLURM_GPUS_ON_NODE": "4"}, "4"),
        ({"SLURM_GPUS_ON_NODE": "4", "CUDA_VISIBLE_DEVICES": "2,3"}, "2"),
        ({"CUDA_VISIBLE_DEVICES": "MIG-6b5c-0,MIG-6b5c-1,MIG-6b5c-2"}, "3"),
        ({"SLURM_GPUS_ON_NODE": "1", "CUDA_VISIBLE_DEVICES": ""}, "0"),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, "0"),
    ],
)
def test_gpus_are_those_that_slurm_gave_to_the_step(slurm: Slurm, given: dict[str, str], count: str) -> None:
    assert in_script(slurm, "unset CUDA_VISIBLE_DEVICES") == ""
    settings = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in given.items())
    assert in_script(slurm, f"unset CUDA_VISIBLE_DEVICES SLURM_GPUS_ON_NODE\n{settings}\ncount_gpus") == count


def test_cpus_are_those_that_slurm_gave_to_the_task_else_to_the_node(slurm: Slurm) -> None:
    assert in_script(slurm, "count_cpus", SLURM_CPUS_PER_TASK="6", SLURM_CPUS_ON_NODE="64") == "6"
    assert in_script(slurm, "unset SLURM_CPUS_PER_TASK; count_cpus", SLURM_CPUS_ON_NODE="64") == "64"


def test_a_job_without_a_definition_is_refused(slurm: Slurm) -> None:
    assert "one definition must be named, but got 'none.toml'" in refusal(slurm, "none.toml")


def test_a_call_outside_a_job_is_refused(slurm: Slurm, definition: Path) -> None:
    assert "this runs inside a Slurm job, but SLURM_JOB_ID is not set" in refusal(slurm, definition, SLURM_JOB_ID="")


def test_several_tasks_a_node_are_refused(slurm: Slurm, definition: Path) -> None:
    assert "a node runs one task, but --ntasks-per-node is 4" in refusal(slurm, definition, SLURM_NTASKS_PER_NODE="4")


def test_an_environment_without_study_is_refused(slurm: Slurm, definition: Path) -> None:
    assert f"but {slurm.folder} is neither" in refusal(slurm, definition, STUDY_ENVIRONMENT=str(slurm.folder))


def test_a_shared_folder_that_cannot_be_written_is_refused(slurm: Slurm, definition: Path) -> None:
    assert f"but {definition} cannot" in refusal(slurm, definition, STUDY_SLURM_FOLDER=str(definition))


def test_an_image_without_a_runtime_is_refused(slurm: Slurm, definition: Path) -> None:
    image = write(slurm.folder / "study.sif", "")
    if shutil.which("apptainer") or shutil.which("singularity"):
        pytest.skip("there is a runtime here")
    assert "an image needs apptainer or singularity" in refusal(slurm, definition, STUDY_ENVIRONMENT=str(image))


def test_a_second_job_that_would_serve_the_same_record_is_refused(slurm: Slurm, definition: Path) -> None:
    lock = write(slurm.folder / "study-slurm" / "mlflow.lock", "")
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert f"one job at a time can serve the record in {lock.parent}, but another does" in refusal(slurm, definition)


def test_an_environment_whose_mlflow_cannot_ask_for_a_password_is_refused(slurm: Slurm, definition: Path) -> None:
    environment = slurm.folder / "environment" / "bin"
    without = f'#!/bin/sh\ncase "$*" in *flask_wtf*) exit 1 ;; esac\nexec {shlex.quote(sys.executable)} "$@"\n'
    write(environment / "python", without, 0o755)
    write(environment / "study", "#!/bin/sh\n", 0o755)
    assert "which needs study[cluster], but it is not installed" in refusal(
        slurm, definition, STUDY_ENVIRONMENT=str(environment.parent)
    )


def test_what_a_refused_job_made_of_secrets_is_gone(slurm: Slurm, definition: Path) -> None:
    refusal(slurm, definition, STUDY_INTERFACE="none0")
    assert (slurm.folder / "study-slurm" / "jobs" / "1").is_dir()
    assert not list((slurm.folder / "study-slurm" / "jobs" / "1").glob("*token*"))


def test_a_secret_is_64_hexadecimal_digits_and_its_own_each_time(slurm: Slurm) -> None:
    first, second = in_script(slurm, "random_hex; echo; random_hex").split()
    assert len(first) == len(second) == 64
    assert int(first, 16) != int(second, 16)


def test_an_image_is_run_with_gpus_where_there_are_some_and_sees_the_shared_folder(slurm: Slurm) -> None:
    image = write(slurm.folder / "study.sif", "")
    write(slurm.folder / "programs" / "apptainer", "#!/bin/sh\n", 0o755)
    folders = f"shared={slurm.folder}/shared definition={slurm.folder}/a/b.toml"
    commands = folders + "\nuse_environment\nprintf '%s\\n' \"${in_environment[@]}\""
    words = in_script(slurm, commands, STUDY_ENVIRONMENT=str(image), CUDA_VISIBLE_DEVICES="0").splitlines()
    assert words == [
        f"{slurm.folder}/programs/apptainer",
        *("exec", "--bind", f"{slurm.folder}/shared,{slurm.folder},/tmp,{slurm.folder}/a"),
        *("--nv", str(image)),
    ]
    assert "--nv" not in in_script(slurm, commands, STUDY_ENVIRONMENT=str(image), CUDA_VISIBLE_DEVICES="")


WHOLE = """
name = "tiny"
[data]
generated = "instruments"
target = "view"
[space]
head = { choices = ["replace", "append"] }
"""
CONFIRMED = f"{WHOLE}[confirm]\n"


def next_command(slurm: Slurm, text: str, studies: list[dict[str, str]]) -> str:
    """What a job would do where `study list` says so."""
    file = write(slurm.folder / "tiny.toml", text)
    write(slurm.folder / "programs" / "study", STUDIES, 0o755)
    known = write(slurm.folder / "known.json", json.dumps(studies))
    commands = f"definition={file} job_folder={slurm.folder} in_environment=(env)\nnext_command 2>&1 || true"
    path = f"{slurm.environment['PATH']}:{Path(sys.executable).parent}"
    return in_script(slurm, commands, STUDIES_FILE=str(known), PATH=path, PYTHONPATH=str(slurm.project))


@pytest.mark.parametrize(
    ("text", "states", "command"),
    [
        (WHOLE, [], "run"),
        (WHOLE, [("other", "COMPLETE")], "run"),
        (WHOLE, [("tiny", "INTERRUPTED")], "resume tiny"),
        (WHOLE, [("tiny", "RUNNING"), ("tiny", "COMPLETE")], "resume tiny"),  # the newest first
        (WHOLE, [("tiny", "COMPLETE")], "complete"),
        (CONFIRMED, [("tiny", "COMPLETE")], "resume tiny"),
        (CONFIRMED, [("tiny.confirm", "INTERRUPTED"), ("tiny", "COMPLETE")], "resume tiny"),
        (CONFIRMED, [("tiny.confirm", "COMPLETE"), ("tiny", "COMPLETE")], "complete"),
        ("name = tiny", [("tiny", "COMPLETE")], "run"),  # which tells what is wrong with it
    ],
)
def test_a_job_begins_a_study_or_goes_on_with_it(slurm: Slurm, text: str, states: list[tuple[str, str]], command: str) -> None:
    assert next_command(slurm, text, [{"study": name, "state": state} for name, state in states]) == command


def test_a_definition_that_was_changed_is_not_taken_for_the_study_that_was_begun(slurm: Slurm) -> None:
    begun = parse_definition(WHOLE, slurm.folder / "tiny.toml").digest
    known = {"study": "tiny", "state": "COMPLETE", "definition_digest": begun}
    assert next_command(slurm, WHOLE, [known]) == "complete"
    refused = next_command(slurm, WHOLE + "[search]\ntrials = 90\n", [known])
    assert refused.startswith(
        "slurm.sh: a study that exists is gone on with as it was begun, but 'tiny' was begun with another"
    )


def test_a_folder_of_definitions_is_run_whatever_there_is(slurm: Slurm) -> None:
    assert in_script(slurm, f"definition={slurm.folder}\nnext_command") == "run"
