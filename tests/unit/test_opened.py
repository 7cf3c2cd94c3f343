import pytest

import study
from study.errors import DefinitionError
from study.opened import OpenedStudy
from tests.analysis_examples import study_example, with_trials

OPENED = OpenedStudy(study_example())


def test_trials_are_a_table_by_number() -> None:
    table = OPENED.trials
    assert table.index.tolist() == [trial.number for trial in OPENED.evidence.trials]
    assert {"state", "value", "num_epochs", "backbone", "optimizer.lr", "run_id"} <= set(table.columns)
    first = OPENED.evidence.trials[0]
    assert table.loc[first.number, "backbone"] == first.searched["backbone"]


def test_curves_are_a_table_with_a_row_an_epoch() -> None:
    lengths = OPENED.curves.groupby("trial").size()
    assert lengths.to_dict() == {trial.number: len(trial.curve) for trial in OPENED.evidence.trials if trial.curve}
    assert OPENED.curves["epoch"].min() == 1


def test_repetitions_tell_what_the_test_split_showed() -> None:
    assert "test_balanced_accuracy" in OPENED.repetitions.columns


def test_a_notebook_shows_the_question_and_the_answer_as_text() -> None:
    asked = OPENED.evidence.definition.model_copy(update={"question": "<script>?"})
    page = OpenedStudy(type(OPENED.evidence)(**{**vars(OPENED.evidence), "definition": asked}))._repr_html_()
    assert "&lt;script&gt;?" in page
    assert "<script>" not in page
    assert "<table" in page


def test_an_unknown_study_is_refused(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(str(tmp_path))
    with pytest.raises(DefinitionError, match="must be a study"):
        study.load("pets", tracking_uri=f"sqlite:///{tmp_path}/m.db", storage=f"{tmp_path}/s.journal")


def test_a_study_without_a_trial_is_shown_too() -> None:
    empty = OpenedStudy(with_trials(OPENED.evidence, []))
    assert empty.trials.empty
    assert "<table" in empty._repr_html_()
