from dataclasses import replace
from pathlib import Path

from study.analysis.comparison import compare
from study.answering import _folder
from study.settings import settings_from
from study.trial import TrialState
from tests.analysis_examples import study_example, with_trials

STUDY = study_example()


def test_many_studies_share_a_folder_whose_name_a_disk_takes_in_whatever_order_they_are_given(tmp_path: Path) -> None:
    studies = [replace(STUDY, name=f"study-{number:02d}-{'x' * 20}") for number in range(12)]
    folder = _folder(studies, settings_from({}, tmp_path))
    assert folder == _folder(studies[::-1], settings_from({}, tmp_path))
    assert len(folder.parent.name) <= 100
    folder.mkdir(parents=True)


def test_a_study_whose_only_trial_failed_before_it_had_a_recipe_has_an_answer() -> None:
    failed = replace(STUDY.trials[0], state=TrialState.FAIL, value=None, curve=(), searched={})
    assert "No trial completed" in compare([with_trials(STUDY, [failed])]).answer[0]
