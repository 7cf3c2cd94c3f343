"""When a study has no hope: its first trials fail, and all for the same reason."""

import re

from study.errors import TrialError
from study.trial import Failure

HOPELESS_FAILURES = 4  # the first that end, all alike: the fifth would fare no better


class HopelessError(TrialError):
    """The first trials of a study all failed for one reason, and the others were not begun."""


def why_hopeless(cause: str) -> str:
    """Why a study stopped whose first trials failed for this cause."""
    return f"the first {HOPELESS_FAILURES} trials failed alike: {cause}"


class FirstFailures:
    """Why the first trials failed, as long as nothing but failures has come of any; the trials themselves are let go."""

    def __init__(self, *, has_hope: bool = False) -> None:
        """Args:
        has_hope: an earlier driver has seen a trial that did not fail.
        """
        self._reasons: list[str] = []
        self._has_hope = has_hope

    def add(self, failure: Failure | None) -> None:
        """A trial ended."""
        self._has_hope |= failure is None
        if failure is not None and not self._has_hope:
            self._reasons.append(failure.reason)

    @property
    def common_cause(self) -> str | None:
        """The last reason, where there are enough and they are all alike."""
        if self._has_hope or len(self._reasons) < HOPELESS_FAILURES:
            return None
        # Numbers differ from trial to trial: learning rates, steps, bytes that were asked for.
        causes = {re.sub(r"[-+.\d]+(e[-+]?\d+)?", "#", reason) for reason in self._reasons}
        return self._reasons[-1] if len(causes) == 1 else None
