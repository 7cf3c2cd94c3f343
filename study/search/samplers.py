"""Optuna's samplers from what a definition names."""

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import Trial

from study.definition import StudyDefinition
from study.errors import DefinitionError, nearest
from study.search.numbered_random import NumberedRandomSampler
from study.search.tree_parzen import TreeParzenSampler
from study.space import Choices, Distribution

SAMPLERS: Mapping[str, Callable[..., BaseSampler]] = {
    "tpe": TreeParzenSampler,
    "random": NumberedRandomSampler,
    "gp": optuna.samplers.GPSampler,
    "cmaes": optuna.samplers.CmaEsSampler,
    "nsgaii": optuna.samplers.NSGAIISampler,
    "qmc": optuna.samplers.QMCSampler,
    # The advisor hands these two their recipes (study/search/first_points.py): Optuna's own grid knows no conditions, and its
    # brute force builds a tree of all trials anew for each key of each trial.
    "grid": NumberedRandomSampler,
    "brute_force": NumberedRandomSampler,
}
# Options that are code, that another key of the definition decides, or that only quieten a warning.
NOT_IN_A_FILE = frozenset(
    {"seed", "gamma", "weights", "constraints_func", "independent_sampler", "mutation", "crossover", "x0", "source_trials"}
    | {"elite_population_selection_strategy", "child_generation_strategy", "after_trial_strategy"}
    | {"warn_independent_sampling", "warn_asynchronous_seeding", "consider_prior", "restart_strategy", "inc_popsize"}
)
# By key, where Optuna's own default is all keys at once: a tenth of a hundred trials says little about twelve keys together.
# After the work of 100 trials, the mean regret over 30 studies is 0.041 against 0.053 on recorded curves, with no pruner
# (tests/benchmarks/RESULTS.md, "Search").
PREFERRED: Mapping[str, Mapping[str, Any]] = {"tpe": {"multivariate": False}}
NUMERIC_ONLY = ("gp", "cmaes")  # these leave conditional keys to another sampler: TPE learns, where Optuna's default guesses
QUIET = ("gp", "cmaes", "qmc")
# Their proposals follow from the trial's number, or a place in a sequence that the storage keeps: a resumed study goes on as if
# it had never stopped.
NUMBERED = ("random", "grid", "brute_force", "qmc")
NUM_REHEARSED = 2  # trials; some samplers read their options in the second one only


def build_sampler(definition: StudyDefinition, num_asked: int) -> BaseSampler:
    """The definition's sampler. One that draws from a stream is seeded anew for each driver, not to repeat its first draws.

    Args:
        num_asked: trials that the study has already.
    Raises:
        DefinitionError: for an unknown option.
    """
    sampler = definition.search.sampler
    known = _known_options(sampler.name)
    unknown = sorted(sampler.options.keys() - set(known))
    if unknown:
        hint = nearest(unknown[0], known) if known else "It has none."
        raise DefinitionError(f"`search.sampler.{unknown[0]}` is no option of {sampler.name}. {hint}")
    seed = (definition.search.seed + (0 if sampler.name in NUMBERED else num_asked)) % 2**31
    preferred = {} if sampler.options.get("group") else PREFERRED.get(sampler.name, {})  # groups are of keys taken together
    options: dict[str, Any] = {"seed": seed, **preferred, **sampler.options}
    if sampler.name in QUIET:
        options["warn_independent_sampling"] = False
    try:
        with warnings.catch_warnings():
            # Experimental and ageing options alike: the definition's author chose them by name.
            warnings.simplefilter("ignore")
            if sampler.name in NUMERIC_ONLY:
                options["independent_sampler"] = TreeParzenSampler(seed=seed, multivariate=False)
            if sampler.name == "qmc":  # conditional keys are in no sequence
                options["independent_sampler"] = NumberedRandomSampler(seed)
            return SAMPLERS[sampler.name](**options)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise _refused(sampler.name, error) from None


def rehearse_sampler(definition: StudyDefinition) -> None:
    """Lets the sampler propose twice, in memory: a refusal an hour into a study is too late.

    Raises:
        DefinitionError: for an unknown option, or values that the sampler refuses.
    """
    sampler = build_sampler(definition, num_asked=0)
    directions = [StudyDirection.MINIMIZE] * (2 if definition.objective.cost else 1)
    study = optuna.create_study(storage=optuna.storages.InMemoryStorage(), sampler=sampler, directions=directions)
    try:
        for value in range(NUM_REHEARSED):
            trial = study.ask()
            suggest(trial, definition)
            study.tell(trial, [float(value)] * len(directions))
    except (TypeError, ValueError, ArithmeticError) as error:
        raise _refused(definition.search.sampler.name, error) from None


def suggest(trial: Trial, definition: StudyDefinition) -> dict[str, Any]:
    """The sampler's values for every key whose condition holds, by dotted key."""
    values = definition.fixed_values
    searched: dict[str, Any] = {}
    for key, distribution in definition.space.items():
        if definition.space.is_active(key, values):
            searched[key] = values[key] = _suggest_one(trial, key, distribution)
    return searched


def optuna_distribution(distribution: Distribution) -> BaseDistribution:
    """A distribution in Optuna's words."""
    if isinstance(distribution, Choices):
        return CategoricalDistribution(distribution.choices)
    low, high, step, log = distribution.low, distribution.high, distribution.step, distribution.log
    if distribution.is_integer:
        return IntDistribution(int(low), int(high), step=int(step or 1), log=log)
    return FloatDistribution(low, high, step=step, log=log)


def _suggest_one(trial: Trial, key: str, distribution: Distribution) -> Any:
    if isinstance(distribution, Choices):
        return trial.suggest_categorical(key, distribution.choices)
    low, high, step, log = distribution.low, distribution.high, distribution.step, distribution.log
    if distribution.is_integer:
        return trial.suggest_int(key, int(low), int(high), step=int(step or 1), log=log)
    return trial.suggest_float(key, low, high, step=step, log=log)


def _known_options(name: str) -> list[str]:
    return sorted(set(inspect.signature(SAMPLERS[name]).parameters) - NOT_IN_A_FILE)


def _refused(name: str, error: Exception) -> DefinitionError:
    reason = str(error).splitlines()[0]
    return DefinitionError(
        f"[search.sampler] {name} is refused: {reason.rstrip('.')}. Change the option, or use another sampler."
    )
