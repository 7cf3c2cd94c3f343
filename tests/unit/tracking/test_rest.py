"""Requests to a server: what they say of us, and what becomes of their failures."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking.request_header import registry
from mlflow.tracking.request_header.abstract_request_header_provider import RequestHeaderProvider
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from study.tracking import rest
from study.tracking.rest import API, ONCE, post


class Echo(BaseHTTPRequestHandler):
    """Keeps what it is asked."""

    protocol_version = "HTTP/1.1"
    asked: list[dict[str, str]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append({**{name.lower(): value for name, value in self.headers.items()}, "body": body.decode()})
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def echo() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server, and what it was asked."""
    asked: list[dict[str, str]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneEcho", (Echo,), {"asked": asked}))
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"MLFLOW_TRACKING_USERNAME": "ada", "MLFLOW_TRACKING_PASSWORD": "pässword"},
        {"MLFLOW_TRACKING_TOKEN": "token"},
        {"MLFLOW_WORKSPACE": "team"},
    ],
    ids=["nobody", "name", "token", "workspace"],
)
def test_a_request_says_of_us_what_mlflow_would_say(
    environment: dict[str, str], echo: tuple[str, list[dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, asked = echo
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    creds = get_default_host_creds(uri)  # type: ignore[no-untyped-call]
    http_request(creds, f"{API}/runs/create", "POST", json={"key": "ü"}, **ONCE)  # type: ignore[no-untyped-call]
    post(uri, "runs/create", {"key": "ü"})
    by_mlflow, by_us = asked
    for told in asked:
        told["body"] = told["body"].replace(" ", "")
        told.pop("content-length")
    assert by_us == by_mlflow


class FreshToken(RequestHeaderProvider):
    """Somebody's plugin, whose token is another one at each request."""

    def __init__(self) -> None:
        self.num_given = 0

    def in_context(self) -> bool:
        return True

    def request_headers(self) -> dict[str, str]:
        self.num_given += 1
        return {"X-Token": str(self.num_given)}


def test_the_headers_of_a_plugin_are_asked_for_at_each_request(
    echo: tuple[str, list[dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, asked = echo
    post(uri, "runs/create", {})  # from now on our own headers are known
    known = registry._request_header_provider_registry
    monkeypatch.setattr(known, "_registry", [*known, FreshToken()])
    monkeypatch.setattr(rest, "entry_points", lambda group: ["somebody's"])
    rest._has_header_plugins.cache_clear()
    try:
        post(uri, "runs/create", {})
        post(uri, "runs/create", {})
    finally:
        rest._has_header_plugins.cache_clear()
    assert [told.get("x-token") for told in asked] == [None, "1", "2"]


def test_a_server_that_is_not_there_is_an_error_of_mlflow() -> None:
    with pytest.raises(MlflowException, match="Connection refused"):
        post("http://127.0.0.1:9", "runs/create", {}, 2)
