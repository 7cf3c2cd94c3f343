"""When a study has no hope: its first trials fail, and all for the same reason."""

import re

from study.trial import Failure

HOPELESS_FAILURES = 4  # the first that end, all alike: the fifth would fare no better


class FirstFailures:
    """Why the first trials failed, as long as nothing but failures has come of any; the trials themselves are let go."""

    def __init__(self) -> None:
        self._reasons: list[str] = []
        self._has_hope = False

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
