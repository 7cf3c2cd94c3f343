"""What a driver leaves in the stores when one of them fails it."""

import time
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any, cast

import pytest
from optuna.storages import InMemoryStorage
from rich.console import Console

from study.definition import parse_definition
from study.errors import SearchError
from study.progress import PlainLines
from study.search.advisor import Advisor
from study.settings import settings_from
from study.tracking.tracker import MemoryTracker
from study.trial import TrialState
from study.tuning.launch import Executor, Launch
from study.tuning.ledger import Ledger
from study.tuning.preparation import PreparedStudy

DEFINITION = parse_definition(
    """
name = "launch"
data.generated = "instruments"
[space]
"optimizer.lr" = { low = 1e-4, high = 1e-1, log = true }
[search]
trials = 4
""",
    Path("/somewhere/launch.toml"),
)


class FullAdvisor(Advisor):
    """One whose storage takes new trials and no more."""

    def tell(
        self,
        number: int,
        state: TrialState,
        value: float | None = None,
        costs: Mapping[str, float] | None = None,
        seconds: float | None = None,
    ) -> None:
        raise SearchError("STUDY_STORAGE must take every record, but: No space left on device.")


class ThreeTrials:
    """An executor whose trials are all running when the storage fails."""

    num_concurrent = 3
    gpus = 0.0

    def for_study(self, prepared: PreparedStudy) -> Executor:
        return self

    def run(self, ledger: Ledger) -> None:
        for _ in range(3):
            ledger.begin()
        ledger.finish(0)


def test_where_optuna_s_storage_is_full_mlflow_still_hears_that_the_study_and_all_its_trials_are_interrupted(
    tmp_path: Path,
) -> None:
    prepared = PreparedStudy(DEFINITION, settings_from({}, tmp_path), cast(Any, None), {})
    tracker = MemoryTracker()
    run_id = tracker.begin_study("launch", "launch", {}, DEFINITION.text, "")
    advisor = FullAdvisor.create(DEFINITION, InMemoryStorage(), {})

    class Silent(PlainLines):
        def study_began(self, *anything: object) -> None:
            """Nothing: there are no data to speak of."""

    listener = Silent(Console(file=StringIO()))
    with pytest.raises(SearchError, match="No space left"):
        Launch(prepared, advisor, tracker, run_id, listener, time.monotonic()).run(ThreeTrials())
    assert [study.state for study in tracker.studies()] == [TrialState.INTERRUPTED]
    assert [trial.state for trial in tracker.trials(run_id)] == [TrialState.INTERRUPTED] * 3
