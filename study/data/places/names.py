"""Names of countries and of areas: how they are compared, and the table `places.toml` of those that no package knows."""

import re
import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from types import MappingProxyType
from typing import Any

# NFKD takes accents off letters; these letters are no letter plus accent.
_LETTERS = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i"}
    | dict.fromkeys("'’‘ʻʼ`´ʿʾ", "")
    | {"&": " and "}
)
_WORD_FORMS = MappingProxyType(
    {"st": "saint", "sankt": "saint", "ste": "sainte", "mt": "mount", "ft": "fort"}  # "St. Gallen" is "Sankt Gallen"
)
_NO_WORD = re.compile(r"[\W_]+")
_COMBINING = re.compile(r"[\u0300-\u036f]+")
_INITIALS = re.compile(r"\b(?:[^\W\d_]\.\s?){2,}")
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "ae", "Ö": "oe", "Ü": "ue"})


def fold(text: str) -> str:
    """The form in which names are compared: no case, accents, punctuation; "St." is "Saint"; "U. S. A." is "usa"."""
    if "." in text:
        text = _INITIALS.sub(_joined, text).replace(".", " ")
    text = text.casefold().translate(_LETTERS)
    if not text.isascii():
        text = _COMBINING.sub("", unicodedata.normalize("NFKD", text)).translate(_LETTERS)
    words = _NO_WORD.sub(" ", text).split()
    return " ".join(_WORD_FORMS.get(word, word) for word in words)


def spellings(name: str) -> set[str]:
    """The folded forms of a name: with ä as a, and with ä as ae, as typewriters wrote it."""
    if name.isascii():
        return {fold(name)} - {""}
    name = unicodedata.normalize("NFC", name)
    return {fold(name), fold(name.translate(_UMLAUTS))} - {""}


@dataclass(frozen=True)
class Area:
    """A historical state, or a region known by another name than its official one.

    Attributes:
        name: its English name.
        today: ISO code of the country that it means where no town is given; "" where only a town can tell.
        among: ISO codes of all countries that have a part of it today.
    """

    name: str
    today: str
    among: tuple[str, ...]


class NameTable:
    """What `places.toml` holds, read on first use."""

    @cached_property
    def countries(self) -> Mapping[str, str]:
        """Folded name → ISO code: transliterations, short forms and adjectives that ISO's translations lack."""
        return {form: code for code, names in self._table["countries"].items() for name in names for form in spellings(name)}

    @cached_property
    def areas(self) -> Mapping[str, Area]:
        """Folded name → area."""
        return {form: area for area, names in self._areas() for name in names for form in spellings(name)}

    @cached_property
    def towns(self) -> Mapping[str, str]:
        """Folded name → ISO code: towns whose name the gazetteer lacks, or that a collector means before a larger namesake."""
        return {form: code for code, names in self._table["towns"].items() for name in names for form in spellings(name)}

    @cached_property
    def abbreviations(self) -> Mapping[str, dict[str, str]]:
        """Folded abbreviation of a state or province → ISO code of its country → its two letters if that is US, else ""."""
        found: dict[str, dict[str, str]] = {}
        for code, names in self._table["abbreviations"].items():
            country, _, state = code.partition("-")
            for form in {form for name in names for form in spellings(name)}:
                found.setdefault(form, {})[country] = state if country == "US" else ""
        return found

    @cached_property
    def successors(self) -> Mapping[str, tuple[str, ...]]:
        """ISO code of a country → those that hold towns which were once its own."""
        return {code: tuple(others) for code, others in self._table["successors"].items()}

    @cached_property
    def territories(self) -> Mapping[str, tuple[str, ...]]:
        """ISO code of a country → those of its territories that have a code of their own."""
        return {code: tuple(others) for code, others in self._table["territories"].items()}

    @cached_property
    def not_places(self) -> frozenset[str]:
        """Folded words that stand in a column of places and name none."""
        return frozenset(fold(word) for word in self._table["not_places"]["words"])

    @cached_property
    def _table(self) -> dict[str, Any]:
        return tomllib.loads(files("study.data.places").joinpath("places.toml").read_text(encoding="utf-8"))

    def _areas(self) -> list[tuple[Area, list[str]]]:
        return [
            (Area(name, entry["today"], tuple(entry.get("among", [entry["today"]]))), [name, *entry.get("names", [])])
            for name, entry in self._table["areas"].items()
        ]


def _joined(initials: re.Match[str]) -> str:
    """ "U. S. A." → "USA "."""
    return re.sub(r"[\s.]", "", initials.group()) + " "
