"""Our TPE beside Optuna's own."""

from pathlib import Path
from typing import Any
from unittest.mock import patch

import optuna
import pytest
from optuna.samplers import TPESampler
from optuna.samplers._tpe import sampler

from study.definition import StudyDefinition, parse_definition
from study.search import tree_parzen
from study.search.samplers import suggest
from study.search.tree_parzen import TreeParzenSampler


def definition() -> StudyDefinition:
    text = """
name = "parzen"
data.generated = "instruments"
[space]
backbone = { choices = ["alexnet", "vgg16", "resnet18"] }
"optimizer.name" = { choices = ["adam", "sgd"] }
"optimizer.lr" = { low = 1e-5, high = 1e-1, log = true }
"optimizer.momentum" = { low = 0.8, high = 0.99, when = { "optimizer.name" = ["sgd"] } }
batch_size = { low = 16, high = 128, step = 16 }
"""
    return parse_definition(text, Path("/somewhere/parzen.toml"))


def proposed(proposing: TPESampler, num_objectives: int, num_trials: int = 30) -> list[dict[str, Any]]:
    """By two workers: one trial runs while the next is proposed. Some are pruned, some fail, some break a constraint."""
    study = optuna.create_study(directions=["maximize"] * num_objectives, sampler=proposing)
    values = optuna.samplers.RandomSampler(seed=3)._rng.rng.uniform(size=(num_trials, num_objectives))
    proposals, running = list[dict[str, Any]](), list[optuna.Trial]()
    for number in range(num_trials):
        running.append(study.ask())
        proposals.append(suggest(running[-1], definition()))
        if number % 2:
            trial = running.pop(0)
            if number % 3 == 0 and num_objectives == 1:
                trial.report(float(values[number, 0]), step=number % 4)
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            elif number % 5 == 0:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                trial.set_constraint("size", float(values[number, 0]) - 0.8)
                study.tell(trial, values[number].tolist())
    return proposals


@pytest.mark.parametrize("num_objectives", [1, 2])
@pytest.mark.parametrize("options", [{}, {"multivariate": False}, {"multivariate": False, "constant_liar": False}])
def test_the_same_is_proposed_as_by_optunas_own(options: dict[str, Any], num_objectives: int) -> None:
    options = {"seed": 5, "n_startup_trials": 6, **options}
    assert proposed(TreeParzenSampler(**options), num_objectives) == proposed(TPESampler(**options), num_objectives)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_the_same_is_proposed_by_groups() -> None:
    assert proposed(TreeParzenSampler(seed=5, group=True), 1) == proposed(TPESampler(seed=5, group=True), 1)


def test_the_study_is_sorted_once_a_trial() -> None:
    with patch.object(tree_parzen, "_split_trials", wraps=sampler._split_trials) as split:
        proposed(TreeParzenSampler(seed=5, n_startup_trials=2, multivariate=False), 1, num_trials=20)
    assert 10 <= split.call_count <= 20


def test_beneath_a_sampler_that_leaves_it_some_keys_it_goes_on_learning() -> None:
    beneath = TreeParzenSampler(seed=0, multivariate=False, n_startup_trials=5)
    cmaes = optuna.samplers.CmaEsSampler(seed=0, independent_sampler=beneath, warn_independent_sampling=False)
    study = optuna.create_study(sampler=cmaes)
    with patch.object(
        TreeParzenSampler, "_sorted_trials", autospec=True, side_effect=TreeParzenSampler._sorted_trials
    ) as split:
        for value in range(20):
            asked = study.ask()
            suggest(asked, definition())
            study.tell(asked, float(value))
    assert split.call_count >= 14
