"""Keeps only the best trials' weights on disk: forty VGG-16 are 20 GB."""

from collections.abc import Iterable
from pathlib import Path

from study.definition import Objective
from study.search.advisor import Outcome
from study.search.outcomes import is_candidate
from study.trial import TrialState
from study.tuning.ledger import TrialProgress
from study.tuning.shared_files import NOT_SHARED, SharedFiles
from study.tuning.trial_files import weights_file


class KeptWeights:
    """Listens to a ledger; deletes a completed trial's weights once enough trials are better."""

    def __init__(
        self,
        output_folder: Path,
        objective: Objective,
        num_kept: int,
        earlier: Iterable[Outcome],
        shared: SharedFiles = NOT_SHARED,
    ) -> None:
        """Args:
        num_kept: how many of the best trials keep their weights.
        earlier: trials that ended before, in an earlier launch.
        shared: where the weights are, if not in the folder.

        Raises:
            DefinitionError: if earlier weights cannot be looked for.
        """
        self._shared = shared
        self._output_folder = output_folder
        self._objective = objective
        self._num_kept = num_kept
        self._kept = [
            (outcome.value, outcome.number)
            for outcome in earlier
            if is_candidate(outcome) and outcome.value is not None and shared.has(weights_file(output_folder, outcome.number))
        ]

    def trial_began(self, trial: TrialProgress) -> None:
        """Nothing."""

    def trial_measured(self, trial: TrialProgress) -> None:
        """Nothing."""

    def trial_ended(self, trial: TrialProgress) -> None:
        """Ranks a completed trial among the others, and lets the worst go."""
        if trial.state is not TrialState.COMPLETE or trial.best is None:
            return
        if not keeps_limits(trial, self._objective):  # it can never be the answer
            self._shared.forget(weights_file(self._output_folder, trial.number))
            return
        self._kept.append((trial.best.metrics[self._objective.key], trial.number))
        self._kept.sort(key=lambda entry: (-entry[0] if self._objective.is_maximized else entry[0], entry[1]))
        while len(self._kept) > self._num_kept:
            _, number = self._kept.pop()
            self._shared.forget(weights_file(self._output_folder, number))


def keeps_limits(trial: TrialProgress, objective: Objective) -> bool:
    """Whether every quantity that the trial told of is within its limit."""
    told = trial.facts
    return all(limit.violation(float(told[limit.quantity])) <= 0 for limit in objective.limits if limit.quantity in told)
