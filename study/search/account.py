"""What the trials that ended came to: their outcomes, what need not be trained again, and when it is enough."""

from collections.abc import Mapping
from typing import Any

from study.definition import StudyDefinition
from study.search.outcomes import Outcome
from study.search.stopping import StopRules, num_repetitions
from study.trial import TrialState


class Account:
    """Grows by one outcome a trial, so that asking it costs the same however many there are."""

    def __init__(self, definition: StudyDefinition) -> None:
        self._outcomes: dict[int, Outcome] = {}
        self._completed: dict[frozenset[tuple[str, Any]], int] = {}
        self._stop_rules = StopRules(definition.search.stop, definition.objective, num_repetitions(definition.space))
        self._worked_s = 0.0
        self.elapsed_before_s = 0.0  # for which earlier drivers ran the study

    def add(self, outcome: Outcome) -> None:
        """A trial ended."""
        self._outcomes[outcome.number] = outcome
        self._stop_rules.add(outcome)
        if outcome.state is TrialState.COMPLETE:
            self._completed.setdefault(_recipe(outcome.searched), outcome.number)

    def add_work(self, seconds: float) -> None:
        """A trial was worked on, whether or not it ended."""
        self._worked_s += seconds

    def outcomes(self) -> list[Outcome]:
        """In the order of their numbers."""
        return [self._outcomes[number] for number in sorted(self._outcomes)]

    def outcome(self, number: int) -> Outcome:
        """Of a trial that ended."""
        return self._outcomes[number]

    def repeated_by(self, searched: Mapping[str, Any]) -> int | None:
        """The first completed trial with these searched values; a searched seed is one of them."""
        return self._completed.get(_recipe(searched))

    def stop_reason(self, elapsed_s: float) -> str | None:
        """The rule of `[search.stop]` that holds, in words.

        Args:
            elapsed_s: for which drivers have run the study, seconds.
        """
        return self._stop_rules.reason(elapsed_s, self._worked_s)


def _recipe(searched: Mapping[str, Any]) -> frozenset[tuple[str, Any]]:
    return frozenset(searched.items())
