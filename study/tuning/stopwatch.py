"""How long the driver spends in the steps of its work."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Adds up how long each step took, in all, and how often it was taken.

    Attributes:
        seconds, calls: by the step's name. Written by one thread; another may copy them at any time (`dict(…)` is atomic).
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}

    @contextmanager
    def timing(self, step: str) -> Iterator[None]:
        """Counts what happens inside as one such step, also where it raises."""
        began_s = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - began_s
            self.calls[step] = self.calls.get(step, 0) + 1
