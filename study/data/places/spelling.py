"""Misspelt names: "Cremonna" → "cremona", where one letter more, less, other or swapped makes a well-known name."""

from collections.abc import Iterator

SHORTEST_NAME = 7  # letters of the name that is meant: shorter ones have too many neighbours
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def neighbours(name: str) -> frozenset[str]:
    """The folded names of at least `SHORTEST_NAME` letters, one edit from `name`, that begin with the same letter."""
    if not (name.isascii() and len(name) >= SHORTEST_NAME - 1):
        return frozenset()
    return frozenset(near for near in _edits(name) if len(near) >= SHORTEST_NAME) - {name}


def _edits(name: str) -> Iterator[str]:
    for at in range(1, len(name) + 1):
        before, rest = name[:at], name[at:]
        yield before + rest[1:]
        yield before + rest[1:2] + rest[:1] + rest[2:]
        for letter in LETTERS:
            yield before + letter + rest
            yield before + letter + rest[1:]
