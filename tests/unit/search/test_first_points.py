"""What is tried before the sampler is asked: the definition's points, its baseline, a whole grid."""

from pathlib import Path

import pytest
from optuna.storages import InMemoryStorage

from study.definition import StudyDefinition, parse_definition
from study.search.advisor import Advisor
from study.search.first_points import Point, first_points

SPACE = """
head = { choices = ["append", "replace"] }
"optimizer.lr" = { low = 1e-4, high = 1e-1, log = true }
"optimizer.name" = { choices = ["adam", "sgd"] }
"optimizer.momentum" = { low = 0.8, high = 0.99, when = { "optimizer.name" = ["sgd"] } }
"""


def definition(search: str = "", space: str = SPACE, trial: str = "optimizer.lr = 0.01") -> StudyDefinition:
    text = f'name = "first"\ndata.generated = "instruments"\n[trial]\n{trial}\n[space]\n{space}\n[search]\n{search}\n'
    return parse_definition(text, Path("/somewhere/first.toml"))


def test_a_search_that_goes_by_results_begins_with_what_the_definition_fixes() -> None:
    asked = definition()
    assert first_points(asked) == [{"head": "replace", "optimizer.lr": 0.01, "optimizer.name": "adam"}]
    proposal = Advisor.create(asked, InMemoryStorage(), {}).ask()
    assert proposal is not None
    assert proposal.searched == first_points(asked)[0]


def test_a_condition_of_the_baseline_holds() -> None:
    (point,) = first_points(definition(trial='optimizer.name = "sgd"'))
    assert point["optimizer.momentum"] == 0.9


def test_what_the_space_does_not_hold_is_left_to_the_sampler() -> None:
    (point,) = first_points(definition(trial="optimizer.lr = 0.5"))
    assert "optimizer.lr" not in point
    assert not first_points(definition(space='head = { choices = ["append"] }'))


def test_points_of_the_definition_come_first_then_earlier_recipes_then_the_baseline() -> None:
    asked = definition('[[search.enqueue]]\nhead = "append"\n')
    own, baseline = first_points(asked)
    earlier: Point = {"head": "replace", "optimizer.lr": 0.03}
    assert own == {"head": "append"}
    assert baseline["optimizer.lr"] == 0.01
    assert first_points(asked, [earlier]) == [own, earlier, baseline]
    assert first_points(asked, [earlier, baseline]) == [own, earlier, baseline], "an earlier study began with it, too"


def test_a_baseline_that_is_a_point_of_the_definition_is_tried_once() -> None:
    enqueued = '[[search.enqueue]]\nhead = "replace"\n"optimizer.lr" = 0.01\n"optimizer.name" = "adam"\n'
    assert len(first_points(definition(enqueued))) == 1


@pytest.mark.parametrize("search", ["baseline = false", 'sampler = "random"', 'sampler = "qmc"'])
def test_a_fair_sample_of_the_space_and_who_asks_for_none_get_no_baseline(search: str) -> None:
    assert not first_points(definition(search))


def test_a_definition_from_before_baselines_and_screening_keeps_its_digest() -> None:
    text = 'name = "old"\ndata.generated = "instruments"\n[space]\nhead = { choices = ["replace", "append"] }\n'
    assert parse_definition(text, Path("/somewhere/old.toml")).digest == "cc91b6118f452360"
    assert definition("baseline = false").digest != definition().digest
