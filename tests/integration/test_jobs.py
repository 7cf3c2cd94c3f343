"""Studies sent to a cluster from outside: a head of our own with its dashboard and a token, a laptop that shares nothing."""

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from PIL import Image

from study.search.storages import open_storage
from study.tracking.mlflow_tracker import MlflowTracker
from study.tuning.driver import End, read_driver
from study.tuning.log_file import trial_log_file
from study.tuning.received import this_version

from .conftest import TINY, Workplace

DASHBOARD = ("aiohttp_cors", "opencensus", "prometheus_client", "colorful")  # some of what ray[default] brings
missing = [name for name in DASHBOARD if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"the job API needs ray[default], which lacks {', '.join(missing)}")

TOKEN = "0123456789abcdef" * 4
HEAD_S, TRIAL_S = 120.0, 120.0
REFUSED = 2
SHORT = TINY.replace("trials = 6", "trials = 2").replace("epochs = 3", "epochs = 1")
MakeWorkplace = Callable[..., Workplace]


@dataclass(frozen=True)
class Head:
    """A cluster of one node.

    Attributes:
        address: of its dashboard.
        there: its own stores, which the laptop does not know.
    """

    address: str
    there: Workplace


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def wait_for(address: str, process: "subprocess.Popen[bytes]") -> None:
    """Until an agent answers that can take jobs: it comes up after the dashboard."""
    request = urllib.request.Request(f"{address}/api/jobs/", headers={"Authorization": f"Bearer {TOKEN}"})
    deadline_s = time.monotonic() + HEAD_S
    while time.monotonic() < deadline_s:
        assert process.poll() is None, "the head must live"
        try:
            with urllib.request.urlopen(request, timeout=5):
                return
        except (OSError, urllib.error.HTTPError):
            time.sleep(0.3)
    raise AssertionError(f"nothing answers at {address}")


@pytest.fixture(scope="module")
def head(make_workplace: MakeWorkplace) -> Iterator[Head]:
    there = make_workplace()
    room = tempfile.mkdtemp(prefix="ray")  # a short path: sockets are in it
    port = free_port()
    options = {"--port": free_port(), "--dashboard-port": port, "--ray-client-server-port": free_port()}
    options |= {"--dashboard-agent-listen-port": free_port(), "--dashboard-agent-grpc-port": free_port()}
    options |= {"--metrics-export-port": free_port(), "--num-cpus": 2, "--num-gpus": 0, "--object-store-memory": 80 * 2**20}
    commands = Path(sys.executable).parent
    words = [str(commands / "ray"), "start", "--head", "--block", "--disable-usage-stats", "--temp-dir", room]
    environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "PATH": f"{commands}:{os.environ['PATH']}"}
    process = subprocess.Popen(
        [*words, *(str(word) for option in options.items() for word in option)],
        cwd=there.folder,
        env={**os.environ, **there.environment, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(f"http://127.0.0.1:{port}", process)
        yield Head(f"http://127.0.0.1:{port}", there)
    finally:
        process.send_signal(signal.SIGTERM)  # Ray stops what it started
        process.wait(60)
        shutil.rmtree(room, ignore_errors=True)


@pytest.fixture
def laptop(head: Head, make_workplace: MakeWorkplace) -> Workplace:
    """A folder elsewhere, whose commands go to the cluster."""
    return make_workplace(RAY_ADDRESS=head.address, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN)


def folder_of(name: str, head: Head) -> Path:
    return Path(head.there.environment["STUDY_OUTPUT"]) / name


def wait_for_text(file: Path, text: str) -> None:
    deadline_s = time.monotonic() + TRIAL_S
    while not (file.exists() and text in file.read_text(encoding="utf-8")):
        assert time.monotonic() < deadline_s, f"{file} must say {text!r}"
        time.sleep(0.2)


def drawn_photos(folder: Path) -> None:
    """Two classes that a colour tells apart."""
    for name, colour in (("red", (200, 30, 30)), ("blue", (30, 30, 200))):
        (folder / name).mkdir(parents=True)
        for number in range(20):
            shade = tuple(value + number for value in colour)
            photo = Image.new("RGB", (40, 30), shade)
            photo.putpixel((number, number % 30), (255, 255, 255))
            photo.save(folder / name / f"{number}.png")


def test_a_study_is_sent_and_its_result_comes_back_as_from_a_run_here(head: Head, laptop: Workplace) -> None:
    shown = laptop.run("run", laptop.write(SHORT), "--json")
    result = json.loads(shown.stdout)
    assert sum(result["counts"].values()) == 2
    assert result["winner"]["model"] == "models:/tiny@champion"
    assert "2/2 trials" in shown.stderr
    assert laptop.stores() == [], "the stores are the cluster's"
    assert head.there.run("logs", "tiny", "1").stdout.splitlines()[-1].endswith("ended: all epochs done")
    tracker = MlflowTracker(head.there.environment["MLFLOW_TRACKING_URI"])
    run_id = tracker.find_study("tiny")
    assert run_id is not None
    files = [record.tags["study.log"] for record in tracker.trials(run_id)]
    assert files == [str(trial_log_file(folder_of("tiny", head), number)) for number in range(2)]


# Three jobs and two starts of trials: half a minute on two quiet cores, minutes on busy ones (measured: 262 s at load 20).
@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_study_of_photos_is_handed_over_stopped_and_gone_on_with_when_they_are_gone_here(
    head: Head, laptop: Workplace
) -> None:
    drawn_photos(laptop.folder / "photos")
    text = TINY.replace('generated = "instruments"\ntarget = "view"\nnum_photos = 60', 'folder = "photos"')
    text = text.replace('"tiny"', '"long"').replace("trials = 6", "trials = 2").replace("epochs = 3", "epochs = 100000")
    assert laptop.json("run", laptop.write(text), "--detach")["study"] == "long"
    wait_for_text(trial_log_file(folder_of("long", head), 0), "epoch 1/100000")
    [status] = head.there.json("status")
    assert (status["study"], status["state"], status["next"]) == ("long", "running", None)
    stopped = laptop.run("stop", "long")
    assert stopped.stdout == "long has ended: interrupted. Go on with: study resume long\n"
    driver = read_driver(folder_of("long", head))
    assert driver is not None
    assert driver.end is End.INTERRUPTED
    shutil.rmtree(laptop.folder / "photos")
    (laptop.folder / "tiny.toml").unlink()
    assert laptop.json("resume", "long", "--detach")["study"] == "long"
    wait_for_text(trial_log_file(folder_of("long", head), 0), "trial 0 begins again")
    assert head.there.run("stop", "long").stdout.startswith("long has ended: interrupted")


def test_another_version_is_refused_in_one_line_and_nothing_is_begun(
    head: Head, laptop: Workplace, project: Path, tmp_path: Path
) -> None:
    shutil.copytree(project / "study", tmp_path / "study", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "study" / "errors.py").open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    changed = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    other = replace(laptop, environment={**laptop.environment, "PYTHONPATH": changed})
    refused = other.run("run", laptop.write(SHORT.replace('"tiny"', '"other"')), code=REFUSED)
    assert refused.stderr.count("\n") == 1
    assert f"and {this_version()} on the cluster" in refused.stderr
    assert not folder_of("other", head).exists()
    assert "other" not in [
        study.study_name for study in open_storage(head.there.environment["STUDY_STORAGE"]).get_all_studies()
    ]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"RAY_AUTH_TOKEN": "f" * 64}, "Invalid authentication token"),
        ({"RAY_AUTH_MODE": "disabled"}, "Missing authentication token"),
    ],
)
def test_who_has_no_token_of_the_cluster_is_refused_in_one_line(changed: dict[str, str], said: str, laptop: Workplace) -> None:
    stranger = replace(laptop, environment={**laptop.environment, **changed})
    refused = stranger.run("status", code=REFUSED)
    assert refused.stderr.count("\n") == 1
    assert "a cluster must know who asks" in refused.stderr
    assert said in refused.stderr
    assert "RAY_AUTH_TOKEN" in refused.stderr
