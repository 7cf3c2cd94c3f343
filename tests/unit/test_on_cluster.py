"""Commands that are sent to a cluster: what is sent, what comes back, what Ctrl-C does. The cluster is a double."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from study.cli import main
from study.commands.on_cluster import ClusterCommand, split_own_options
from study.tuning import ray_jobs
from study.tuning.job_lines import ACCEPTED, BEGIN, OUT, Stream, Streams, announced
from study.tuning.jobs import JobEnd, JobRequest
from study.tuning.received import this_version
from study.tuning.submission import PACKAGE

DEFINITION = 'name = "tiny"\n[data]\ngenerated = "instruments"\n[space]\nhead = { choices = ["replace", "append"] }\n'
BEGUN = f"{announced()}\n{BEGIN}\n{ACCEPTED}\n"
HERE = "http://head:8265"


class Cluster:
    """Takes jobs and answers all of them with one text.

    Attributes:
        files: that came with each job.
    """

    def __init__(self) -> None:
        self.text = f"Ray says\n{BEGUN}{OUT}done\na warning\n"
        self.code: int | None = 0
        self.is_interrupted = False
        self.requests: list[JobRequest] = []
        self.files: list[list[str]] = []
        self.stopped: list[str] = []
        self.addresses: list[str] = []

    def at(self, address: str) -> "Cluster":
        self.addresses.append(address)
        return self

    def submit(self, request: JobRequest) -> None:
        self.requests.append(request)
        self.files.append([path.name for path in request.folder.iterdir()] if request.folder else [])

    def output(self, name: str) -> Iterator[str]:
        yield self.text
        if self.is_interrupted:
            raise KeyboardInterrupt

    def end(self, name: str) -> JobEnd:
        return JobEnd(self.code)

    def stop(self, name: str) -> None:
        self.stopped.append(name)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster = Cluster()
    monkeypatch.setattr(ray_jobs, "RayJobs", cluster.at)
    return cluster


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs `study` in a folder that has one definition."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(DEFINITION, encoding="utf-8")
    return lambda *arguments, **environment: CliRunner().invoke(main, arguments, env={"RAY_ADDRESS": "", **environment})


def test_a_definition_is_sent_with_its_line_its_files_and_our_version(cluster: Cluster, invoke: Callable[..., Result]) -> None:
    shown = invoke("run", "tiny.toml", "--verbose", "--address", HERE)
    assert (shown.exit_code, shown.stdout, shown.stderr) == (0, "done\n", "a warning\n")
    [request] = cluster.requests
    *before, digest, dashes, command, file, option = request.arguments
    assert before == ["receive", "--version", this_version(), "--study", "tiny", "--files"]
    assert len(digest) == 16
    assert (dashes, command, file, option) == ("--", "run", "tiny.toml", "--verbose")
    assert request.name.startswith("study-run-tiny-")
    assert request.notes == {"study": "tiny"}
    assert cluster.files == [[PACKAGE]]


@pytest.mark.parametrize(
    "line", [("resume", "tiny"), ("reconcile", "tiny"), ("compare", "a", "b", "--json"), ("promote", "tiny")]
)
def test_a_command_that_needs_no_file_is_sent_as_it_is(
    line: tuple[str, ...], cluster: Cluster, invoke: Callable[..., Result]
) -> None:
    assert invoke(*line, RAY_ADDRESS=HERE).exit_code == 0
    assert cluster.requests[0].arguments == ("receive", "--version", this_version(), "--", *line)
    assert cluster.addresses == [HERE]


@pytest.mark.parametrize("line", [("status",), ("logs", "tiny", "3", "--follow"), ("stop", "tiny")])
def test_who_looks_or_stops_may_have_another_version(
    line: tuple[str, ...], cluster: Cluster, invoke: Callable[..., Result]
) -> None:
    assert invoke(*line, f"--address={HERE}").exit_code == 0
    assert cluster.requests[0].arguments == ("receive", "--", *line)


def test_json_comes_alone_on_standard_output(cluster: Cluster, invoke: Callable[..., Result]) -> None:
    cluster.text = f'{BEGUN}trial 0 COMPLETE\n{OUT}{{\n{OUT}  "winner": 3\n{OUT}}}\n'
    shown = invoke("resume", "tiny", "--json", "--address", HERE)
    assert json.loads(shown.stdout) == {"winner": 3}
    assert shown.stderr == "trial 0 COMPLETE\n"


def test_the_command_s_exit_code_is_ours(cluster: Cluster, invoke: Callable[..., Result]) -> None:
    cluster.text, cluster.code = f"{BEGIN}\nError: another version. Install it.\n", 2
    shown = invoke("run", "tiny.toml", "--address", HERE)
    assert (shown.exit_code, shown.stderr) == (2, "Error: another version. Install it.\n")


def test_ctrl_c_leaves_the_study_running_and_says_how_to_look_and_stop(cluster: Cluster, invoke: Callable[..., Result]) -> None:
    cluster.is_interrupted = True
    shown = invoke("run", "tiny.toml", "--address", HERE)
    assert shown.exit_code == 1
    [line] = [line for line in shown.stderr.splitlines() if line.startswith("Detached: tiny goes on as job study-run-tiny-")]
    assert f"study logs tiny --follow --address {HERE}" in line
    assert f"study stop tiny --address {HERE}" in line
    assert cluster.stopped == []


def test_ctrl_c_ends_a_job_that_only_looks(cluster: Cluster, invoke: Callable[..., Result]) -> None:
    cluster.is_interrupted = True
    assert invoke("logs", "tiny", "--follow", "--address", HERE).exit_code == 1
    assert cluster.stopped == [cluster.requests[0].name]


def test_detach_returns_with_the_job_when_the_cluster_has_taken_it(cluster: Cluster, invoke: Callable[..., Result]) -> None:
    cluster.is_interrupted = True  # whoever reads on is interrupted
    shown = invoke("run", "tiny.toml", "--detach", "--json", "--address", HERE)
    assert shown.exit_code == 0
    assert json.loads(shown.stdout) == {"study": "tiny", "job": cluster.requests[0].name, "address": HERE}
    assert "--detach" not in cluster.requests[0].arguments


def test_a_mistake_in_the_definition_is_found_here(cluster: Cluster, invoke: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(DEFINITION.replace("head", "heed"), encoding="utf-8")
    shown = invoke("run", "tiny.toml", "--address", HERE)
    assert shown.exit_code == 2
    assert "heed" in shown.stderr
    assert cluster.requests == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("run", ".", "--address", HERE), "a cluster takes one definition at a time"),
        (("run", "tiny.toml", "--detach"), "--address is missing. Write --address http://HEAD:8265"),
        (("status", "--address", "head:6379"), "--address is head:6379. Write --address http://HEAD:8265"),
    ],
)
def test_what_no_cluster_can_take_is_refused_here(
    line: tuple[str, ...], said: str, cluster: Cluster, invoke: Callable[..., Result]
) -> None:
    shown = invoke(*line)
    assert shown.exit_code == 2
    assert said in shown.stderr
    assert cluster.requests == []


@pytest.mark.parametrize("line", [(), ("--in-process",)])
def test_in_process_is_here_whatever_ray_address_says(line: tuple[str, ...], cluster: Cluster) -> None:
    @click.command("go", cls=ClusterCommand)
    @click.option("--in-process", is_flag=True)
    def go(in_process: bool) -> None:
        click.echo("here")

    shown = CliRunner().invoke(go, line, env={"RAY_ADDRESS": HERE})
    assert shown.stdout == ("here\n" if line else "done\n")
    assert len(cluster.requests) == (0 if line else 1)


def test_only_the_options_that_say_where_are_taken_from_a_line() -> None:
    line = ["promote", "x", "--address=http://h", "--reason", "--why", "--detach", "--", "--address", "kept"]
    kept, taken = split_own_options(line)
    assert kept == ["promote", "x", "--reason", "--why", "--", "--address", "kept"]
    assert taken == {"--address": "http://h", "--detach": ""}


def test_what_a_cluster_says_of_a_sent_line_is_what_is_shown_here(tmp_path: Path) -> None:
    places = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db", "STUDY_STORAGE": f"{tmp_path}/study.journal"}
    environment = {**os.environ, **places, "STUDY_OUTPUT": str(tmp_path)}
    command = [sys.executable, "-m", "study.cli", "receive", "--", "status"]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    streams = Streams()
    shown = [taken for line in said.split("\n")[:-1] if (taken := streams.take(line)) is not None]
    assert shown == [(Stream.OUT, "Nothing runs, and nothing was interrupted. What there is: study list")]


def test_the_line_that_sends_a_folder_s_files_one_by_one_is_one_that_a_shell_runs(
    cluster: Cluster, invoke: Callable[..., Result], tmp_path: Path
) -> None:
    folder = tmp_path / "my studies"
    folder.mkdir()
    for name in ("a b.toml", "c.toml"):
        (folder / name).touch()
    shown = invoke("run", str(folder), "--address", HERE)
    assert shown.exit_code == 2
    advice = shown.stderr.partition("one by one: ")[2]
    assert shlex.split(advice)[5:] == ["study", "run", "$file", "--address", HERE, "--detach;", "done"]
    double = "study() { printf '%s|' \"$@\"; echo; }\n"  # says what it was given
    given = subprocess.run(["bash", "-c", double + advice], capture_output=True, text=True, check=True).stdout
    assert given.splitlines() == [f"run|{folder}/{name}|--address|{HERE}|--detach|" for name in ("a b.toml", "c.toml")]
