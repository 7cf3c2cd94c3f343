"""Optuna's samplers, pruners and storages from what a definition names."""

import inspect
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage as Storage
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.exc import NoSuchModuleError as NoSuchDriverError

from study.definition import PrunerDefinition, StudyDefinition
from study.errors import DefinitionError, SearchError, nearest

optuna.logging.set_verbosity(optuna.logging.WARNING)  # our own progress tells what Optuna would log a line a trial for

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
SAMPLERS: Mapping[str, Callable[..., BaseSampler]] = {
    "tpe": optuna.samplers.TPESampler,
    "random": optuna.samplers.RandomSampler,
    "grid": optuna.samplers.RandomSampler,  # the advisor enqueues the grid: GridSampler knows no conditions
    "gp": optuna.samplers.GPSampler,
    "cmaes": optuna.samplers.CmaEsSampler,
    "nsgaii": optuna.samplers.NSGAIISampler,
}
__all__ = ["PRUNERS", "SAMPLERS", "Storage", "build_pruner", "build_sampler", "is_fresh", "open_storage"]
QUIET_OPTIONS = {"warn_independent_sampling": False}  # categorical keys are sampled independently by gp and cmaes: known


def build_sampler(definition: StudyDefinition, num_asked: int) -> BaseSampler:
    """The definition's sampler, seeded anew for each driver: a resumed study must not repeat its first draws.

    Args:
        num_asked: trials that the study has already.
    """
    build = SAMPLERS[definition.search.sampler]
    quiet = {"gp", "cmaes"} & {definition.search.sampler}
    return build(seed=(definition.search.seed + num_asked) % 2**31, **(QUIET_OPTIONS if quiet else {}))


def build_pruner(pruner: PrunerDefinition, epochs: int) -> BasePruner:
    """The definition's pruner.

    Args:
        epochs: of a full trial; Hyperband's brackets are cut for it unless `max_resource` is given.
    Raises:
        DefinitionError: for an unknown name, an unknown option, or a value that the pruner refuses.
    """
    if pruner.name not in PRUNERS:
        raise DefinitionError(f"`search.pruner.name` is {pruner.name!r}, which is no pruner. {nearest(pruner.name, PRUNERS)}")
    options = dict(pruner.options)
    if pruner.name == "hyperband":
        options.setdefault("max_resource", epochs)
    if pruner.name == "patient":
        options.setdefault("wrapped_pruner", None)
    build = PRUNERS[pruner.name]
    known = [name for name in inspect.signature(build).parameters if name != "wrapped_pruner"]
    unknown = sorted(options.keys() - {"wrapped_pruner"} - set(known))
    if unknown:
        raise DefinitionError(f"`search.pruner.{unknown[0]}` is no option of {pruner.name}. {nearest(unknown[0], known)}")
    try:
        with warnings.catch_warnings():
            # Patient and Wilcoxon are marked experimental; the definition's author chose them by name.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            built = build(**options)
        _rehearse(built)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise DefinitionError(
            f"[search.pruner] options of {pruner.name} are refused: {error}. Change or add the option."
        ) from None
    return built


def _rehearse(pruner: BasePruner) -> None:
    """Asks the pruner once: Hyperband looks at its options only then, and an hour into a study is too late."""
    study = optuna.create_study(storage=optuna.storages.InMemoryStorage(), pruner=pruner)
    trial = study.ask()
    trial.report(0.5, step=1)
    trial.should_prune()


def open_storage(address: str) -> Storage:
    """Optuna's storage at a database URL, or in a journal file at a path.

    Raises:
        SearchError: if it cannot be opened.
    """
    if "://" not in address:
        return _open_journal(Path(address))
    try:
        return RDBStorage(address)
    except (OperationalError, ArgumentError, NoSuchDriverError, ImportError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise SearchError(
            f"STUDY_STORAGE must be a reachable database or a file, but {_without_password(address)} is not: {reason}. "
            f"Start the database, or mend the address."
        ) from None


def is_fresh(address: str) -> bool:
    """Whether the storage is a file that is not there yet: it holds no study, and asking it would make the file."""
    path = address.removeprefix("sqlite:///")
    return "://" not in path and not Path(path).exists()


def _open_journal(path: Path) -> Storage:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(path)))
    except OSError as error:
        raise SearchError(f"STUDY_STORAGE must be a writable file, but {path} is not: {error}. Use another folder.") from None


def _without_password(address: str) -> str:
    """The address as it may be printed."""
    scheme, _, rest = address.partition("://")
    return f"{scheme}://***@{rest.rpartition('@')[2]}" if "@" in rest else address
