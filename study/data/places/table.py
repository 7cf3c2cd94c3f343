"""What a table of places says of a name in it that several countries have: the countries of its other places are a prior."""

from collections import Counter
from collections.abc import Iterable, Sequence

MIN_TABLE = 10  # places: fewer say nothing about a table
UNSEEN = 0.5  # places that a country has before the first one is seen (Jeffreys' prior)

Shares = Sequence[tuple[str, float]]  # ISO code and share, largest first


class TablePrior:
    """How often each country is in a table.

    Args:
        countries: one ISO code a text, "" for a text without an answer.
    """

    def __init__(self, countries: Iterable[str]) -> None:
        self._counts = Counter(country for country in countries if country)

    @property
    def is_informative(self) -> bool:
        """Whether there are enough places."""
        return self._counts.total() >= MIN_TABLE

    @property
    def majority(self) -> str:
        """The country with more than half of the places; "" where none has."""
        return next((country for country, count in self._counts.items() if 2 * count > self._counts.total()), "")

    def update(self, shares: Shares) -> tuple[tuple[str, float], ...]:
        """The shares times the countries' places in the table, scaled to the sum 1; largest first."""
        products = {country: share * (self._counts[country] + UNSEEN) for country, share in shares}
        total = sum(products.values())
        return tuple(sorted(((country, value / total) for country, value in products.items()), key=lambda it: (-it[1], it[0])))
