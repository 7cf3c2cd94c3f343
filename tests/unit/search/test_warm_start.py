"""What earlier studies found, as recipes of this study's space."""

from pathlib import Path
from typing import Literal

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.storages import InMemoryStorage

from study.definition import StudyDefinition, parse_definition
from study.search.first_points import first_points
from study.search.warm_start import earlier_recipes

TEXT = """
name = "present"
data.generated = "instruments"
[space]
backbone = { choices = ["alexnet", "resnet18"] }
"optimizer.lr" = { low = 1e-4, high = 1e-1, log = true }
"optimizer.momentum" = { low = 0.5, high = 0.95, when = { backbone = ["alexnet"] } }
[search]
warm_start = ["earlier"]
"""
RATES = FloatDistribution(1e-6, 1.0, log=True)


def definition(text: str = TEXT) -> StudyDefinition:
    return parse_definition(text, Path("/somewhere/present.toml"))


def earlier_study(
    storage: InMemoryStorage,
    results: list[tuple[float, float]],
    direction: Literal["minimize", "maximize"] = "maximize",
    name: str = "earlier",
) -> optuna.Study:
    """An earlier study of learning rates and values."""
    study = optuna.create_study(study_name=name, storage=storage, direction=direction)
    for rate, value in results:
        params = {"backbone": "resnet18", "optimizer.lr": rate}
        distributions = {"backbone": CategoricalDistribution(["resnet18", "vgg16"]), "optimizer.lr": RATES}
        study.add_trial(optuna.trial.create_trial(value=value, params=params, distributions=distributions))
    return study


def test_trials_whose_values_have_no_place_in_the_space_are_left_out() -> None:
    storage = InMemoryStorage()
    study = earlier_study(storage, [(1e-2, 0.5), (1e-5, 0.9)])
    study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL))
    assert [recipe["optimizer.lr"] for recipe in earlier_recipes(definition(), storage)] == [1e-2]


def test_a_key_that_was_fixed_then_has_the_value_that_it_was_fixed_at() -> None:
    storage = InMemoryStorage()
    study = earlier_study(storage, [(1e-2, 0.5)])
    text = TEXT.replace("present", "earlier").replace("[space]", "trial.optimizer.momentum = 0.6\n[space]")
    study.set_user_attr("definition", text)
    study.set_user_attr("file", "/somewhere/earlier.toml")
    study.add_trial(
        optuna.trial.create_trial(
            value=1.0,
            params={"backbone": "alexnet", "optimizer.lr": 1e-3},
            distributions={"backbone": CategoricalDistribution(["alexnet"]), "optimizer.lr": RATES},
        )
    )
    assert earlier_recipes(definition(), storage)[0] == {"backbone": "alexnet", "optimizer.lr": 1e-3, "optimizer.momentum": 0.6}


@pytest.mark.parametrize(("direction", "rates"), [("maximize", [1e-2, 3e-2, 1e-3]), ("minimize", [2e-2, 1e-3, 3e-2])])
def test_the_best_come_first_whichever_way_is_better(direction: Literal["minimize", "maximize"], rates: list[float]) -> None:
    storage = InMemoryStorage()
    earlier_study(storage, [(1e-3, 10.0), (1e-2, 30.0), (2e-2, 5.0), (3e-2, 20.0)], direction)
    assert [recipe["optimizer.lr"] for recipe in earlier_recipes(definition(), storage)] == rates


def test_a_recipe_that_broke_a_constraint_is_not_tried() -> None:
    storage = InMemoryStorage()
    study = earlier_study(storage, [(1e-3, 10.0)])
    params = {"backbone": "resnet18", "optimizer.lr": 1e-2}
    distributions = {"backbone": CategoricalDistribution(["resnet18", "vgg16"]), "optimizer.lr": RATES}
    too_large = optuna.trial.create_trial(value=99.0, params=params, distributions=distributions, constraints={"size": 1.0})
    study.add_trial(too_large)
    assert [recipe["optimizer.lr"] for recipe in earlier_recipes(definition(), storage)] == [1e-3]


def test_several_studies_take_turns_and_a_recipe_is_tried_once() -> None:
    storage = InMemoryStorage()
    earlier_study(storage, [(1e-3, 1.0), (2e-3, 2.0)])
    earlier_study(storage, [(2e-3, 0.9), (3e-3, 0.8)], name="other")
    text = TEXT.replace('["earlier"]', '["earlier", "other"]')
    assert [recipe["optimizer.lr"] for recipe in earlier_recipes(definition(text), storage)] == [2e-3, 1e-3, 3e-3]


def test_points_of_the_definition_come_before_those_of_earlier_studies() -> None:
    points = definition(TEXT + "[[search.enqueue]]\noptimizer.lr = 0.05\n")
    assert first_points(points, [{"optimizer.lr": 0.01}])[:2] == [{"optimizer.lr": 0.05}, {"optimizer.lr": 0.01}]


def test_in_a_grid_what_an_earlier_study_found_comes_first() -> None:
    text = TEXT.replace("low = 1e-4, high = 1e-1, log = true", "choices = [0.01, 0.02, 0.05]")
    text = text.replace("low = 0.5, high = 0.95", "choices = [0.9]") + 'sampler = "grid"\n'
    points = first_points(definition(text), [{"backbone": "resnet18", "optimizer.lr": 0.05}])
    assert len(points) == 6
    assert points[0] == {"backbone": "resnet18", "optimizer.lr": 0.05}
