import pytest

from study.commands.results import STATES
from study.errors import DefinitionError
from study.printing.filters import StudyFilter, TrialFilter
from study.tracking.records import StudyRecord, TrialRecord
from study.trial import TrialState


def trial(number: int, state: TrialState, **params: str) -> TrialRecord:
    return TrialRecord(number, f"r{number}", state, params, {}, {})


TRIALS = [
    trial(0, TrialState.COMPLETE, backbone="alexnet", lr="0.001"),
    trial(1, TrialState.PRUNED, backbone="alexnet", lr="0.01"),
    trial(2, TrialState.COMPLETE, backbone="vgg16", lr="0.001"),
]


def study(name: str, state: TrialState, experiment: str) -> StudyRecord:
    return StudyRecord(name, f"run-{name}", state, 0, experiment, {}, {})


STUDIES = [
    study("c", TrialState.FAIL, "pets"),
    study("b", TrialState.COMPLETE, "pets"),
    study("a", TrialState.COMPLETE, "birds"),
]


def numbers(shown: TrialFilter) -> list[int]:
    return [record.number for record in shown.apply(TRIALS)]


def test_no_filter_shows_everything() -> None:
    assert numbers(TrialFilter()) == [0, 1, 2]
    assert StudyFilter().apply(STUDIES) == STUDIES


def test_trials_are_filtered_by_state_params_and_number() -> None:
    assert numbers(TrialFilter(states=["COMPLETE"])) == [0, 2]
    assert numbers(TrialFilter(params=["backbone=alexnet"])) == [0, 1]
    assert numbers(TrialFilter(params=["backbone=alexnet", "lr = 1e-3"])) == [0]
    assert numbers(TrialFilter(limit=1)) == [0]


def test_studies_are_filtered_by_state_and_experiment() -> None:
    assert [one.name for one in StudyFilter(states=["COMPLETE"], experiment="pets").apply(STUDIES)] == ["b"]
    assert [one.name for one in StudyFilter(limit=2).apply(STUDIES)] == ["c", "b"]


@pytest.mark.parametrize(("condition", "message"), [("backbone", "KEY=VALUE"), ("backbon=vgg16", "backbone")])
def test_a_condition_that_is_none_is_refused_with_the_fix(condition: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        TrialFilter(params=[condition]).apply(TRIALS)
    with pytest.raises(DefinitionError, match="pets"):
        StudyFilter(experiment="pet").apply(STUDIES)


def test_the_command_line_offers_the_states_that_there_are() -> None:
    assert set(STATES) == set(TrialState.__members__)
