import pickle
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import requests
from mlflow.exceptions import MlflowException, RestException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from study.errors import TrackingError
from study.tracking.connection import Connection, kind_of, masked
from study.tracking.failures import RecordRefusedError, StoreAwayError
from study.tracking.mlflow_tracker import MlflowTracker


def refusal(uri: str) -> str:
    """The line that a check of `uri` ends with."""
    with pytest.raises(TrackingError) as raised:
        Connection(uri).check()
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that several tests share: making its tables takes a second."""
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    Connection(f"sqlite:///{file}").check()
    return file


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A port that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def server_answering(status: int) -> Iterator[str]:
    """A web server that answers every request with `status`."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: tests print nothing."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("uri", ["./mlruns", "mlruns", "file:///tmp/mlruns", "", "databricks", "http://", "mlflow.db"])
def test_only_an_sqlite_file_or_a_server_is_taken(uri: str) -> None:
    assert "sqlite:///mlflow.db" in refusal(uri)


def test_another_database_is_sent_to_a_server_without_telling_its_password() -> None:
    told = refusal("postgresql://study:hunter2@db/mlflow")
    assert "mlflow server --backend-store-uri" in told
    assert "hunter2" not in told


@pytest.mark.parametrize("uri", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(uri: str) -> None:
    assert "must name a file" in refusal(uri)


def test_a_relative_file_means_the_same_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    connection = Connection("sqlite:///runs.db")
    assert connection.uri == f"sqlite:///{tmp_path / 'runs.db'}"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert pickle.loads(pickle.dumps(connection)).uri == connection.uri


def test_a_server_that_is_not_there_is_news_within_seconds() -> None:
    started = time.monotonic()
    told = refusal("http://me:hunter2@127.0.0.1:9/")
    assert time.monotonic() - started < 5
    assert "Connection refused" in told
    assert "hunter2" not in told
    assert "http://me:***@127.0.0.1:9 " in told


def test_a_server_that_never_answers_is_given_up(silent_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.tracking.connection.PROBE_S", 0.2)
    started = time.monotonic()
    assert "timed out" in refusal(silent_server)
    assert time.monotonic() - started < 2  # asked once, not eight times


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_lets_us_not_in_asks_for_credentials(status: int) -> None:
    with server_answering(status) as uri:
        assert "MLFLOW_TRACKING_USERNAME" in refusal(uri)


@pytest.mark.parametrize("status", [404, 500, 503])
def test_a_server_that_is_no_mlflow_or_is_down_is_news_at_once(status: int) -> None:
    started = time.monotonic()
    with server_answering(status) as uri:
        assert f"{status}" in refusal(uri)
    assert time.monotonic() - started < 2


def test_a_file_that_is_no_database_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("these are notes, and long enough to be read as a header" * 20)
    assert "not a database" in refusal(f"sqlite:///{tmp_path / 'notes.txt'}")


def test_a_folder_that_cannot_be_made_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "MLFLOW_TRACKING_URI" in refusal(f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}")


def test_a_database_that_somebody_holds_is_told_in_one_line(database: Path) -> None:
    connection = Connection(f"sqlite:///{database}")
    with closing(sqlite3.connect(database)) as holder, closing(sqlite3.connect(database, 0.1)) as late:
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TrackingError, match=r"must be read, but: .*locked"), connection.reporting("be read"):
            late.execute("SELECT * FROM runs")


def test_processes_that_meet_on_a_fresh_file_all_get_in(tmp_path: Path) -> None:
    """As threads: each connection has its own store and its own lock, as processes have."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: Connection(uri).check(), range(3)))


def test_first_use_prints_nothing_and_leaves_no_mlruns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tracker = MlflowTracker("sqlite:///runs/mlflow.db")
    tracker.begin_study("clothing", "clothing", {}, 'name = "clothing"', "")
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["mlartifacts", "mlflow.db"]


def test_a_folder_with_an_odd_name_holds_artifacts(tmp_path: Path) -> None:
    folder = tmp_path / "50% off, a#b c"
    tracker = MlflowTracker(f"sqlite:///{folder / 'mlflow.db'}")
    run_id = tracker.begin_study("clothing", "spring/summer & co", {}, 'name = "clothing"', "")
    assert tracker.read_text(run_id, "definition.toml") == 'name = "clothing"'
    assert len(list(folder.rglob("definition.toml"))) == 1


def test_a_deleted_experiment_is_told_with_the_way_out(database: Path) -> None:
    tracker = MlflowTracker(f"sqlite:///{database}")
    tracker.begin_study("clothing", "deleted", {}, "", "")
    (experiment,) = tracker.connection.client.search_experiments(filter_string="name = 'deleted'")
    tracker.connection.client.delete_experiment(experiment.experiment_id)
    with pytest.raises(TrackingError, match=f"mlflow experiments restore --experiment-id {experiment.experiment_id}"):
        tracker.begin_study("clothing", "deleted", {}, "", "")


def test_studies_that_begin_at_once_share_an_experiment(database: Path) -> None:
    trackers = [MlflowTracker(f"sqlite:///{database}") for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda tracker: tracker.begin_study("clothing", "shared", {}, "", ""), trackers))
    studies = {study.run_id: study.experiment for study in trackers[0].studies()}
    assert {studies[run_id] for run_id in runs} == {"shared"}


@pytest.mark.parametrize(
    ("uri", "expected"),
    [("http://me:pass@h:1/x", "at http://me:***@h:1/x"), ("sqlite:////a:b@c.db", "at sqlite:////a:b@c.db")],
)
def test_a_password_is_masked_and_nothing_else(uri: str, expected: str) -> None:
    assert masked(f"at {uri}", uri) == expected


def reply_saying(code: str, message: str) -> RestException:
    return RestException({"error_code": code, "message": message})  # type: ignore[no-untyped-call]


def failed_request(status: int) -> requests.HTTPError:
    reply = requests.Response()
    reply.status_code = status
    return requests.HTTPError(f"{status}", response=reply)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (reply_saying("RESOURCE_DOES_NOT_EXIST", "no run"), RecordRefusedError),
        (reply_saying("INVALID_PARAMETER_VALUE", "a param would change"), RecordRefusedError),
        (reply_saying("TEMPORARILY_UNAVAILABLE", "(psycopg2.OperationalError)"), StoreAwayError),
        (reply_saying("INTERNAL_ERROR", "oops"), StoreAwayError),
        (MlflowException("database: (sqlite3.OperationalError) database is locked", TEMPORARILY_UNAVAILABLE), StoreAwayError),
        (MlflowException("(sqlite3.OperationalError) database or disk is full", TEMPORARILY_UNAVAILABLE), StoreAwayError),
        (
            MlflowException("(sqlite3.OperationalError) attempt to write a readonly database", TEMPORARILY_UNAVAILABLE),
            TrackingError,
        ),
        (MlflowException("no artifact store is known for that address"), TrackingError),
        (failed_request(503), StoreAwayError),
        (failed_request(404), TrackingError),
        (requests.ConnectionError("Connection refused"), StoreAwayError),
        (requests.exceptions.SSLError("certificate verify failed"), TrackingError),
        (PermissionError("mlruns"), TrackingError),
    ],
)
def test_a_failure_tells_whether_waiting_helps(error: Exception, kind: type[TrackingError]) -> None:
    assert kind_of(error) is kind


def test_what_mlflow_wraps_is_seen_through() -> None:
    with pytest.raises(MlflowException) as raised:
        http_request(get_default_host_creds("http://127.0.0.1:9"), "/x", "POST", max_retries=0)  # type: ignore[no-untyped-call]
    assert kind_of(raised.value) is StoreAwayError


def test_pages_are_where_a_browser_finds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = Connection("http://somebody:secret@mlflow:5000")
    assert connection.pages == connection.shown
    monkeypatch.setenv("STUDY_MLFLOW_PAGES", "http://127.0.0.1:5000/")
    assert connection.pages == "http://127.0.0.1:5000"
