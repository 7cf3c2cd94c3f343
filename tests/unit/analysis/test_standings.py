"""What is known of a registered version: from the study that trained it, and from its tags alone."""

from dataclasses import replace
from typing import Any

import pytest

from study.analysis.confirmed import confirmed_recipes
from study.analysis.evidence import StudyEvidence
from study.analysis.standings import CONFIRMATION_TAG, EVIDENCE_TAG, confirmation_tags, has_trained, standing_of

from .evidence_of import trial
from .test_confirmed import confirmed

TESTED = [[0.6, 0.7], [0.8, 0.9], [0.5, 0.6]]


def study() -> StudyEvidence:
    return replace(confirmed(TESTED), data_digest="d")


def tags(number: int, **others: Any) -> dict[str, str]:
    made = {"study.name": "known", "study.trial_number": str(number), "study.data_digest": "d"}
    return made | {"study.cost": '{"latency_ms": 2.5}'} | others


def test_what_is_written_to_a_versions_tags_is_read_back() -> None:
    made = standing_of("version 1", tags(1), study())
    assert made.test == confirmed_recipes(study())[1].test
    assert (made.metric, made.is_maximized, made.ratio) == ("test_balanced_accuracy", True, 0.0)
    assert made.cost == {"latency_ms": 2.5, "parameters_m": 11}
    assert made.repetitions == {(0, 1000): 0.8, (0, 1001): 0.9}
    written = confirmation_tags(made)
    assert (written[EVIDENCE_TAG], written["study.test_balanced_accuracy"]) == ("confirmed", "0.850 (0.215 to 1.485, n = 2)")
    assert standing_of("version 1", tags(1) | written) == replace(made, study_run="")


def test_a_version_without_evidence_says_so() -> None:
    made = standing_of("version 1", {"study.name": "known"})
    assert made.test is None
    assert confirmation_tags(made) == {}


def test_repetitions_count_for_every_trial_that_had_their_recipe() -> None:
    again = trial(7, 0.5, study().trials[1].searched)
    with_again = replace(study(), trials=[*study().trials, again])
    assert standing_of("version 2", tags(7), with_again).repetitions == standing_of("version 1", tags(1), study()).repetitions


@pytest.mark.parametrize("other", [{"study.name": "another"}, {"study.data_digest": "e"}, {"study.trial_number": "9"}])
def test_a_study_of_the_same_name_on_other_photos_is_another_study(other: dict[str, str]) -> None:
    recorded = confirmation_tags(standing_of("version 1", tags(1), study()))
    made = standing_of("version 1", tags(1) | recorded | other, replace(confirmed([[0.1, 0.2]] * 3), data_digest="d"))
    assert made.repetitions == {(0, 1000): 0.8, (0, 1001): 0.9}


def test_a_study_trained_the_versions_whose_run_is_one_of_its_trials() -> None:
    assert has_trained(study(), "run-1")
    assert not has_trained(study(), "a run of a study that had its name before")
    assert not has_trained(study(), "")


def test_of_many_repetitions_the_tags_keep_the_mean() -> None:
    made = standing_of("version 1", tags(1), study())
    many = replace(made, repetitions={(fold, 10**9 + seed): 1 / 3 for fold in range(10) for seed in range(30)})
    written = confirmation_tags(many)
    assert len(written[CONFIRMATION_TAG]) < 5000
    assert standing_of("version 1", tags(1) | written) == replace(made, repetitions={}, study_run="")
