"""A free text about a place, taken apart: "Absam b. Innsbruck, Tyrol (c. 1660)" → what each of its parts can mean."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from study.data.places.gazetteer import Gazetteer, Kind, Reading
from study.data.places.names import Area, NameTable, fold
from study.data.places.spelling import neighbours

SEPARATORS = re.compile(r"[,;:()\[\]|\n\t]|\s[-–—]\s")
NEIGHBOURS = re.compile(
    r"(?i)\s+(?:near|nr\.?|bei|b\.|nahe|prope|presso|près de|lez|lès)\s+"
)  # the second tells which the first is
ALTERNATIVES = re.compile(
    r"(?i)\s+(?:or|and|und|oder|ou|et|&)\s+|\s*/\s*"
)  # "Bosnia and Herzegovina" is looked up as a whole first
LEADING_WORDS = re.compile(
    r"(?i)^(?:near|nr\.?|bei|b\.|nahe|presso|prope|près de|by|at|in|from|of|aus|the|probably|prob\.?|possibly|poss\.?|perhaps|"
    r"presumably|likely|maybe|wohl|vermutlich|wahrscheinlich|vielleicht|circa|ca\.?|c\.|about|made|born|workshop|school|circle|"
    r"environs|vicinity|area|city|town|province|region|district|county|co\.?|duchy|attributed|to|stadt)\s+"
)
TRAILING_WORDS = re.compile(
    r"(?i)\s+(?:school|workshop|trade|region|area|province|county|district|oblast|prefecture|state|city|stadt|department|"
    r"d[ée]partement(?: de la| de l'| du| des)?|mehoz|otok|probably|prob\.?|possibly|school of|[ivx]+|[nsew]\.?)$"
)
DIGITS = re.compile(
    r"(?i)(?:\b(?:c|ca|circa|cca|about|around|um|vers|verso|fl|b|d|born|died|before|after|ante|post|vor|nach|early|mid|late)\b"
    r"[.\s]*)*\S*\d\S*"
)  # years ("c. 1820"), postal codes, "2e", "W1"
MARKS = re.compile(r'[?!"“”„*<>=~]+')
SMALLEST_PREFIX = 5000.0  # people: in a part that is no place as a whole, its first words must name a place of note
BEGINNINGS = re.compile(
    r"(?i)^(?:alt[ao]?|bad|bella|el|fort|las?|les?|los|mount|neu|new|nov[ao]|nuova|old|porto?|saint|st\.?|sankt|san|sant[ao]?|s[aã]o|"
    r"the|villa)$"
)  # of names that are longer: "San Xyz" is not in San, Mali
CODE_LETTERS = (2, 3)
WELL_KNOWN = 100_000.0  # people times fame, as in the gazetteer: a name that is misspelt may only be one of these …
UNDISPUTED = 0.95  # … with this share of all that are one edit away


@dataclass(frozen=True)
class Part:
    """What one part of a text can mean.

    Attributes:
        words: as written.
        country: ISO code of the country that it names; "" where it names none.
        area: the historical state or region that it names.
        weights: ISO code → people, of the largest city or region of this name there.
        codes: ISO code → "" for a country's own code, or the state's two letters; only for two or three capitals.
        city_states: letters of those of the United States that have a city of this name.
        own_states: letters of those that have this name or code themselves.
        is_region: whether an official region has this name.
        corrected: the name that it is taken for, where it is no name as written.
    """

    words: str
    country: str = ""
    area: Area | None = None
    weights: dict[str, float] = field(default_factory=dict)
    codes: dict[str, str] = field(default_factory=dict)
    city_states: frozenset[str] = frozenset()
    own_states: frozenset[str] = frozenset()
    is_region: bool = False
    corrected: str = ""

    @property
    def is_known(self) -> bool:
        """Whether it means anything at all."""
        return bool(self.country or self.area or self.weights or self.codes)


class TextReader:
    """Reads texts with the help of a gazetteer and the table of names."""

    def __init__(self, gazetteer: Gazetteer, names: NameTable) -> None:
        self.gazetteer = gazetteer
        self.names = names

    def readings(self, text: str) -> list[list[Part]]:
        """For each alternative that a text leaves ("Naples or Rome, Italy": two), its parts that mean something."""
        whole = self._part(text)
        if whole.is_known:
            return [[whole]]
        written = [words for words in (_clean(part) for part in SEPARATORS.split(text)) if words]
        choices = [self._alternatives(words) for words in written]
        most = max(map(len, choices), default=0)
        chosen = [[choice[min(index, len(choice) - 1)] for choice in choices] for index in range(most)]
        known = [[part for parts in reading for part in parts if part.is_known] for reading in chosen]
        if any(known):
            return [reading for reading in known if reading]
        return list(filter(None, (self._corrected(words) or self._pieces(words) for words in written)))[:1]

    def _alternatives(self, words: str) -> list[list[Part]]:
        part = self._part(words)
        pieces = [piece for piece in ALTERNATIVES.split(words) if piece]
        if part.is_known or len(pieces) < 2:
            return [[part] if part.is_known else self._neighbours(words)]
        return [self._neighbours(piece) for piece in pieces]

    def _neighbours(self, words: str) -> list[Part]:
        part = self._part(words)
        return [part] if part.is_known else [self._part(piece) for piece in NEIGHBOURS.split(words)]

    def _part(self, words: str) -> Part:
        """The reading of the fewest words taken away that means something."""
        forms = list(_simpler_forms(words))
        return next((part for part in map(self._exactly, forms) if part.is_known), Part(words))

    def _exactly(self, words: str) -> Part:
        name = fold(words)
        if not name or name in self.names.not_places:
            return Part(words)
        readings = self.gazetteer.readings(name)
        country = self.names.countries.get(name) or next((it.country for it in readings if it.kind is Kind.COUNTRY), "")
        codes = _codes(words, readings) | (self.names.abbreviations.get(name, {}) if words[0].isupper() else {})
        is_region = any(it.kind is Kind.REGION for it in readings)
        area, weights = self.names.areas.get(name), self._weights(name, readings)
        cities, regions = _states(readings, Kind.CITY), _states(readings, Kind.REGION)
        own_states = regions | frozenset(state for state in codes.values() if state)
        return Part(words, country, area, weights, codes, cities, own_states, is_region)

    def _corrected(self, words: str) -> list[Part]:
        """ "Cremonna" → Cremona: what one edit makes of it, where nearly all that it makes is in one country and well known."""
        near = neighbours(fold(list(_simpler_forms(words))[-1]))
        listed = near & (self.names.countries.keys() | self.names.areas.keys() | self.names.towns.keys())
        weights = {name: self._standing(name, name in listed) for name in listed | self.gazetteer.usual_among(near)}
        total: Counter[str] = Counter()
        for by_country in weights.values():
            total.update(by_country)
        country, people = max(total.items(), key=lambda item: item[1], default=("", 0.0))
        if people < WELL_KNOWN or people < UNDISPUTED * total.total():
            return []
        name = max(weights, key=lambda name: (weights[name].get(country, 0.0), name))
        return [replace(self._exactly(name), words=words, corrected=name)]

    def _standing(self, name: str, is_listed: bool) -> dict[str, float]:
        """Country → people; names that `places.toml` has count as well known ones."""
        part = self._exactly(name)
        if part.country:
            return {part.country: WELL_KNOWN}
        if part.area:
            return dict.fromkeys([part.area.today] if part.area.today else part.area.among, WELL_KNOWN)
        return {code: max(weight, WELL_KNOWN) if is_listed else weight for code, weight in part.weights.items()}

    def _weights(self, name: str, readings: Sequence[Reading]) -> dict[str, float]:
        """The town of the table alone, else the largest of each country."""
        if name in self.names.towns:
            return {self.names.towns[name]: max(SMALLEST_PREFIX, *(it.weight for it in readings), 0.0)}
        weights: dict[str, float] = {}
        for reading in readings:
            if reading.kind in (Kind.REGION, Kind.CITY):
                weights[reading.country] = max(reading.weight, weights.get(reading.country, 0.0))
        return weights

    def _pieces(self, words: str) -> list[Part]:
        """ "Milano Italia" → Milano, Italia; "Klingenthal i. Sa." → Klingenthal: the longest beginning that is a place."""
        tokens = words.split()
        for length in range(len(tokens) - 1, 0, -1):
            if length == 1 and BEGINNINGS.match(tokens[0]):
                return []
            start, end = self._part(" ".join(tokens[:length])), self._part(" ".join(tokens[length:]))
            is_end_country = bool(end.country or end.area)
            if is_end_country and not start.is_known:
                return [end]
            if start.is_known and (is_end_country or start.country or start.area or _people(start) >= SMALLEST_PREFIX):
                return [start, end] if end.is_known else [start]
        return []


def _people(part: Part) -> float:
    return max(part.weights.values(), default=0.0)


def _states(readings: Sequence[Reading], kind: Kind) -> frozenset[str]:
    return frozenset(reading.state for reading in readings if reading.kind is kind and reading.state)


def _codes(words: str, readings: Sequence[Reading]) -> dict[str, str]:
    letters = words.replace(".", "").strip()
    if not letters.isupper() or len(letters) not in CODE_LETTERS:
        return {}
    return {it.country: it.state for it in readings if it.kind is Kind.CODE}


def _clean(words: str) -> str:
    return " ".join(MARKS.sub(" ", words).split()).strip(" ,;-–—")


def _simpler_forms(words: str) -> Iterator[str]:
    """As written, without numbers, then without one qualifying word after the other."""
    words = _clean(words)
    yield words
    words = _clean(DIGITS.sub(" ", words))
    yield words
    for pattern in (LEADING_WORDS, TRAILING_WORDS):
        while (shorter := pattern.sub("", words)) != words:
            yield shorter
            words = shorter
