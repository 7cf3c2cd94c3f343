"""Optuna's pruners from what a definition names, and the epochs at which each can act."""

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.pruners import BasePruner
from pydantic import ValidationError

from study.definition import PrunerDefinition, StudyDefinition
from study.errors import DefinitionError, nearest
from study.space import Choices

PRUNERS: Mapping[str, Callable[..., BasePruner]] = {
    "none": optuna.pruners.NopPruner,
    "median": optuna.pruners.MedianPruner,
    "percentile": optuna.pruners.PercentilePruner,
    "successive_halving": optuna.pruners.SuccessiveHalvingPruner,
    "hyperband": optuna.pruners.HyperbandPruner,
    "patient": optuna.pruners.PatientPruner,
    "threshold": optuna.pruners.ThresholdPruner,
    "wilcoxon": optuna.pruners.WilcoxonPruner,
}
HALVING = ("successive_halving", "hyperband")  # these act where a trial reaches a rung
# Optuna would have these judge from the first epoch on. Among the best fifth of recorded trials, the rank correlation with what
# a recipe is worth is 0.14 after a quarter of the epochs, and 0.36 after a half (tests/benchmarks/RESULTS.md, "Search").
AFTER_HALF = ("median", "percentile")


def most_epochs(definition: StudyDefinition) -> int:
    """Epochs of the longest trial that the definition allows."""
    searched = definition.space.parameters.get("epochs")
    if searched is None:
        return definition.trial.epochs
    values = searched.choices if isinstance(searched, Choices) else (searched.high,)
    return max(int(value) for value in values)


def build_pruner(pruner: PrunerDefinition, epochs: int) -> BasePruner:
    """The definition's pruner, tried once.

    Args:
        epochs: of a full trial; the rungs of `hyperband` and `successive_halving` are cut for it unless they are given.
    Raises:
        DefinitionError: for an unknown name, an unknown option, or a value that the pruner refuses.
    """
    options = _settled_options(pruner, epochs)
    if pruner.name == "patient" and options["wrapped_pruner"] is not None:
        options["wrapped_pruner"] = build_pruner(options["wrapped_pruner"], epochs)
    try:
        with warnings.catch_warnings():
            # Patient and Wilcoxon are marked experimental; the definition's author chose them by name.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            built = PRUNERS[pruner.name](**options)
        _rehearse(built)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise DefinitionError(
            f"[search.pruner] options of {pruner.name} are refused: {error}. Change or add the option."
        ) from None
    return built


def can_prune_at(pruner: PrunerDefinition, epochs: int, epoch: int) -> bool:
    """Whether the pruner can stop a trial whose epochs 1 to `epoch` are all reported.

    Args:
        epochs: of a full trial, as for `build_pruner`.
    """
    options = _settled_options(pruner, epochs)
    match pruner.name:
        case "none":
            return False
        case "successive_halving" | "hyperband":
            first_rung, factor = _rungs(pruner.name, options)
            return _is_rung(epoch, first_rung, factor)
        case "patient":
            return epoch >= int(options["patience"]) + 2 and _can_wrapped_act(options["wrapped_pruner"], epochs, epoch)
        case "wilcoxon":
            return epoch >= max(2, int(options["n_startup_steps"]))
    # Median, percentile, threshold: at the first report of each interval, and the first of all is one whatever the interval.
    warmup: int = options["n_warmup_steps"]
    interval: int = options["interval_steps"]
    return epoch >= warmup and (epoch == 1 or (epoch - warmup) % interval == 0)


def _can_wrapped_act(wrapped: PrunerDefinition | None, epochs: int, epoch: int) -> bool:
    """A rung that a trial passed while patience lasted is judged when patience is at its end: at any epoch after it."""
    if wrapped is None:
        return True
    if wrapped.name in HALVING:
        return epoch >= _rungs(wrapped.name, _settled_options(wrapped, epochs))[0]
    return can_prune_at(wrapped, epochs, epoch)


def _rungs(name: str, options: Mapping[str, Any]) -> tuple[int, int]:
    """The first rung's epoch, and the factor from one rung to the next; Hyperband's brackets share one ladder."""
    factor = options["reduction_factor"]
    skipped = options["min_early_stopping_rate"] if name == "successive_halving" else 0
    return options["min_resource"] * factor**skipped, factor


def _is_rung(epoch: int, first: int, factor: int) -> bool:
    rung = first
    while rung < epoch:
        rung *= factor
    return rung == epoch


def _settled_options(pruner: PrunerDefinition, epochs: int) -> dict[str, Any]:
    """Every option of the pruner with the value that holds.

    Raises:
        DefinitionError: for an unknown name or option, or where one that is required is missing.
    """
    if pruner.name not in PRUNERS:
        raise DefinitionError(f"`search.pruner.name` is {pruner.name!r}, which is no pruner. {nearest(pruner.name, PRUNERS)}")
    known = inspect.signature(PRUNERS[pruner.name])
    options = pruner.options
    unknown = sorted(options.keys() - known.parameters.keys())
    if unknown:
        raise DefinitionError(
            f"`search.pruner.{unknown[0]}` is no option of {pruner.name}. {nearest(unknown[0], known.parameters)}"
        )
    if pruner.name == "patient":
        options["wrapped_pruner"] = _wrapped(options.get("wrapped_pruner"))
    if pruner.name == "hyperband":
        options.setdefault("max_resource", epochs)
    if pruner.name in AFTER_HALF:
        options.setdefault("n_warmup_steps", epochs // 2)
    if pruner.name == "successive_halving" and options.get("min_resource", "auto") == "auto":
        options["min_resource"] = max(epochs // 100, 1)  # what "auto" becomes in Optuna once a trial has all its epochs
    try:
        bound = known.bind(**options)
    except TypeError as error:
        raise DefinitionError(
            f"[search.pruner] options of {pruner.name} are refused: {error}. Change or add the option."
        ) from None
    bound.apply_defaults()
    return dict(bound.arguments)


def _wrapped(written: Any) -> PrunerDefinition | None:
    """`wrapped_pruner` of a patient pruner: None, a name, or a table with a name and options."""
    try:
        return None if written in (None, "none") else PrunerDefinition.model_validate(written)
    except ValidationError:
        raise DefinitionError(
            f"`search.pruner.wrapped_pruner` must be a pruner, but is {written!r}. Write a name, or {{ name = ..., options }}."
        ) from None


def _rehearse(pruner: BasePruner) -> None:
    """Asks the pruner once: Hyperband looks at its options only then, and an hour into a study is too late."""
    study = optuna.create_study(storage=optuna.storages.InMemoryStorage(), pruner=pruner)
    trial = study.ask()
    trial.report(0.5, step=1)
    trial.should_prune()
