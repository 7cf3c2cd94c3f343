"""Searched keys as factors: which trial has which level."""

from typing import Any

import pytest

from study.analysis.factors import factors_of, format_value

from .evidence_of import definition, evidence, trial


def test_choices_are_levels_and_a_number_falls_into_a_third_of_its_own_scale() -> None:
    searched = [
        {"head": head, "optimizer.name": "adam", "optimizer.lr": rate}
        for head, rate in (("append", 1e-4), ("replace", 5e-4), ("append", 2e-3), ("append", 1e-1))
    ]
    trials = [trial(number, 0.5, one) for number, one in enumerate(searched)]
    factors = {factor.key: factor for factor in factors_of([evidence(trials)], trials)}
    assert list(factors["head"].codes) == [1, 0, 1, 1]
    assert factors["optimizer.lr"].levels == ("1e-4 to 0.001", "0.001 to 0.01", "0.01 to 0.1")
    assert list(factors["optimizer.lr"].codes) == [0, 0, 1, 2]
    places = factors["optimizer.lr"].places
    assert places is not None
    assert places[0] == -0.5
    assert abs(places[1] - 0.19897) < 1e-4  # log10(5) - 0.5


def test_a_conditional_key_is_a_factor_only_of_trials_that_have_it() -> None:
    searched: list[dict[str, Any]] = [{"optimizer.name": "adam"}, {"optimizer.name": "sgd", "optimizer.momentum": 0.89}]
    trials = [trial(number, 0.5, {"head": "append", "optimizer.lr": 1e-3, **one}) for number, one in enumerate(searched)]
    factors = {factor.key: factor for factor in factors_of([evidence(trials)], trials)}
    assert list(factors["optimizer.momentum"].codes) == [-1, 2]


def test_a_range_of_few_steps_is_taken_value_by_value() -> None:
    study = definition("freeze_depth = { low = 0.0, high = 1.0, step = 0.25 }\nbatch_size = { low = 16, high = 64, step = 16 }")
    trials = [trial(0, 0.5, {"freeze_depth": 0.75, "batch_size": 64}), trial(1, 0.5, {"freeze_depth": 0.0, "batch_size": 16})]
    depth, batch = factors_of([evidence(trials, study)], trials)
    assert depth.levels == ("0", "0.25", "0.5", "0.75", "1")
    assert list(depth.codes) == [3, 0]
    assert list(batch.codes) == [3, 0]


def test_choices_of_several_studies_are_put_together_and_a_fixed_value_counts_as_a_level() -> None:
    one, two = (
        definition('head = { choices = ["append", "replace"] }\nbackbone = { choices = ["alexnet", "vgg16"] }', name="one"),
        (definition('head = { choices = ["append", "replace"] }', name="two")),
    )
    trials = [
        trial(0, 0.5, {"head": "append", "backbone": "vgg16"}, study="one"),
        trial(0, 0.5, {"head": "replace"}, study="two", recipe={"head": "replace", "backbone": "vgg16"}),
        trial(1, 0.5, {"head": "replace"}, study="two", recipe={"head": "replace", "backbone": "resnet18"}),
    ]
    factors = {factor.key: factor for factor in factors_of([evidence(trials[:1], one), evidence(trials[1:], two)], trials)}
    assert list(factors["head"].codes) == [0, 1, 1]
    assert list(factors["backbone"].codes) == [1, 1, -1]


def test_numbers_are_written_as_people_do() -> None:
    assert [format_value(value) for value in (1e-4, 0.001, 0.5, 64, True, 2.2e-05)] == [
        "1e-4",
        "0.001",
        "0.5",
        "64",
        "true",
        "2.2e-5",
    ]


RATE = '"optimizer.lr"'


def in_two_studies(spaces: tuple[str, str], values: tuple[Any, Any], key: str) -> Any:
    """The factor `key` of two trials, one of each study."""
    one, two = (definition(space, name=name) for space, name in zip(spaces, ("one", "two"), strict=True))
    trials = [trial(0, 0.5, {key: value}, study=name) for value, name in zip(values, ("one", "two"), strict=True)]
    factors = factors_of([evidence(trials[:1], one), evidence(trials[1:], two)], trials)
    return next(factor for factor in factors if factor.key == key)


@pytest.mark.parametrize(
    ("spaces", "values", "codes"),
    [
        (("dropout = { low = 0.0, high = 0.3 }", "dropout = { low = 0.3, high = 0.6 }"), (0.1, 0.5), [0, 2]),
        (("dropout = { low = 0.0, high = 0.4, step = 0.1 }", "dropout = { low = 0.05, high = 0.6 }"), (0.3, 0.55), [1, 2]),
        (
            ("dropout = { low = 0.0, high = 0.4, step = 0.2 }", "dropout = { low = 0.1, high = 0.5, step = 0.2 }"),
            (0.4, 0.1),
            [2, 0],
        ),
        (("dropout = { choices = [0.0, 0.5] }", "dropout = { low = 0.1, high = 0.6 }"), (0.0, 0.6), [0, 2]),
        (("batch_size = { low = 8, high = 32, step = 8 }", "batch_size = { choices = [12, 128] }"), (24, 128), [0, 2]),
        (
            ('"optimizer.lr" = { low = 1e-5, high = 1e-3, log = true }', '"optimizer.lr" = { choices = [0.1] }'),
            (1e-4, 0.1),
            [0, 2],
        ),
    ],
)
def test_what_several_studies_search_of_a_number_is_one_range(
    spaces: tuple[str, str], values: tuple[Any, Any], codes: list[int]
) -> None:
    factor = in_two_studies(spaces, values, next(iter(definition(spaces[0]).space.parameters)))
    assert list(factor.codes) == codes
    assert factor.outside == {}


def test_a_value_that_no_study_searches_is_kept_as_such() -> None:
    one, two = definition('backbone = { choices = ["alexnet", "vgg16"] }', name="one"), definition(name="two")
    trials = [
        trial(0, 0.5, {"backbone": "vgg16"}, study="one"),
        trial(0, 0.5, {"head": "append"}, study="two", recipe={"head": "append", "backbone": "resnet18"}),
        trial(1, 0.5, {"head": "append"}, study="two", recipe={"head": "append"}),
    ]
    factors = {factor.key: factor for factor in factors_of([evidence(trials[:1], one), evidence(trials[1:], two)], trials)}
    assert factors["backbone"].outside == {1: "resnet18"}
    assert factors["optimizer.lr"].outside == {}
