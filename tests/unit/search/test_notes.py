"""What is kept with a study: whole or not at all, whoever made the study and whenever its driver was killed."""

from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection

from study.analysis.reading import read_studies
from study.definition import StudyDefinition, parse_definition
from study.errors import SearchError
from study.search.advisor import Advisor
from study.search.notes import is_begun, own_notes, search_notes
from study.search.storages import Storage
from study.search.stored_trials import read_stored_study
from study.tracking.tracker import MemoryTracker

TEXT = """
name = "pets"
data.generated = "instruments"
[space]
"optimizer.lr" = { low = 1e-4, high = 1e-1, log = true }
[search]
trials = 4
"""
NOTES = {"definition": TEXT, "file": "/somewhere/pets.toml", "run_id": "run", "data_digest": "digest"}


def definition(text: str = TEXT) -> StudyDefinition:
    return parse_definition(text, Path("/somewhere/pets.toml"))


class Killed(BaseException):
    """The process ends here."""


def killed_while_created(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(*anything: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, "set_user_attr", kill)
        with pytest.raises(Killed):
            Advisor.create(definition(), storage, NOTES)


@pytest.mark.parametrize(
    "text", [TEXT, TEXT + '[objective]\nmetric = "loss"\ndirection = "minimize"\n'], ids=["same", "changed"]
)
def test_what_a_killed_driver_left_of_a_study_is_taken_up(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = InMemoryStorage()
    killed_while_created(storage, monkeypatch)
    assert not is_begun("pets", storage)
    advisor = Advisor.create(definition(text), storage, NOTES)
    assert is_begun("pets", storage)
    assert advisor.notes == own_notes("pets", storage) == NOTES
    direction = StudyDirection.MINIMIZE if "minimize" in text else StudyDirection.MAXIMIZE
    assert optuna.load_study(study_name="pets", storage=storage).direction is direction


def test_a_study_whose_driver_was_killed_in_an_earlier_version_between_two_notes_is_taken_up() -> None:
    storage = InMemoryStorage()
    half = optuna.create_study(study_name="pets", storage=storage, direction="maximize")
    half.set_user_attr("definition", TEXT)
    with pytest.raises(SearchError, match="the driver of 'pets' ended before that. Run it again: study run FILE"):
        own_notes("pets", storage)
    assert Advisor.create(definition(), storage, NOTES).notes == {**NOTES}


def test_notes_of_an_earlier_version_are_read() -> None:
    storage = InMemoryStorage()
    old = optuna.create_study(study_name="pets", storage=storage, direction="maximize")
    for key, note in NOTES.items():
        old.set_user_attr(key, note)
    assert search_notes("pets", storage, "resume") == NOTES
    assert Advisor.resume(definition(), storage).notes == NOTES
    assert read_stored_study("pets", storage).notes == NOTES
    with pytest.raises(SearchError, match="must be new, but 'pets' exists"):
        Advisor.create(definition(), storage, NOTES)


READERS: list[Callable[[Storage], object]] = [
    lambda storage: search_notes("theirs", storage, "resume"),
    lambda storage: read_studies(["theirs"], MemoryTracker(), storage),
]


@pytest.mark.parametrize("read", READERS, ids=["resume", "compare"])
def test_another_program_s_study_is_named_as_that_in_one_line(read: Callable[[Storage], object]) -> None:
    storage = InMemoryStorage()
    theirs = optuna.create_study(study_name="theirs", storage=storage)
    theirs.set_user_attr("owner", "somebody")
    theirs.tell(theirs.ask(), 1.0)
    with pytest.raises(SearchError, match="'theirs' in STUDY_STORAGE is another program's") as raised:
        read(storage)
    assert "\n" not in str(raised.value)


def test_another_program_s_study_is_never_taken_up() -> None:
    storage = InMemoryStorage()
    optuna.create_study(study_name="pets", storage=storage).set_user_attr("owner", "somebody")
    with pytest.raises(SearchError, match="must be new, but 'pets' exists"):
        Advisor.create(definition(), storage, NOTES)
