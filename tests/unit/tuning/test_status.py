"""How studies stand: by their lock, their driver's last word, and Optuna's storage."""

from pathlib import Path

import optuna
import pytest

from study.definition import StudyDefinition, parse_definition
from study.errors import SearchError
from study.printing.status import print_statuses, statuses_of
from study.search.advisor import Advisor
from study.search.storages import open_storage
from study.settings import Settings, settings_from
from study.trial import TrialState
from study.tuning import status as status_module
from study.tuning.driver import End, driving
from study.tuning.log_file import LogFile, trial_log_file
from study.tuning.status import StudyState, status_of, statuses

TEXT = """
name = "NAME"
data.generated = "instruments"
[space]
"optimizer.lr" = { low = 1e-4, high = 1e-1, log = true }
[search]
trials = 4
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_from({}, tmp_path)


def created(settings: Settings, name: str = "pets") -> Advisor:
    """A study with a folder, as a driver leaves it at once."""
    definition = parse_definition(TEXT.replace("NAME", name), Path("/somewhere/pets.toml"))
    settings.study_folder(name).mkdir(parents=True, exist_ok=True)
    return Advisor.create(definition, open_storage(settings.storage), notes_of(definition))


def notes_of(definition: StudyDefinition) -> dict[str, str]:
    return {"definition": definition.text, "file": str(definition.file), "run_id": "run"}


def completed(advisor: Advisor, value: float) -> None:
    proposal = advisor.ask()
    assert proposal is not None
    advisor.tell(proposal.number, TrialState.COMPLETE, value)


def test_a_study_that_is_driven_runs(settings: Settings) -> None:
    advisor = created(settings)
    completed(advisor, 0.5)
    completed(advisor, 0.75)
    advisor.ask()
    with driving("pets", settings.study_folder("pets")):
        status = status_of("pets", settings)
    assert status.state is StudyState.RUNNING
    assert status.counts == {TrialState.COMPLETE: 2, TrialState.RUNNING: 1}
    assert (status.num_trials, status.objective, status.best) == (4, "val_balanced_accuracy", (1, 0.75))
    assert status.next_command is None


def test_what_a_dead_driver_left_running_is_interrupted_and_waits_for_resume(settings: Settings) -> None:
    created(settings).ask()
    status = status_of("pets", settings)
    assert status.state is StudyState.INTERRUPTED
    assert status.counts == {TrialState.INTERRUPTED: 1}
    assert status.next_command == "study resume pets"


@pytest.mark.parametrize("end", End)
def test_a_driver_s_last_word_holds(end: End, settings: Settings) -> None:
    created(settings)
    with driving("pets", settings.study_folder("pets")) as driver:
        driver.end = end
    assert status_of("pets", settings).state.value == end.value


def test_a_study_of_before_drivers_left_word_is_complete_when_it_has_its_trials(settings: Settings) -> None:
    advisor = created(settings)
    for value in (0.1, 0.2, 0.3):
        completed(advisor, value)
    assert status_of("pets", settings).state is StudyState.INTERRUPTED
    completed(advisor, 0.4)
    assert status_of("pets", settings).state is StudyState.COMPLETE


def test_where_the_study_s_folder_is_not_here_nothing_is_claimed(settings: Settings) -> None:
    created(settings).ask()
    settings.study_folder("pets").rmdir()
    assert status_of("pets", settings).state is StudyState.UNKNOWN


def test_where_the_lock_may_not_be_read_nothing_is_claimed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    created(settings).ask()
    monkeypatch.setattr(status_module, "is_driven", lambda folder: None)
    status = status_of("pets", settings)
    assert (status.state, status.next_command) == (StudyState.UNKNOWN, None)


def test_a_study_of_repetitions_stands_with_the_one_that_it_repeats(settings: Settings) -> None:
    created(settings)
    storage = open_storage(settings.storage)
    repeated = parse_definition(TEXT.replace("NAME", "pets.confirm"), Path("/somewhere/pets.toml"))
    completed(Advisor.create(repeated, storage, {"run_id": "run", "confirms": "pets"}), 0.5)
    [status] = statuses(settings, with_ended=True)
    assert (status.name, status.repetitions) == ("pets", {TrialState.COMPLETE: 1})
    assert status_of("pets.confirm", settings) == status


def test_a_trial_s_epoch_is_news(settings: Settings) -> None:
    created(settings)
    assert status_of("pets", settings).news_s is None
    file = trial_log_file(settings.study_folder("pets"), 0)
    LogFile(file).say("epoch 1")
    assert status_of("pets", settings).news_s == file.stat().st_mtime


def test_unless_asked_for_studies_that_ended_are_left_out(settings: Settings) -> None:
    for name, end in (("done", End.COMPLETE), ("died", None), ("stopped", End.INTERRUPTED)):
        created(settings, name)
        with driving(name, settings.study_folder(name)) as driver:
            driver.end = end
    assert [one.name for one in statuses(settings, with_ended=False)] == ["died", "stopped"]
    assert [one.name for one in statuses(settings, with_ended=True)] == ["died", "stopped", "done"]


def test_where_there_is_no_storage_nothing_runs_and_none_is_made(settings: Settings, tmp_path: Path) -> None:
    assert statuses(settings, with_ended=True) == []
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_study_is_one_line_with_the_nearest(settings: Settings) -> None:
    created(settings)
    with pytest.raises(SearchError, match="Did you mean `pets`?"):
        status_of("pats", settings)


def test_a_person_is_told_what_to_do_about_a_study_that_waits(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    completed(created(settings), 0.75)
    print_statuses(statuses_of([status_of("pets", settings)]))
    shown = capsys.readouterr().out
    assert "pets waits for: study resume pets" in shown
    assert "1 of 4: 1 COMPLETE" in shown
    assert "val_balanced_accuracy 0.750 (trial 0)" in shown


def test_nothing_to_tell_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    print_statuses([])
    assert "Nothing runs" in capsys.readouterr().out


def foreign(settings: Settings, name: str = "theirs") -> None:
    optuna.create_study(study_name=name, storage=open_storage(settings.storage)).set_user_attr("owner", "somebody")


def test_a_study_of_another_program_is_left_out_of_the_list(settings: Settings) -> None:
    created(settings)
    foreign(settings)
    assert [one.name for one in statuses(settings, with_ended=True)] == ["pets"]


def test_who_asks_for_a_study_of_another_program_is_told_so(settings: Settings) -> None:
    foreign(settings)
    with pytest.raises(SearchError, match="'theirs' in STUDY_STORAGE is another program's"):
        status_of("theirs", settings)


def test_a_study_that_cannot_be_read_is_shown_with_its_reason_beside_the_others(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    completed(created(settings), 0.75)
    storage = open_storage(settings.storage)
    older = created(settings, "older")
    completed(older, 0.5)
    optuna.load_study(study_name="older", storage=storage).set_user_attr("definition", 'name = "older"\ngone = 1\n')
    found = statuses(settings, with_ended=True)
    assert [(one.name, one.state) for one in found] == [("pets", StudyState.INTERRUPTED), ("older", StudyState.UNKNOWN)]
    assert found[0].reason is None
    assert (found[1].counts, found[1].num_trials, found[1].best) == ({TrialState.COMPLETE: 1}, None, (0, 0.5))
    assert found[1].next_command is None
    print_statuses(statuses_of(found))
    shown = " ".join(capsys.readouterr().out.split())
    assert "older cannot be read: " in shown
    assert "`gone`" in shown
    assert "1: 1 COMPLETE 0.500 (trial 0)" in shown


def test_repetitions_of_a_study_that_is_gone_are_shown_with_that_reason(settings: Settings) -> None:
    created(settings)
    lonely = parse_definition(TEXT.replace("NAME", "gone.confirm"), Path("/somewhere/gone.toml"))
    completed(Advisor.create(lonely, open_storage(settings.storage), {"run_id": "run", "confirms": "gone"}), 0.5)
    found = {one.name: one for one in statuses(settings, with_ended=True)}
    assert set(found) == {"pets", "gone.confirm"}
    assert found["gone.confirm"].state is StudyState.UNKNOWN
    assert "there is no 'gone'" in (found["gone.confirm"].reason or "")
    assert status_of("gone.confirm", settings) == found["gone.confirm"]


def test_a_study_whose_photos_are_packed_is_known_before_it_is_recorded(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with driving("pets", settings.study_folder("pets"), prepares=True) as driver:
        driver.does("packing photos, 64 of 9,000")
        [status] = statuses(settings, with_ended=False)
        assert status == status_of("pets", settings)
    assert (status.name, status.state, status.counts) == ("pets", StudyState.PREPARING, {})
    assert (status.next_command, status.reason) == (None, None)
    assert list(tmp_path.iterdir()) == [], "who looks makes no storage"
    print_statuses(statuses_of([status]))
    shown = " ".join(capsys.readouterr().out.split())
    assert "pets preparing" in shown
    assert "packing photos, 64 of 9,000" in shown


def test_a_study_that_is_prepared_again_on_resume_has_its_trials_and_says_what_it_does(settings: Settings) -> None:
    created(settings).ask()
    with driving("pets", settings.study_folder("pets"), prepares=True) as driver:
        [status] = statuses(settings, with_ended=False)
        assert status.state is StudyState.PREPARING
        assert status.counts == {TrialState.INTERRUPTED: 1}
        driver.runs()
        assert status_of("pets", settings).state is StudyState.RUNNING


def test_studies_that_are_prepared_stand_beside_those_that_are_recorded(settings: Settings) -> None:
    created(settings, "stopped").ask()
    with driving("pets", settings.study_folder("pets"), prepares=True):
        found = statuses(settings, with_ended=False)
    assert [(one.name, one.state) for one in found] == [("pets", StudyState.PREPARING), ("stopped", StudyState.INTERRUPTED)]


def test_a_folder_that_nobody_drives_is_no_study(settings: Settings) -> None:
    folder = settings.study_folder("pets")
    with driving("pets", folder):
        pass
    assert statuses(settings, with_ended=True) == []
