"""What the offline gazetteer does not know, asked of OpenStreetMap's Nominatim: slowly, by name, and each text once.

Its policy (https://operations.osmfoundation.org/policies/nominatim/): at most one request a second from one application, a user
agent that names it, and results kept. Answers, "nothing found" among them, go to a file of JSON lines in the cache folder.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from study import __version__

if TYPE_CHECKING:
    from geopy.extra.rate_limiter import RateLimiter

USER_AGENT = f"study/{__version__} (image studies; one text a second, answers kept)"
ANSWERS_FILE = "geocoded-places.jsonl"
NUM_RESULTS = 5
COMPARABLE = 0.5  # of the first result's importance: such a result elsewhere makes the text ambiguous
TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Endpoint:
    """A Nominatim server, and how patiently it is asked.

    Attributes:
        domain: host, and port where it is not the scheme's own.
        scheme: "https", or "http" for a server of one's own.
        pause_s: seconds between requests.
        retry_pause_s: seconds before a failed request is tried again.
        num_retries: how often it is.
    """

    domain: str = "nominatim.openstreetmap.org"
    scheme: str = "https"
    pause_s: float = 1.1
    retry_pause_s: float = 5.0
    num_retries: int = 2


@dataclass(frozen=True)
class Answer:
    """What the geocoder says of a text.

    Attributes:
        iso_code: ISO 3166-1 alpha-2; "" where it found nothing, several countries, or could not be reached.
        confidence: in [0, 1]: the result's importance.
        rule: what the answer rests on, or why there is none.
    """

    iso_code: str
    confidence: float
    rule: str


class Geocoder:
    """Asks a Nominatim server, and remembers.

    Args:
        cache_folder: where answers are kept.
        endpoint: the server.
    """

    def __init__(self, cache_folder: Path, endpoint: Endpoint | None = None) -> None:
        self._file = cache_folder / ANSWERS_FILE
        self._endpoint = endpoint or Endpoint()

    def ask(self, texts: Sequence[str]) -> dict[str, Answer]:
        """An answer for each text. A network that is away is one too: it is not kept, so the next call asks again.

        One process at a time: the limit of a request a second holds for all that share the cache folder.
        """
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self._file}.lock"):
            known = self._read()
            answers = {text: known[text] for text in dict.fromkeys(texts) if text in known}
            answers |= self._fetch([text for text in dict.fromkeys(texts) if text not in known])
        return answers

    def _fetch(self, texts: Sequence[str]) -> dict[str, Answer]:
        """Asks until the server cannot be reached; after that, the rest is left."""
        from geopy.exc import GeopyError

        geocode = self._geocode() if texts else None
        answers: dict[str, Answer] = {}
        for text in texts:
            try:
                answers[text] = _judge(geocode(text, **_options()) if geocode else None)
            except GeopyError as error:
                away = Answer("", 0.0, f"the geocoder at {self._endpoint.domain} cannot be asked: {_in_one_line(error)}")
                return answers | {left: away for left in texts if left not in answers}
            self._keep(text, answers[text])
        return answers

    def _geocode(self) -> "RateLimiter":
        from geopy.extra.rate_limiter import RateLimiter
        from geopy.geocoders import Nominatim

        server = self._endpoint
        nominatim = Nominatim(user_agent=USER_AGENT, domain=server.domain, scheme=server.scheme, timeout=TIMEOUT_S)
        return RateLimiter(
            nominatim.geocode,
            min_delay_seconds=server.pause_s,
            max_retries=server.num_retries,
            error_wait_seconds=max(server.retry_pause_s, server.pause_s),
            swallow_exceptions=False,
        )

    def _read(self) -> dict[str, Answer]:
        """What was answered before; a last line that a kill cut short is asked again."""
        if not self._file.exists():
            return {}
        answers: dict[str, Answer] = {}
        for line in self._file.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            answers[entry["text"]] = Answer(entry["iso_code"], entry["confidence"], entry["rule"])
        return answers

    def _keep(self, text: str, answer: Answer) -> None:
        """Starts on a line of its own, whatever a kill left before it."""
        with self._file.open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps({"text": text, **asdict(answer)}, ensure_ascii=False))


def _options() -> dict[str, Any]:
    """Settlements only: a maker's name is a street somewhere."""
    return {
        "exactly_one": False,
        "limit": NUM_RESULTS,
        "addressdetails": True,
        "featuretype": "settlement",
        "language": "en",
    }


def _judge(results: Sequence[Any] | None) -> Answer:
    """The first result's country, unless a result of like importance lies in another."""
    found = [(_country(result.raw), float(result.raw.get("importance") or 0.0), result.address) for result in results or ()]
    found = [result for result in found if result[0]]
    if not found:
        return Answer("", 0.0, "the geocoder knows no such settlement")
    country, importance, address = found[0]
    rivals = sorted({other for other, weight, _ in found if weight >= COMPARABLE * importance} - {country})
    if rivals:
        return Answer("", 0.0, f"the geocoder knows such places in {country}, {', '.join(rivals)}")
    return Answer(country, round(min(importance, 1.0), 3), f"the geocoder found {address}")


def _country(raw: dict[str, Any]) -> str:
    return str(raw.get("address", {}).get("country_code", "")).upper()


def _in_one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__} {error}".split())
