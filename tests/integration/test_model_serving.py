"""The registered model behind `mlflow models serve`: base64 photos over HTTP, and what is no photo is the client's mistake."""

import base64
import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import numpy as np
import pytest
from PIL import Image

from study.models.exported import load_exported
from study.tracking.mlflow_tracker import MlflowTracker
from study.tracking.registration import register_model
from study.tracking.registry import Registry
from study.trial import TrialConfig
from tests.unit.models.test_exported import export

CLASSES = ("cello", "viola", "violin")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    export(folder)
    return folder


@pytest.fixture(scope="module")
def served(exported: Path, fresh_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server of a registered champion."""
    folder = tmp_path_factory.mktemp("serving")
    uri = f"sqlite:///{folder}/mlflow.db"
    tracker = MlflowTracker(uri)
    run_id = tracker.begin_trial(tracker.begin_study("served", "served", {}, "", ""), 7, TrialConfig(), {})
    registry = Registry(uri)
    registry.set_alias("served", "champion", register_model(registry, "served", exported, run_id, {}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", "models:/served@champion"]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}
    # Its children run `uvicorn` by its name: the command of this environment must be the first on the path.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}", process, folder / "log.txt")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 15)  # its own session: the server runs in a child of the command
        process.wait(30)


def wait_until_healthy(uri: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline_s = time.monotonic() + 240
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            with urlopen(f"{uri}/health", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.3)
    raise AssertionError(f"the server did not start:\n{log.read_text()}")


def post(uri: str, contents: Mapping[str, Any]) -> tuple[int, Any]:
    request = Request(f"{uri}/invocations", json.dumps(contents).encode(), {"Content-Type": "application/json"})
    try:
        with urlopen(request, timeout=120) as reply:
            return reply.status, json.loads(reply.read())
    except HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def table(*items: Any) -> dict[str, Any]:
    return {"dataframe_split": {"columns": ["image"], "data": [[item] for item in items]}}


def encoded(image: Image.Image, kind: str) -> str:
    stream = io.BytesIO()
    image.save(stream, kind)
    return base64.b64encode(stream.getvalue()).decode()


def photos(number: int) -> list[Image.Image]:
    generator = np.random.default_rng(3)
    return [Image.fromarray(generator.integers(0, 256, (50, 40, 3), dtype=np.uint8)) for _ in range(number)]


def test_base64_photos_are_answered_as_the_model_answers_them(served: str, exported: Path) -> None:
    expected = load_exported(exported).predict(photos(2))
    status, answer = post(served, table(*(encoded(photo, "PNG") for photo in photos(2))))
    assert status == 200
    for row, probabilities in zip(answer["predictions"], expected, strict=True):
        assert [row[f"probability.{name}"] for name in CLASSES] == pytest.approx(probabilities, abs=1e-5)
        assert row["class"] == CLASSES[int(probabilities.argmax())]
    status, answer = post(served, table(encoded(photos(1)[0], "JPEG")))
    assert status == 200
    assert sum(answer["predictions"][0][f"probability.{name}"] for name in CLASSES) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("contents", "told"),
    [
        (table(base64.b64encode(b"no photo at all").decode()), "a photo must be a readable image"),
        (table(encoded(photos(1)[0], "PNG")[:400]), "a photo must be a readable image"),
        (table("not base64 !"), "a text must be a photo in base64"),
        (table("/etc/hostname"), "a text must be a photo in base64"),
        (table(7), "a photo must be a path, bytes, base64 or an array"),
        ({"dataframe_split": {"columns": ["photo"], "data": [["x"]]}}, "must have a column `image`"),
    ],
    ids=["bytes of something else", "cut off", "no base64", "a path on the server", "a number", "another column"],
)
def test_what_is_no_photo_is_the_clients_mistake_and_told_with_the_reason(
    contents: dict[str, Any], told: str, served: str
) -> None:
    status, answer = post(served, contents)
    assert status == 400
    assert told in answer["message"]
