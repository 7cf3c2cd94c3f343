"""The geocoder, against a server on this machine: never the real one."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic
from urllib.parse import parse_qs, urlsplit

import pytest

from study.data.locations import Location, Locator, Method
from study.data.places.geocoding import ANSWERS_FILE, Endpoint, Geocoder

KNOWN = {"Wernitzmuehl": [("de", 0.4)], "Twinvillage": [("fr", 0.4), ("be", 0.3)], "Onceandaround": [("it", 0.5), ("us", 0.1)]}


@dataclass
class FakeNominatim:
    """What the server was asked, and how it fails."""

    port: int = 0
    asked: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)
    failures: int = 0

    def endpoint(self, **options: float) -> Endpoint:
        return Endpoint(f"127.0.0.1:{self.port}", "http", pause_s=options.get("pause_s", 0.0), retry_pause_s=0.01)


@pytest.fixture
def nominatim(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNominatim]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    fake = FakeNominatim()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fake.asked.append(parse_qs(urlsplit(self.path).query)["q"][0])
            fake.times.append(monotonic())
            fake.agents.add(self.headers["User-Agent"])
            if fake.failures:
                fake.failures -= 1
                self.send_error(503)
                return
            body = json.dumps([_place(*place) for place in KNOWN.get(fake.asked[-1], [])]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield fake
    server.shutdown()
    server.server_close()
    thread.join()


def _place(country: str, importance: float) -> dict[str, object]:
    address = {"country_code": country}
    return {"lat": "1", "lon": "1", "display_name": f"a place in {country}", "importance": importance, "address": address}


def test_a_text_is_asked_once_and_abstentions_are_kept_too(nominatim: FakeNominatim, tmp_path: Path) -> None:
    texts = ["Wernitzmuehl", "Nowhere at all", "Wernitzmuehl"]
    first = Geocoder(tmp_path, nominatim.endpoint()).ask(texts)
    again = Geocoder(tmp_path, nominatim.endpoint()).ask(texts)
    assert nominatim.asked == ["Wernitzmuehl", "Nowhere at all"]
    assert first == again
    assert first["Wernitzmuehl"].iso_code == "DE"
    assert first["Nowhere at all"].iso_code == ""


def test_results_of_like_importance_in_two_countries_are_an_abstention(nominatim: FakeNominatim, tmp_path: Path) -> None:
    answers = Geocoder(tmp_path, nominatim.endpoint()).ask(["Twinvillage", "Onceandaround"])
    assert answers["Twinvillage"].iso_code == ""
    assert "BE" in answers["Twinvillage"].rule
    assert answers["Onceandaround"].iso_code == "IT"


def test_a_server_that_fails_for_a_moment_is_asked_again(nominatim: FakeNominatim, tmp_path: Path) -> None:
    nominatim.failures = 2
    assert Geocoder(tmp_path, nominatim.endpoint()).ask(["Wernitzmuehl"])["Wernitzmuehl"].iso_code == "DE"
    assert len(nominatim.asked) == 3


def test_a_server_that_is_away_leaves_abstentions_with_a_note_and_is_asked_next_time(
    nominatim: FakeNominatim, tmp_path: Path
) -> None:
    nominatim.failures = 3  # one request and both of its repetitions
    answers = Geocoder(tmp_path, nominatim.endpoint()).ask(["Wernitzmuehl", "Twinvillage"])
    assert {answer.iso_code for answer in answers.values()} == {""}
    assert all("cannot be asked" in answer.rule for answer in answers.values())
    assert nominatim.asked == ["Wernitzmuehl"] * 3  # the rest is left in peace
    assert Geocoder(tmp_path, nominatim.endpoint()).ask(["Wernitzmuehl"])["Wernitzmuehl"].iso_code == "DE"


def test_requests_keep_their_distance_and_name_the_program(nominatim: FakeNominatim, tmp_path: Path) -> None:
    Geocoder(tmp_path, nominatim.endpoint(pause_s=0.3)).ask(["Wernitzmuehl", "Twinvillage", "Onceandaround"])
    gaps = [later - earlier for earlier, later in zip(nominatim.times, nominatim.times[1:], strict=False)]
    assert min(gaps) > 0.25
    assert all(agent.startswith("study/") for agent in nominatim.agents)
    assert Endpoint().pause_s >= 1


def test_an_answer_that_a_kill_cut_short_is_asked_again(nominatim: FakeNominatim, tmp_path: Path) -> None:
    (tmp_path / ANSWERS_FILE).write_text('\n{"text": "Wernitzmuehl", "iso_c', encoding="utf-8")
    Geocoder(tmp_path, nominatim.endpoint()).ask(["Wernitzmuehl"])
    Geocoder(tmp_path, nominatim.endpoint()).ask(["Wernitzmuehl"])
    assert nominatim.asked == ["Wernitzmuehl"]


def test_only_what_is_unknown_offline_is_asked(nominatim: FakeNominatim, tmp_path: Path) -> None:
    found = [_location(text, method) for text, method in (("Lyon", Method.GAZETTEER), ("Yugoslavia", Method.AMBIGUOUS))]
    found += [_location(text, Method.NONE) for text in ("Wernitzmuehl", "unknown", "1720", "")]
    completed = Locator(tmp_path).ask_for_the_rest(found, Geocoder(tmp_path, nominatim.endpoint()))
    assert nominatim.asked == ["Wernitzmuehl"]
    assert [location.text for location in completed] == [location.text for location in found]
    assert (completed[2].iso_code, completed[2].country, completed[2].method) == ("DE", "Germany", Method.GEOCODER)


def _location(text: str, method: Method) -> Location:
    is_found = method is Method.GAZETTEER
    return Location(text, "France" if is_found else "", "FR" if is_found else "", method, 0.9, "rule")
