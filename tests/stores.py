"""The stores that the contracts are tried on: an SQLite file, a real MLflow server, and the same behind a faulty network."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from study.tracking.mlflow_tracker import MlflowTracker


@pytest.fixture(scope="session")
def fresh_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, empty: making them takes a second, which each test would pay."""
    file = tmp_path_factory.mktemp("fresh") / "mlflow.db"
    MlflowTracker(f"sqlite:///{file}").check()
    return file


@pytest.fixture
def sqlite_uri(fresh_database: Path, tmp_path: Path) -> str:
    """Address of an empty SQLite store of the test's own."""
    shutil.copy(fresh_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture(scope="session")
def server_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real `mlflow server`."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow-server")) as server:
        yield server.uri


class MlflowServer:
    """A real `mlflow server`: one uvicorn worker on an SQLite file, artifacts go through the server.

    Attributes:
        uri: its address, the same after each start.
    """

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self._port}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self._folder / 'mlflow.db'}"]
        command += ["--artifacts-destination", str(self._folder / "files")]
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        log = self._folder / "log.txt"
        with log.open("a") as opened:
            # A session of its own: a killed server takes its worker along.
            self._process = subprocess.Popen(
                command, cwd=self._folder, stdout=opened, stderr=opened, env=environment, start_new_session=True
            )
        _wait_until_healthy(self.uri, self._process, log)

    def kill(self) -> None:
        """Ends it as a power cut does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ends it in good order."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, how)
            self._process.wait(30)
            self._process = None


@contextmanager
def mlflow_server(folder: Path) -> Iterator[MlflowServer]:
    """A server that answers, and ends with the context."""
    server = MlflowServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()


LENGTH_HEADERS = ("content-length", "transfer-encoding")


class FaultyNetwork:
    """A proxy in front of a server.

    Attributes:
        uri: where it listens.
        is_down: requests are cut off before the server sees them.
        lost_replies: paths; the next request to each is carried out, and its reply is lost.
        seen: the paths of all requests that reached the server.
    """

    def __init__(self, target_uri: str) -> None:
        self.target = urlsplit(target_uri).netloc
        self.is_down = False
        self.lost_replies: list[str] = []
        self.seen: list[str] = []
        self.uri = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Passes a request on, or not."""
        request.close_connection = True
        if self.is_down:
            return
        contents = _contents(request)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in LENGTH_HEADERS}
        server = HTTPConnection(self.target, timeout=60)
        server.request(request.command, request.path, contents, headers)
        reply = server.getresponse()
        text = reply.read()
        server.close()
        path = request.path.partition("?")[0].rpartition("/mlflow/")[2]
        self.seen.append(path)
        if path in self.lost_replies:
            self.lost_replies.remove(path)
            return
        request.send_response(reply.status)
        request.send_header("Content-Type", reply.headers["Content-Type"])
        request.send_header("Content-Length", str(len(text)))
        request.end_headers()
        request.wfile.write(text)


def _contents(request: BaseHTTPRequestHandler) -> bytes:
    """A request's body; MLflow sends artifacts in chunks, each led by its length."""
    if request.headers.get("Transfer-Encoding") != "chunked":
        return request.rfile.read(int(request.headers.get("Content-Length", 0)))
    contents = b""
    while length := int(request.rfile.readline(), 16):
        contents += request.rfile.read(length)
        request.rfile.readline()
    request.rfile.readline()
    return contents


@contextmanager
def faulty_network(target_uri: str) -> Iterator[FaultyNetwork]:
    """A network that works until it is told otherwise."""
    network = FaultyNetwork(target_uri)

    class Passing(BaseHTTPRequestHandler):
        def answer(self) -> None:
            network.answer(self)

        do_GET = do_POST = do_PUT = do_PATCH = answer

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: tests print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Passing) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.05,))
        thread.start()
        network.uri = f"http://127.0.0.1:{proxy.server_port}"
        yield network
        proxy.shutdown()
        thread.join()


def _wait_until_healthy(uri: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urlopen(f"{uri}/health", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"the MLflow server did not start:\n{log.read_text()}")
