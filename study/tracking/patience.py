"""Waiting for a store that is away."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from study.tracking.failures import StoreAwayError

Answer = TypeVar("Answer")

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 15.0  # a server that is back is noticed within this


def silence(message: str) -> None:
    """Says nothing."""


@dataclass(frozen=True)
class Patience:
    """For how long a call is repeated while the store is away.

    Attributes:
        seconds: from the first failure on; 0 tries once.
        announce: told why we wait, once a call.
    """

    seconds: float = 0.0
    announce: Callable[[str], None] = silence

    def of(self, call: Callable[[], Answer]) -> Answer:
        """What `call` returns, sooner or later.

        Args:
            call: harmless to repeat.
        Raises:
            StoreAwayError: the last one, when patience is at its end.
        """
        wait_s, deadline_s = FIRST_WAIT_S, None
        while True:
            try:
                return call()
            except StoreAwayError as error:
                now_s = time.monotonic()
                if deadline_s is None:
                    deadline_s = now_s + self.seconds
                    if self.seconds > 0:
                        self.announce(f"{error} Trying again for {self.seconds:.0f} s.")
                if now_s >= deadline_s:
                    raise
                time.sleep(min(wait_s, deadline_s - now_s))
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
