"""A connection to one MLflow store: its address checked, its client, and each of its failures as one line."""

import os
import re
import sqlite3
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

import requests
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException, RestException
from mlflow.utils.logging_utils import suppress_logs_in_thread
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from study.errors import TrackingError
from study.tracking.failures import RecordRefusedError, StoreAwayError
from study.tracking.rest import post

PROBE_S = 5  # to connect, and again to answer: a server that is there needs milliseconds, over a slow link a second or two
ANY_QUESTION = "experiments/search"  # asks for what every command needs: a server that lets us in
MAX_REASON = 400  # characters of MLflow's own words: its longest useful line (an outdated schema) has 350
FOREIGN_ERRORS = (MlflowException, SQLAlchemyError, sqlite3.Error, OSError)  # what MLflow raises; requests' errors are OSErrors

REFUSALS = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # an unknown or deleted run, a param that would change
DELETED_RUN = re.compile(r"The run (\w+) must be in the 'active' state")
# What MLflow says when its database gives no answer, and when it is asked too often. (mlflow/exceptions.py)
AWAY = ("TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "ABORTED")
# MLflow calls every fault of a database temporary; of SQLite's these two are.
LASTING_FAULT = re.compile(r"sqlite3\.OperationalError\) (?!database is locked|database or disk is full)")
NOT_NOW = (408, 429, 500, 502, 503, 504)  # HTTP; as MLflow's own client has them

NETWORK_CAUSE = re.compile(  # the readable part of what `requests` says, which is several lines of nested representations
    r"Connection refused|Failed to resolve|No route to host|Connection reset|[Tt]imed out|certificate verify failed"
    r"|too many \d+ error responses|Connection aborted"
)


class Connection:
    """One MLflow store by its address, and nothing of MLflow's global state. Pickles as the address.

    Attributes:
        uri: `sqlite:///` with an absolute path (a worker's folder is not the driver's), or `http(s)://`, no closing slash.
        shown: the same, without a password.
    """

    def __init__(self, tracking_uri: str) -> None:
        self.uri = _absolute(tracking_uri)
        self.shown = masked(self.uri, self.uri)

    def __reduce__(self) -> tuple[type["Connection"], tuple[str]]:
        return (Connection, (self.uri,))

    @property
    def pages(self) -> str:
        """Where a person's browser finds the server: `STUDY_MLFLOW_PAGES` where that is not where this process finds it."""
        return (os.environ.get("STUDY_MLFLOW_PAGES") or self.shown).rstrip("/")

    @property
    def is_server(self) -> bool:
        """Whether a server stands between us and the database."""
        return self.uri.startswith("http")

    @cached_property
    def client(self) -> MlflowClient:
        """The client, made at first use; a fresh SQLite database gets its tables here, once, whoever comes first."""
        if self.is_server:
            return MlflowClient(self.uri, registry_uri=self.uri)
        self._open_file()
        with without_warnings(), self._sole_use():  # MLflow 3.17 uses a loader that SQLAlchemy 2.1 deprecates
            client = MlflowClient(self.uri, registry_uri=self.uri)
            client.search_registered_models(max_results=1)  # opens the registry's store too
        return client

    def check(self) -> None:
        """Nothing, where the store answers; of a server that is not there the news comes within seconds.

        MLflow's own retries (7, ever longer apart) take minutes: right for a server that restarts, wrong for a wrong address.

        Raises:
            TrackingError: if the store does not answer, or refuses us.
        """
        with self.reporting("answer"):
            if self.is_server:
                self._ask_once()
            else:
                self.client.search_experiments(max_results=1)

    def _ask_once(self) -> None:
        post(self.uri, ANY_QUESTION, {"max_results": 1}, PROBE_S)

    @contextmanager
    def reporting(self, duty: str, error_type: type[TrackingError] = TrackingError) -> Iterator[None]:
        """Inside, MLflow is silent and its failures become one line: "MLflow at `uri` must `duty`, but …".

        Set MLFLOW_LOGGING_LEVEL to hear MLflow itself.

        Raises:
            TrackingError: or `error_type`, for any failure of MLflow, its database or the network; without an `error_type`
                of the kind that it is (study/tracking/failures.py).
        """
        quiet = nullcontext() if "MLFLOW_LOGGING_LEVEL" in os.environ else suppress_logs_in_thread()
        try:
            with quiet:
                yield
        except FOREIGN_ERRORS as error:
            reason = masked(one_line(error), self.uri)
            kind = kind_of(error) if error_type is TrackingError else error_type
            raise kind(f"MLflow at {self.shown} must {duty}, but: {reason}. {self._fix(error)}") from error

    def artifact_location(self, experiment: str) -> str | None:
        """Where a new experiment's files go: beside an SQLite file (MLflow's default: `./mlruns`); a server decides itself."""
        if self.is_server:
            return None
        folder = re.sub(r"[^\w.-]", "_", experiment)
        return (self._file.parent / "mlartifacts" / folder).as_uri()

    @property
    def _file(self) -> Path:
        return Path(make_url(self.uri).database or "")

    def _open_file(self) -> None:
        """Fails at once where the file cannot be opened or is no database: MLflow would try 10 times, for 100 s."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self._file)) as database:
            database.execute("PRAGMA schema_version")

    def _sole_use(self) -> FileLock:
        """MLflow creates tables without a lock: two processes on a fresh file would both, and one would fail."""
        name = f"study-mlflow-{sha256(self.uri.encode()).hexdigest()[:16]}.lock"
        return FileLock(Path(tempfile.gettempdir()) / name, timeout=120)

    def _fix(self, error: BaseException) -> str:
        code = getattr(error, "error_code", "")
        if deleted := DELETED_RUN.search(str(error)):
            return f"It was deleted there. Restore it: mlflow runs restore --run-id {deleted[1]}"
        if code == "RESOURCE_DOES_NOT_EXIST":
            return "Check the name; it may have been deleted in MLflow."
        if code in ("UNAUTHENTICATED", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED"):
            return "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
        if self.is_server:
            return "Check that `mlflow server` runs there, or set MLFLOW_TRACKING_URI."
        return "Check that its folder can be written and has space, or set MLFLOW_TRACKING_URI."


@contextmanager
def without_warnings() -> Iterator[None]:
    """Inside, Python's warnings are off: MLflow's are addressed to those who write its calls, and its users would see them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def kind_of(error: BaseException) -> type[TrackingError]:
    """Whether the same call may succeed later, never will, or nobody knows."""
    code = getattr(error, "error_code", None)
    if code in REFUSALS:
        return RecordRefusedError
    if LASTING_FAULT.search(str(error)):
        return TrackingError
    if code in AWAY or (isinstance(error, RestException) and code == "INTERNAL_ERROR"):
        return StoreAwayError
    return StoreAwayError if _is_network(error) else TrackingError


def _is_network(error: BaseException | None) -> bool:
    """Whether no answer, or a proxy's "not now", is at the bottom of it: MLflow wraps what `requests` raises."""
    while error is not None:
        if isinstance(error, requests.HTTPError) and error.response is not None:
            return error.response.status_code in NOT_NOW
        if isinstance(error, requests.ConnectionError | requests.Timeout) and not isinstance(
            error, requests.exceptions.SSLError
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


def _absolute(tracking_uri: str) -> str:
    """The address in one spelling.

    Raises:
        TrackingError: for any store but an SQLite file and a server.
    """
    if re.match(r"https?://[^/]", tracking_uri):
        return tracking_uri.rstrip("/")
    try:
        url = make_url(tracking_uri)
    except ArgumentError:
        url = None
    if url is None or url.get_backend_name() != "sqlite":
        raise TrackingError(
            f"runs are recorded in an SQLite file or on an MLflow server, but the tracking URI is "
            f"{masked(tracking_uri, tracking_uri)!r}. Set MLFLOW_TRACKING_URI to sqlite:///mlflow.db or to a server's "
            f"http://host:5000 (`mlflow server --backend-store-uri` serves any database)."
        )
    if url.database in (None, "", ":memory:"):
        raise TrackingError(f"an SQLite address must name a file, but got {tracking_uri!r}. Write sqlite:///mlflow.db.")
    return url.set(database=str(Path(str(url.database)).absolute())).render_as_string(hide_password=False)


def masked(text: str, uri: str) -> str:
    """`text` without the password that `uri` may hold."""
    try:
        password = urlsplit(uri).password
    except ValueError:  # no well-formed address: nothing in it can be told to be a password
        return text
    return text.replace(f":{password}@", ":***@") if password else text


def one_line(error: BaseException) -> str:
    """The first line of an error's message, or all where that only announces the rest; of a failed request the cause."""
    text = str(error).strip() or type(error).__name__
    line = " ".join(text.split()) if text.partition("\n")[0].endswith(":") else text.partition("\n")[0]
    cause = NETWORK_CAUSE.search(line) if "Max retries exceeded" in line else None
    return f"there is no answer ({cause[0]})" if cause else line[:MAX_REASON].rstrip(". ")
