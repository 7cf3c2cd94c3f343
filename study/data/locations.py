"""The country of a place written as free text: "Schönbach bei Eger, Böhmen" → Czechia.

The rules, in their order (each answer names its own; `places.toml` has the rule for states that are no more):
1. A country that is named is the answer, unless a town is named that it does not have and one of its successors has
   ("Breslau, Germany" → Poland).
2. Else each part of the text says how likely each country is, by people who live in places of that name there; the parts'
   shares are multiplied ("Cremona, Lombardy"). A historical state or region counts for the countries that have a part of it.
3. The shares are multiplied by how many of the same table's places lie in each country, where there are enough of them. That
   may lift a country over `SURE`; where most of the table lies in another of the candidates, it may make a winner who was not
   `BEYOND_DOUBT` an abstention. A single text has no table; it is left open where the shares are comparable.
4. Whatever is left is asked of Nominatim, with `geocode="online"`, or is an abstention: no country, and the reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from study.data.places.gazetteer import Gazetteer, country_names
from study.data.places.geocoding import Answer, Geocoder
from study.data.places.names import Area, NameTable, fold
from study.data.places.table import TablePrior
from study.data.places.text import Part, TextReader
from study.errors import DataError, nearest

Geocode = Literal["offline", "online"]
SURE = 0.85  # share of the winner; tuned on tests/unit/data/places_tune_*.csv
BEYOND_DOUBT = 0.98  # fifty times the others
LEAN = 0.1  # least share of a country that the table may lift
UNSETTLED = 0.9  # a winner that falls below it in a table of which most is another candidate's is none
BY_TABLE = 0.7  # confidence of one that the table has lifted
ABSENT = 0.01  # share of a country in which the gazetteer knows no such place: it does not know every village
ABSENT_REGION = 0.001  # the same for regions and historical states: those are listed in full
PART_OF_AREA = 0.15  # weight of a country with a part of a historical state, against 1 of the one that it means without a town
TOWN_NAMED_AS_AREA = 0.05  # the same for towns of its name
MISSPELT = 0.7  # confidence, against 1 of the name as it is spelt
BARE_AREA = 0.9  # confidence: most of a historical state, not all of it
MIN_SUCCESSOR_TOWN = 10_000.0  # people: a village may lack in the gazetteer where the text says that it is


class Method(StrEnum):
    """How a country was found."""

    COUNTRY = "country name"
    AREA = "historical state or region"
    GAZETTEER = "gazetteer"
    GEOCODER = "geocoder"
    AMBIGUOUS = "ambiguous"  # the text itself leaves it open: no geocoder could know
    NONE = "none"  # no such place is known, or several are


@dataclass(frozen=True)
class Location:
    """A text and the country that it lies in today.

    Attributes:
        text: as given.
        country: English name, "" for an abstention.
        iso_code: ISO 3166-1 alpha-2, "" for an abstention.
        method: how it was found.
        confidence: in [0, 1]; a share among the countries that have a place of this name, not a measured probability.
        rule: which rule answered, or why none did.
    """

    text: str
    country: str
    iso_code: str
    method: Method
    confidence: float
    rule: str

    @property
    def is_resolved(self) -> bool:
        """Whether there is a country."""
        return bool(self.iso_code)


@dataclass(frozen=True)
class _Verdict:
    iso_code: str
    method: Method
    confidence: float
    rule: str
    shares: tuple[tuple[str, float], ...] = ()  # the gazetteer's candidates, most likely first


def locate(texts: Sequence[str], geocode: Geocode, cache_folder: Path) -> list[Location]:
    """The country of each text, in the order given; the texts are one table, whose countries decide ambiguous names.

    Args:
        texts: free texts; equal ones are read once.
        geocode: "offline", or "online" to ask Nominatim for what is left.
        cache_folder: where the gazetteer's index (30 MB, built once in seconds) and the geocoder's answers are kept.
    Raises:
        DataError: if `geocode` is neither.
    """
    if geocode not in get_args(Geocode):
        raise DataError(f'geocode must be "offline" or "online", but is {geocode!r}. {nearest(geocode, get_args(Geocode))}')
    locator = Locator(cache_folder)
    found = locator.locate(texts)
    return locator.ask_for_the_rest(found, Geocoder(cache_folder)) if geocode == "online" else found


class Locator:
    """Finds countries offline.

    Args:
        cache_folder: where the gazetteer's index is kept.
    """

    def __init__(self, cache_folder: Path) -> None:
        self._names = NameTable()
        self._reader = TextReader(Gazetteer(cache_folder), self._names)

    @cached_property
    def country_names(self) -> dict[str, str]:
        """ISO code → English name."""
        return country_names()

    def locate(self, texts: Sequence[str]) -> list[Location]:
        """As the function `locate`, offline."""
        verdicts = {text: self._verdict(text) for text in dict.fromkeys(texts)}
        table = TablePrior(verdicts[text].iso_code for text in texts)
        if table.is_informative:
            verdicts = {text: _in_table(verdict, table) for text, verdict in verdicts.items()}
        return [self._location(text, verdicts[text]) for text in texts]

    def ask_for_the_rest(self, found: Sequence[Location], geocoder: Geocoder) -> list[Location]:
        """`found`, with the geocoder's answer for each text of which nothing was known offline."""
        left = [location.text for location in found if location.method is Method.NONE and self._is_worth_asking(location.text)]
        answers = geocoder.ask(left)
        return [self._completed(location, answers.get(location.text)) for location in found]

    def _completed(self, location: Location, answer: Answer | None) -> Location:
        if answer is None or location.method is not Method.NONE:
            return location
        rule = f"{location.rule}; {answer.rule}"
        if not answer.iso_code:
            return replace(location, rule=rule)
        name = self.country_names.get(answer.iso_code, answer.iso_code)
        return Location(location.text, name, answer.iso_code, Method.GEOCODER, answer.confidence, rule)

    def _is_worth_asking(self, text: str) -> bool:
        """Not "?", "n/a" or a year."""
        return any(letter.isalpha() for letter in text) and fold(text) not in self._names.not_places

    def _location(self, text: str, verdict: _Verdict) -> Location:
        name = self.country_names.get(verdict.iso_code, verdict.iso_code)
        return Location(text, name, verdict.iso_code, verdict.method, round(verdict.confidence, 3), verdict.rule)

    def _verdict(self, text: str) -> _Verdict:
        verdicts = [_less_sure(self._verdict_on(parts), parts) for parts in self._reader.readings(text)]
        countries = {verdict.iso_code for verdict in verdicts}
        if len(countries) > 1:
            told = " or ".join(sorted(code or "an unknown country" for code in countries))
            return _Verdict("", Method.AMBIGUOUS, 0.0, f"it may be in {told}")
        return verdicts[0] if verdicts else _Verdict("", Method.NONE, 0.0, "no part of the text is a known place")

    def _verdict_on(self, parts: Sequence[Part]) -> _Verdict:
        countries = [part for part in parts if part.country and not part.area and self._is_named_by(part, parts)]
        if len({part.country for part in countries}) > 1:
            return _Verdict("", Method.AMBIGUOUS, 0.0, f"it names {' and '.join(part.words for part in countries)}")
        if countries:
            return self._named(countries[0], parts)
        return self._by_shares(parts)

    def _is_named_by(self, part: Part, parts: Sequence[Part]) -> bool:
        """Whether `part` names its country here: as the last part, or where half of the others know of such a place in it.

        Before another country it does too ("Germany, Austria"), unless that one has a place or a territory of this name
        ("Lebanon, United States", "Hong Kong, China").
        """
        last = parts[-1]
        if part is last:
            return True
        if last.country and not last.area:
            return last.country not in part.weights and part.country not in self._names.territories.get(last.country, ())
        others = [other for other in parts if other is not part]
        return 2 * sum(part.country in {*other.weights, *_among(other)} for other in others) >= len(others)

    def _named(self, named: Part, parts: Sequence[Part]) -> _Verdict:
        """The named country, or the successor that has the town today."""
        for part in parts:
            shares = _shares([part])
            if part is named or not shares or named.country in part.weights or part.country or part.area:
                continue
            heir, share = shares[0]
            is_large = part.weights.get(heir, 0.0) >= MIN_SUCCESSOR_TOWN
            if heir in self._names.successors.get(named.country, ()) and share >= SURE and is_large:
                rule = f"{part.words} was in {named.words} then, and is in {self.country_names[heir]} today"
                return _Verdict(heir, Method.GAZETTEER, share * BARE_AREA, rule)
        return _Verdict(named.country, Method.COUNTRY, 1.0, f"it names {named.words}")

    def _by_shares(self, parts: Sequence[Part]) -> _Verdict:
        shares = _shares(parts)
        area = next((part.area for part in parts if part.area), None)
        if not shares:
            return _Verdict("", Method.AMBIGUOUS, 0.0, "a code alone is no place")
        country, share = shares[0]
        if area is not None and len(parts) == 1:
            return _bare_area(parts[0].words, area, shares)
        told = " and ".join(part.words for part in parts)
        if share < SURE:
            return _Verdict("", Method.NONE, share, f"{told}: {_candidates(shares)}", shares)
        method = Method.AREA if area is not None else Method.GAZETTEER
        rule = f"{told} agree" if len(parts) > 1 else f"{told}: {_candidates(shares)}"
        return _Verdict(country, method, share, rule, shares if len(parts) == 1 else ())


def _less_sure(verdict: _Verdict, parts: Sequence[Part]) -> _Verdict:
    """The verdict, with less confidence where it rests on a name that is misspelt."""
    changed = [f'"{part.words}" read as "{part.corrected}"' for part in parts if part.corrected]
    if not changed or not verdict.iso_code:
        return verdict
    return replace(verdict, confidence=MISSPELT * verdict.confidence, rule=f"{', '.join(changed)}; {verdict.rule}")


def _among(part: Part) -> tuple[str, ...]:
    return part.area.among if part.area else ()


def _bare_area(words: str, area: Area, shares: tuple[tuple[str, float], ...]) -> _Verdict:
    if area.today:
        return _Verdict(area.today, Method.AREA, BARE_AREA, f"{words}: most of it lies there today")
    return _Verdict("", Method.AMBIGUOUS, 0.0, f"{words} lies in several countries today, and no town is named", shares)


def _shares(parts: Sequence[Part]) -> tuple[tuple[str, float], ...]:
    """The countries' shares, largest first: the product over all parts, scaled to the sum 1."""
    told = [(part, share) for part in parts if (share := _share_of(part, parts))]
    product = dict.fromkeys((country for _, share in told for country in share), 1.0)
    for part, share in told:
        least = ABSENT_REGION if part.area or part.is_region else ABSENT
        for country in product:
            product[country] *= max(share.get(country, 0.0), least)
    total = sum(product.values())
    return tuple(sorted(((country, value / total) for country, value in product.items()), key=lambda item: (-item[1], item[0])))


def _share_of(part: Part, parts: Sequence[Part]) -> dict[str, float]:
    """What one part says of the countries: by people, by area, by code; empty where it says nothing."""
    if any(part.city_states & other.own_states for other in parts if other is not part):
        return {"US": 1.0}  # "Paris, Texas"
    people = sum(part.weights.values())
    towns = {country: weight / people for country, weight in part.weights.items()}
    if part.area is not None:
        return _share_of_area(part.area, towns)
    codes = [country for country, state in part.codes.items() if _is_confirmed(country, state, part, parts)]
    if codes:
        return {country: 1 / len(codes) for country in codes}
    return towns


def _share_of_area(area: Area, towns: dict[str, float]) -> dict[str, float]:
    """1 for the country that the area means, less for others that have a part of it, or a town of this name."""
    share = {country: TOWN_NAMED_AS_AREA * part for country, part in towns.items()}
    share |= dict.fromkeys(area.among, PART_OF_AREA if area.today else 1.0)
    return share | ({area.today: 1.0} if area.today else {})


def _is_confirmed(country: str, state: str, code: Part, parts: Sequence[Part]) -> bool:
    """A code counts where another part has a place there: "Torino (TO)" is not in Tonga, "Boston, MA" not in Morocco."""
    others = [part for part in parts if part is not code]
    return any(state in part.city_states if state else country in part.weights for part in others)


def _in_table(verdict: _Verdict, table: TablePrior) -> _Verdict:
    """The verdict in the light of the table's other texts: they may settle an open one, and unsettle one, but never turn it."""
    if not verdict.shares or verdict.confidence >= BEYOND_DOUBT:
        return verdict
    before, (country, share) = dict(verdict.shares), table.update(verdict.shares)[0]
    needed = BEYOND_DOUBT if verdict.method is Method.AMBIGUOUS else SURE
    if not verdict.iso_code and share >= needed and before[country] >= LEAN:
        rule = f"{verdict.rule}; {country} {share:.2f} in this table"
        return replace(verdict, iso_code=country, method=Method.GAZETTEER, confidence=BY_TABLE, rule=rule)
    is_contested = table.majority in before and table.majority != verdict.iso_code
    if verdict.iso_code and is_contested and (country != verdict.iso_code or share < UNSETTLED):
        rule = f"{verdict.rule}; {country} {share:.2f} in this table, which speaks against it"
        return replace(verdict, iso_code="", method=Method.NONE, rule=rule)
    return verdict


def _candidates(shares: Sequence[tuple[str, float]]) -> str:
    """ "CA 0.84, GB 0.15"."""
    return ", ".join(f"{country} {share:.2f}" for country, share in shares[:3])
