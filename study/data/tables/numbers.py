"""Numbers as people write them into tables."""

import math
import re
import unicodedata

# Thousands in groups of three with one kind of separator, a point for decimals. "1,5" is none: 1.5 in Rome, a slip in London.
_NUMBER = re.compile(
    r"[+-]?(?:\d{1,3}(?P<mark>[,'’ \u00a0\u2009\u202f])\d{3}(?:(?P=mark)\d{3})*|\d+|(?=\.\d))(?:\.\d*)?(?:[eE][+-]?\d+)?",
    re.ASCII,
)


def parse_number(text: str) -> float | None:
    """The number in a cell, or None: plain ("1200.5", "1.2e3"), with thousands separators ("1,200", "1 200"), a currency sign.

    A comma is never a decimal point, and words ("about 300", "300-400") are no numbers: nothing is guessed.
    """
    bare = _without_currency(text.strip())
    if not _NUMBER.fullmatch(bare):
        return None
    number = float(re.sub(r"[^\d.eE+-]", "", bare))
    return number if math.isfinite(number) else None


def _without_currency(text: str) -> str:
    """The text without one currency sign before or after it, or between its sign and its digits."""
    sign, rest = (text[:1], text[1:].strip()) if text[:1] in ("+", "-") else ("", text)
    if rest and unicodedata.category(rest[0]) == "Sc":
        rest = rest[1:].strip()
    elif rest and unicodedata.category(rest[-1]) == "Sc":
        rest = rest[:-1].strip()
    return sign + rest
