"""A trial is read for its promotion while a driver goes on with its study."""

from pathlib import Path

import pytest

from study.definition import parse_definition
from study.search.advisor import Advisor
from study.search.storages import open_storage
from study.settings import settings_from
from study.tracking.registry import ModelVersion, Registry
from study.trial import TrialState
from study.tuning.candidates import outcome_of, version_of_trial

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


class Versions(Registry):
    """A registry that has these versions and takes no other."""

    def __init__(self, *run_ids: str) -> None:
        tags = {"study.name": "promoted", "study.trial_number": "0"}
        self._found = [ModelVersion("promoted", str(number), run_id, (), tags, "") for number, run_id in enumerate(run_ids, 1)]

    def known_versions(self, name: str) -> list[ModelVersion]:
        return list(reversed(self._found))  # newest first


class Announced(Exception):
    """A model is about to be registered."""


def announce(message: str) -> None:
    raise Announced(message)


def version_of(*run_ids: str, folder: Path) -> ModelVersion:
    """The version of trial 0, whose run is `run-0`."""
    settings = settings_from({"STUDY_STORAGE": "study.journal"}, folder)
    notes = {"definition": DEFINITION.text, "file": str(DEFINITION.file), "run_id": "parent", "data_digest": "photos"}
    advisor = Advisor.create(DEFINITION, open_storage(settings.storage), notes)
    assert advisor.ask() is not None
    advisor.attach_run(0, "run-0")
    advisor.tell(0, TrialState.COMPLETE, 0.5)
    return version_of_trial("promoted", 0, settings, Versions(*run_ids), announce)


def test_a_trial_that_is_registered_is_known_by_its_run(tmp_path: Path) -> None:
    assert version_of("run-0", "another run", folder=tmp_path).version == "1"


@pytest.mark.parametrize("run_id", ["run of a study that had the name before", ""])
def test_a_version_of_the_same_name_and_number_that_another_run_trained_is_not_promoted(run_id: str, tmp_path: Path) -> None:
    with pytest.raises(Announced, match="trial 0 of promoted is not registered yet"):
        version_of(run_id, folder=tmp_path)
