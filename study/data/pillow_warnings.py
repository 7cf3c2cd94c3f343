"""Keeps Pillow's warnings about damaged or large photos off the screen, whichever thread decodes."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


class PillowWarnings:
    """Silences what Pillow warns of, as long as one thread or more asks for it.

    A photo is read or refused with its reason; a warning on top (of large sizes, damaged EXIF, malformed films) says nothing
    more, and a thousand of them hide everything else. `warnings.catch_warnings` in each thread would leave filters behind,
    because a thread may put back what another one had set: so the first in sets the filter, the last out removes it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_inside = 0
        self._caught = warnings.catch_warnings()

    @contextmanager
    def silenced(self) -> Iterator[None]:
        """Within it, no warning comes from Pillow's own modules; others do."""
        with self._lock:
            self._num_inside += 1
            if self._num_inside == 1:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL(\.|$)")
        try:
            yield
        finally:
            with self._lock:
                self._num_inside -= 1
                if self._num_inside == 0:
                    self._caught.__exit__(None, None, None)


# One for the process, as Python's warning filters are.
PILLOW_WARNINGS = PillowWarnings()
