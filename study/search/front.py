"""The Pareto front: what nothing else beats in every respect. With one objective, it is the best alone."""

from collections.abc import Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Losses = Sequence[float]


class Front(Generic[Item]):
    """Items that no other dominates, kept as they come; all losses are better lower."""

    def __init__(self) -> None:
        self._members: list[tuple[Losses, Item]] = []

    @property
    def items(self) -> list[Item]:
        """The front, in the order in which its members came."""
        return [item for _, item in self._members]

    def add(self, losses: Losses, item: Item) -> bool:
        """Whether the item is on the front; those that it dominates leave it. Of equals, the first stays."""
        if any(_is_no_better(losses, other) for other, _ in self._members):
            return False
        self._members = [member for member in self._members if not _is_no_better(member[0], losses)]
        self._members.append((losses, item))
        return True


def _is_no_better(losses: Losses, others: Losses) -> bool:
    """Whether `losses` beats `others` in nothing."""
    return all(loss >= other for loss, other in zip(losses, others, strict=True))
