"""Recorded curves, and studies in simulated time."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study.definition import StudyDefinition, parse_definition
from study.errors import DataError
from study.search.simulator.curves import CurveTable, Recorded
from study.search.simulator.simulation import SimulatedStudy, Workers, simulate
from study.space import SearchSpace
from study.trial import TrialState
from tests.synthetic_curves import SyntheticCurves

EPOCHS = 6


def definition(search: str = "", objective: str = "", trials: int = 12) -> StudyDefinition:
    text = f"""
name = "simulated"
data.generated = "instruments"
trial.epochs = {EPOCHS}
[objective]
{objective}
[space]
backbone = {{ choices = ["alexnet", "resnet18"] }}
"optimizer.name" = {{ choices = ["adam", "sgd"] }}
"optimizer.lr" = {{ low = 1e-4, high = 1e-1, log = true }}
"optimizer.momentum" = {{ low = 0.8, high = 0.9, when = {{ "optimizer.name" = ["sgd"] }} }}
[search]
trials = {trials}
{search}
"""
    return parse_definition(text, Path("/somewhere/simulated.toml"))


def space() -> SearchSpace:
    return definition().space


def curves(seed: int = 1) -> SyntheticCurves:
    return SyntheticCurves(space(), EPOCHS, seed)


def run(workers: Workers, search: str = 'pruner = "none"', seed: int = 0, budget_s: float = float("inf")) -> SimulatedStudy:
    return simulate(definition(search), curves(), workers, seed, budget_s)


RECIPES = (
    {"backbone": "alexnet", "optimizer.name": "adam", "optimizer.lr": 1e-3},
    {"backbone": "alexnet", "optimizer.name": "sgd", "optimizer.lr": 1e-3, "optimizer.momentum": 0.85},
    {"backbone": "alexnet", "optimizer.name": "sgd", "optimizer.lr": 1e-1, "optimizer.momentum": 0.85},
)


def table() -> CurveTable:
    recorded = np.array([[[0.1, 0.2], [0.3, 0.4]], [[0.5, 0.6], [0.7, 0.9]], [[0.2, 0.2], [0.2, 0.2]]])
    return CurveTable(space(), RECIPES, recorded, np.array([1.0, 2.0, 3.0]), {"parameters_m": np.array([60.0, 61.0, 62.0])})


@pytest.mark.parametrize(
    ("searched", "nearest"),
    [
        (RECIPES[1], 1),
        ({"backbone": "alexnet", "optimizer.name": "adam", "optimizer.lr": 1e-1}, 0),  # categories come first
        ({"backbone": "alexnet", "optimizer.name": "sgd", "optimizer.lr": 2e-3, "optimizer.momentum": 0.9}, 1),
        ({"backbone": "alexnet", "optimizer.name": "sgd", "optimizer.lr": 5e-2, "optimizer.momentum": 0.9}, 2),
        ({"backbone": "resnet18", "optimizer.name": "adam", "optimizer.lr": 1e-3}, 0),
    ],
)
def test_a_recipe_is_answered_by_the_nearest_that_was_recorded(searched: dict[str, object], nearest: int) -> None:
    assert table().nearest(searched) == nearest


def test_a_table_says_what_each_recipe_is_worth_and_costs() -> None:
    assert table().best_quality == pytest.approx((0.6 + 0.9) / 2)
    recorded = table().of(RECIPES[1])
    assert (recorded.epoch_s, recorded.costs) == (2.0, {"parameters_m": 61.0})


def test_a_table_is_the_same_after_it_was_saved(tmp_path: Path) -> None:
    table().save(tmp_path / "curves.npz")
    loaded = CurveTable.load(tmp_path / "curves.npz", space())
    assert loaded.recipes == table().recipes
    assert (loaded.curves == table().curves).all()
    assert loaded.costs.keys() == {"parameters_m"}
    assert loaded.best_quality == table().best_quality


def test_a_file_that_holds_no_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "curves.npz").write_bytes(b"no table")
    with pytest.raises(DataError, match=r"must be an .npz that .* but .*curves\.npz is not"):
        CurveTable.load(tmp_path / "curves.npz", space())


def test_one_worker_takes_the_sum_of_its_trials_and_several_share_it() -> None:
    alone = run(Workers(num=1, start_s=2.0))
    assert alone.elapsed_s == alone.worked_s == 12 * (2.0 + EPOCHS)
    assert alone.num_epochs == 12 * EPOCHS
    shared = run(Workers(num=4, start_s=2.0))
    assert shared.elapsed_s == alone.elapsed_s / 4
    assert shared.worked_s == alone.worked_s


def test_the_same_seed_gives_the_same_study_and_another_seed_another() -> None:
    crashing = Workers(num=3, crashes_per_hour=100.0)
    first, second, other = (run(crashing, 'pruner = "hyperband"', seed) for seed in (5, 5, 6))
    assert first == second
    assert first != other


def test_the_incumbents_get_better_and_the_regret_smaller() -> None:
    study = run(Workers(num=2))
    values = [incumbent.value for incumbent in study.incumbents]
    assert values == sorted(values)
    assert study.regret_after(0.0) == float("inf")
    assert study.regret_after(study.worked_s) == study.regret == study.incumbents[-1].regret


def test_a_crashed_trial_goes_on_from_its_checkpoint_and_no_trial_is_lost_or_doubled() -> None:
    calm = run(Workers(num=2))
    crashing = run(Workers(num=2, crashes_per_hour=900.0, restart_s=5.0, checkpoint_epochs=3))
    assert crashing.num_crashes > 3
    assert crashing.num_epochs > calm.num_epochs
    assert crashing.elapsed_s > calm.elapsed_s
    assert [outcome.number for outcome in crashing.outcomes] == list(range(12))
    assert {outcome.state for outcome in crashing.outcomes} == {TrialState.COMPLETE}
    assert {outcome.num_epochs for outcome in crashing.outcomes} == {EPOCHS}


def test_crashes_change_when_trials_end_and_not_what_one_worker_is_proposed() -> None:
    calm, crashing = run(Workers(num=1)), run(Workers(num=1, crashes_per_hour=400.0))
    assert [outcome.searched for outcome in crashing.outcomes] == [outcome.searched for outcome in calm.outcomes]


def test_a_pruner_saves_epochs() -> None:
    study = run(Workers(num=2), 'pruner = "successive_halving"')
    assert study.num_epochs < 12 * EPOCHS
    assert {outcome.state for outcome in study.outcomes} == {TrialState.COMPLETE, TrialState.PRUNED}


def test_no_trial_begins_after_the_budget_is_used_up() -> None:
    study = run(Workers(num=1), budget_s=3.5 * EPOCHS)
    assert len(study.outcomes) == 4


def test_stop_rules_hold_in_simulated_time() -> None:
    study = run(Workers(num=1), f'pruner = "none"\n[search.stop]\nhours = {4 * EPOCHS / 3600}')
    assert len(study.outcomes) == 4
    assert study.stop_reason is not None


class Flat:
    """Curves of which only the backbone matters."""

    @property
    def best_quality(self) -> float:
        return 0.9

    def of(self, searched: Mapping[str, Any]) -> Recorded:
        height = 0.9 if searched["backbone"] == "resnet18" else 0.5
        return Recorded(np.full((3, EPOCHS), height), quality=height, epoch_s=1.0, costs={"parameters_m": 100 * height})


def test_a_repeated_recipe_costs_no_time() -> None:
    text = definition().text
    start, end = text.index("[space]"), text.index("[search]")
    repeating = text[:start] + '[space]\nbackbone = { choices = ["alexnet", "resnet18"] }\n' + text[end:]
    study = simulate(parse_definition(repeating, Path("/somewhere/a.toml")), Flat(), Workers(num=1), seed=0)
    assert study.num_repeats == 10
    assert study.num_epochs <= 2 * EPOCHS
    assert study.regret == 0


def test_an_infeasible_trial_is_no_incumbent() -> None:
    limited = definition('pruner = "none"', 'constraints = ["parameters_m <= 60"]')
    study = simulate(limited, Flat(), Workers(num=1), seed=0)
    assert {incumbent.value for incumbent in study.incumbents} == {0.5}


def test_among_equal_categories_the_number_that_matters_decides() -> None:
    rng = np.random.default_rng(0)
    rates, momenta = 10 ** rng.uniform(-4, -1, 200), rng.uniform(0.8, 0.9, 200)
    recipes = [
        {"backbone": "alexnet", "optimizer.name": "sgd", "optimizer.lr": float(rate), "optimizer.momentum": float(momentum)}
        for rate, momentum in zip(rates, momenta, strict=True)
    ]
    heights = np.log10(rates)[:, None, None] / -4
    recorded = CurveTable(space(), recipes, np.repeat(heights, EPOCHS, axis=2), np.ones(200))
    asked = {"backbone": "alexnet", "optimizer.name": "sgd", "optimizer.lr": 1e-2, "optimizer.momentum": 0.85}
    nearest = recipes[recorded.nearest(asked)]["optimizer.lr"]
    assert isinstance(nearest, float)
    assert 0.8e-2 < nearest < 1.25e-2
