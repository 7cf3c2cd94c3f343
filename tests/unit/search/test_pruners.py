"""Pruners from a definition, and the epochs at which they can act, held against Optuna's own."""

import warnings
from pathlib import Path

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages import InMemoryStorage

from study.definition import PrunerDefinition, StudyDefinition, parse_definition
from study.errors import DefinitionError
from study.search.pruners import PRUNERS, build_pruner, can_prune_at, most_epochs

EPOCHS = 14
OPTIONS = st.one_of(
    st.builds(
        lambda name, **options: {"name": name, **options},
        st.just("median"),
        n_startup_trials=st.integers(0, 2),
        n_warmup_steps=st.integers(0, 6),
        interval_steps=st.integers(1, 5),
    ),
    st.builds(
        lambda **options: {"name": "percentile", "percentile": 60.0, "n_startup_trials": 0, **options},
        n_warmup_steps=st.integers(0, 6),
        interval_steps=st.integers(1, 5),
    ),
    st.builds(
        lambda **options: {"name": "threshold", "lower": 0.6, **options},
        n_warmup_steps=st.integers(0, 6),
        interval_steps=st.integers(1, 5),
    ),
    st.builds(
        lambda **options: {"name": "successive_halving", **options},
        min_resource=st.one_of(st.just("auto"), st.integers(1, 4)),
        reduction_factor=st.integers(2, 4),
        min_early_stopping_rate=st.integers(0, 2),
    ),
    st.builds(
        lambda **options: {"name": "hyperband", **options}, min_resource=st.integers(1, 4), reduction_factor=st.integers(2, 4)
    ),
    st.builds(
        lambda **options: {"name": "patient", **options},
        patience=st.integers(0, 4),
        wrapped_pruner=st.sampled_from(
            [
                "none",
                "successive_halving",
                {"name": "threshold", "lower": 0.9, "n_warmup_steps": 3, "interval_steps": 3},
                {"name": "hyperband", "min_resource": 2},
            ]
        ),
    ),
    st.builds(lambda **options: {"name": "wilcoxon", **options}, n_startup_steps=st.integers(0, 6), p_threshold=st.just(0.5)),
)


@pytest.mark.parametrize("name", PRUNERS)
def test_every_pruner_is_among_those_that_are_held_against_optuna(name: str) -> None:
    assert name in {"none", "median", "percentile", "threshold", "successive_halving", "hyperband", "patient", "wilcoxon"}


@settings(max_examples=60, deadline=None)
@given(options=OPTIONS, seed=st.integers(0, 10_000))
def test_no_trial_is_pruned_at_an_epoch_that_was_said_to_be_safe(options: dict[str, object], seed: int) -> None:
    definition = PrunerDefinition.model_validate(options)
    study = optuna.create_study(
        storage=InMemoryStorage(),
        study_name=f"study{seed}",  # Hyperband draws a trial's bracket from it
        direction="maximize",
        pruner=build_pruner(definition, EPOCHS),
    )
    values = optuna.samplers.RandomSampler(seed=seed)._rng.rng.uniform(size=(8, EPOCHS))
    for curve in values:
        trial = study.ask()
        for epoch, value in enumerate(curve, start=1):
            trial.report(float(value), step=epoch)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Wilcoxon's, of epochs that the best trial lacks
                is_pruned = trial.should_prune()
            if is_pruned:
                assert can_prune_at(definition, EPOCHS, epoch)
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, float(curve.max()))


@pytest.mark.parametrize(
    ("options", "epochs"),
    [
        ({"name": "none"}, []),
        ({"name": "median"}, list(range(7, 15))),  # by default after half of the epochs
        ({"name": "percentile", "percentile": 25.0}, list(range(7, 15))),
        ({"name": "median", "n_warmup_steps": 0}, list(range(1, 15))),
        ({"name": "median", "n_warmup_steps": 3, "interval_steps": 4}, [3, 7, 11]),
        ({"name": "percentile", "percentile": 25.0, "n_warmup_steps": 0, "interval_steps": 5}, [1, 5, 10]),
        ({"name": "successive_halving"}, [1, 4]),
        ({"name": "successive_halving", "min_resource": 2, "reduction_factor": 3}, [2, 6]),
        ({"name": "hyperband", "min_resource": 1, "reduction_factor": 3}, [1, 3, 9]),
        ({"name": "patient", "patience": 9}, [11, 12, 13, 14]),
        ({"name": "wilcoxon", "n_startup_steps": 12}, [12, 13, 14]),
    ],
)
def test_reports_are_needed_at_these_epochs_only(options: dict[str, object], epochs: list[int]) -> None:
    definition = PrunerDefinition.model_validate(options)
    assert [epoch for epoch in range(1, EPOCHS + 1) if can_prune_at(definition, EPOCHS, epoch)] == epochs


def test_a_patient_pruner_that_wraps_nothing_known_is_refused() -> None:
    with pytest.raises(DefinitionError, match="no pruner. Did you mean `median`"):
        build_pruner(PrunerDefinition.model_validate({"name": "patient", "patience": 2, "wrapped_pruner": "medan"}), EPOCHS)
    with pytest.raises(DefinitionError, match="`search.pruner.wrapped_pruner` must be a pruner, but is 3"):
        build_pruner(PrunerDefinition.model_validate({"name": "patient", "patience": 2, "wrapped_pruner": 3}), EPOCHS)


def _definition(epochs: str) -> StudyDefinition:
    space = f"[space]\n{epochs}dropout = {{ low = 0.0, high = 0.5 }}\n"
    text = f'name = "a"\ndata.generated = "instruments"\ntrial.epochs = 9\n{space}'
    return parse_definition(text, Path("/somewhere/a.toml"))


@pytest.mark.parametrize(
    ("searched", "expected"), [("", 9), ("epochs = { choices = [3, 20, 5] }\n", 20), ("epochs = { low = 2, high = 12 }\n", 12)]
)
def test_rungs_are_cut_for_the_longest_trial(searched: str, expected: int) -> None:
    assert most_epochs(_definition(searched)) == expected
