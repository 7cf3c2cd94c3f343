"""A trial is read for its promotion while a driver goes on with its study."""

from pathlib import Path

from study.definition import parse_definition
from study.search.advisor import Advisor
from study.search.storages import open_storage
from study.trial import TrialState
from study.tuning.candidates import outcome_of

DEFINITION = parse_definition(
    """
name = "promoted"
data.generated = "instruments"
[space]
"optimizer.lr" = { low = 1e-4, high = 1e-1, log = true }
[search]
trials = 3
""",
    Path("/somewhere/promoted.toml"),
)


def test_a_trial_is_read_as_it_ended_and_nothing_is_written_where_a_driver_runs(tmp_path: Path) -> None:
    journal = tmp_path / "study.journal"
    driver = Advisor.create(DEFINITION, open_storage(str(journal)), {})
    for _ in range(2):
        proposal = driver.ask()
        assert proposal is not None
        driver.attach_run(proposal.number, f"run-{proposal.number}")
    driver.tell(0, TrialState.COMPLETE, 0.5, {"parameters_m": 1.5})
    before = journal.read_bytes()

    storage = open_storage(str(journal))
    assert outcome_of(DEFINITION, storage, 0) == driver.outcome(0)
    assert outcome_of(DEFINITION, storage, 1) is None  # it runs
    assert outcome_of(DEFINITION, storage, 7) is None
    assert journal.read_bytes() == before
    driver.tell(1, TrialState.COMPLETE, 0.7)
    assert outcome_of(DEFINITION, storage, 1) == driver.outcome(1)
