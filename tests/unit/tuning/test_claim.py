"""One study, one driver, whichever folder and machine the second one is started in."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import InMemoryStorage
from rich.console import Console

from study.definition import parse_definition
from study.errors import SearchError
from study.progress import PlainLines
from study.search.advisor import Advisor
from study.search.failures import AnotherDriverError
from study.search.storages import open_storage
from study.search.study_note import StudyNote
from study.settings import Settings, settings_from
from study.trial import TrialState
from study.tuning import claim as claim_module
from study.tuning.claim import CLAIM_NOTE, LAPSE_S, Claim
from study.tuning.driver import driving
from study.tuning.runner import reconcile_study
from study.tuning.status import StudyState, status_of
from study.tuning.stopping import ask_to_stop

DEFINITION = parse_definition(
    """
name = "pets"
data.generated = "instruments"
[space]
"optimizer.lr" = { low = 1e-4, high = 1e-1, log = true }
[search]
trials = 4
""",
    Path("/somewhere/pets.toml"),
)
DRIVE = """
import sys, time
from pathlib import Path
from study.search.storages import open_storage
from study.search.study_note import StudyNote
from study.tuning.claim import CLAIM_NOTE, Claim
from study.tuning.driver import driving
folder = Path(sys.argv[2])
with driving("pets", folder), Claim("pets", StudyNote("pets", open_storage(sys.argv[1]), CLAIM_NOTE), folder):
    print("drives", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Those of the folder in which the study was begun."""
    places = {"STUDY_STORAGE": str(tmp_path / "shared.journal"), "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    settings = settings_from(places | {"STUDY_OUTPUT": str(tmp_path / "here")}, tmp_path)
    notes = {"definition": DEFINITION.text, "file": str(DEFINITION.file), "run_id": "run", "data_digest": "d"}
    Advisor.create(DEFINITION, open_storage(settings.storage), notes).ask()
    return settings


@pytest.fixture
def note(settings: Settings) -> StudyNote:
    return StudyNote("pets", open_storage(settings.storage), CLAIM_NOTE)


@pytest.fixture
def driver(settings: Settings) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", DRIVE, settings.storage, str(settings.study_folder("pets"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "drives\n"
        yield process
        process.kill()


def claimed(note: StudyNote, folder: Path) -> Claim:
    folder.mkdir(parents=True, exist_ok=True)
    return Claim("pets", note, folder)


def rewrite(note: StudyNote, **changes: Any) -> None:
    """The claim as another machine would have left it."""
    note.write({**note.read(), **changes})


def test_a_driver_elsewhere_is_told_who_runs_the_study_until_that_one_is_killed(
    driver: "subprocess.Popen[str]", note: StudyNote, settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(
        AnotherDriverError, match=rf"'pets' is run by pid {driver.pid} on .* `study stop pets` with STUDY_OUTPUT="
    ):
        claimed(note, tmp_path / "elsewhere").__enter__()
    driver.kill()
    driver.wait()
    with claimed(note, tmp_path / "elsewhere") as claim:
        claim.require_held()


@pytest.mark.usefixtures("driver")
def test_reconcile_from_another_folder_leaves_a_running_study_alone(
    settings: Settings, tmp_path: Path, sqlite_uri: str
) -> None:
    elsewhere = settings_from(
        {"STUDY_STORAGE": settings.storage, "MLFLOW_TRACKING_URI": sqlite_uri, "STUDY_OUTPUT": str(tmp_path / "elsewhere")},
        tmp_path,
    )
    with pytest.raises(AnotherDriverError, match="one driver at a time"):
        reconcile_study("pets", elsewhere, PlainLines(Console(file=StringIO())))
    assert not (tmp_path / "elsewhere").exists(), "a folder there would say that the study was interrupted"
    [trial] = optuna.load_study(study_name="pets", storage=open_storage(settings.storage)).trials
    assert trial.state is optuna.trial.TrialState.RUNNING


def test_stop_and_status_from_another_folder_tell_where_the_study_runs(
    driver: "subprocess.Popen[str]", settings: Settings, tmp_path: Path, sqlite_uri: str
) -> None:
    elsewhere = settings_from(
        {"STUDY_STORAGE": settings.storage, "MLFLOW_TRACKING_URI": sqlite_uri, "STUDY_OUTPUT": str(tmp_path / "elsewhere")},
        tmp_path,
    )
    with pytest.raises(SearchError, match=rf"pid {driver.pid} on .* Run `STUDY_OUTPUT={tmp_path}/here study stop pets`"):
        ask_to_stop("pets", elsewhere)
    status = status_of("pets", elsewhere)
    assert status.driver is not None
    assert (status.state, status.driver.pid) == (StudyState.RUNNING, driver.pid)
    driver.kill()
    driver.wait()
    with pytest.raises(SearchError, match="nobody is running 'pets'"):
        ask_to_stop("pets", elsewhere)


def test_a_study_that_was_left_in_good_order_is_free_everywhere(note: StudyNote, tmp_path: Path) -> None:
    for folder in ("here", "elsewhere", "here"):
        with claimed(note, tmp_path / folder) as claim:
            claim.require_held()


def test_a_claim_of_another_machine_lapses_after_three_beats(note: StudyNote, tmp_path: Path) -> None:
    with claimed(note, tmp_path / "there"):
        pass
    rewrite(note, machine="another", is_over=False, beat_s=time.time())
    with pytest.raises(AnotherDriverError, match=r"its files are in .*/there\); if it died, its claim lapses in (90|89) s"):
        claimed(note, tmp_path / "here").__enter__()
    rewrite(note, beat_s=time.time() - LAPSE_S)
    with claimed(note, tmp_path / "here"):
        pass


def test_who_holds_the_lock_of_a_dead_driver_need_not_wait_for_its_claim_to_lapse(note: StudyNote, tmp_path: Path) -> None:
    with driving("pets", tmp_path / "shared"), Claim("pets", note, tmp_path / "shared"):
        pass
    rewrite(note, machine="a container that is gone", is_over=False, beat_s=time.time())
    with driving("pets", tmp_path / "shared"), Claim("pets", note, tmp_path / "shared") as claim:
        claim.require_held()


def test_a_driver_that_slept_while_another_took_the_study_writes_nothing_more(
    note: StudyNote, settings: Settings, tmp_path: Path
) -> None:
    advisor = Advisor.resume(DEFINITION, open_storage(settings.storage))
    with claimed(note, tmp_path / "here") as claim:
        advisor.heed(claim.require_held)
        proposal = advisor.ask()
        assert proposal is not None
        rewrite(note, id="another", machine="another", beat_s=time.time() + 2 * LAPSE_S)
        claim._record = claim._record.model_copy(update={"beat_s": time.time() - LAPSE_S})  # no beat for so long
        with pytest.raises(AnotherDriverError, match="'pets' is run by"):
            advisor.report(proposal.number, 1, 0.5)
    assert note.read()["id"] == "another", "the other's claim stays"


def test_of_two_that_claim_in_the_same_moment_the_last_to_write_is_the_driver(
    note: StudyNote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = claimed(note, tmp_path / "here"), claimed(note, tmp_path / "elsewhere")

    def meanwhile(seconds: float) -> None:
        note.write(second._record.model_dump(mode="json"))

    monkeypatch.setattr("study.tuning.claim.time.sleep", meanwhile)
    with pytest.raises(AnotherDriverError):
        first.__enter__()


def test_the_claim_is_renewed_while_its_driver_works(note: StudyNote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim_module, "BEAT_S", 0.01)
    with claimed(note, tmp_path / "here"):
        before = note.read()["beat_s"]
        deadline_s = time.monotonic() + 20
        while note.read()["beat_s"] == before:
            assert time.monotonic() < deadline_s, "the claim was not renewed"
            time.sleep(0.01)


def another_ends_it(storage: InMemoryStorage, number: int) -> None:
    optuna.load_study(study_name="pets", storage=storage).tell(number, 0.9)


WRITES: list[Callable[[Advisor, int], object]] = [
    lambda advisor, number: advisor.report(number, 1, 0.5),
    lambda advisor, number: advisor.attach_run(number, "run"),
    lambda advisor, number: advisor.tell(number, TrialState.COMPLETE, 0.5),
    lambda advisor, number: advisor.tell(number, TrialState.INTERRUPTED),
]


@pytest.mark.parametrize("write", WRITES, ids=["report", "attach_run", "tell", "interrupt"])
def test_a_trial_that_another_driver_ended_is_told_in_one_line(write: Callable[[Advisor, int], object]) -> None:
    storage = InMemoryStorage()
    advisor = Advisor.create(DEFINITION, storage, {})
    proposal = advisor.ask()
    assert proposal is not None
    another_ends_it(storage, proposal.number)
    with pytest.raises(SearchError, match="another one has ended a trial that runs here"):
        write(advisor, proposal.number)
