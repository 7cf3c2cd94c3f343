"""The best trial's model: exported, drawn, registered, as champion or as challenger."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from study.data.examples import examples_of
from study.definition import StudyDefinition
from study.search.advisor import Outcome
from study.search.ranking import RankedRecipe, ranked_outcomes
from study.tracking.champions import seat
from study.tracking.figures import save_confusion, save_curves, save_scatter
from study.tracking.patience import Patience
from study.tracking.registry import CHALLENGER, CHAMPION, Registry
from study.tracking.tracker import Tracker
from study.training.evaluation import Evaluation
from study.tuning.preparation import PreparedStudy
from study.tuning.registered_trial import export_trial, register_trial

CURVES = ("loss", "accuracy", "balanced_accuracy", "macro_f1", "mae", "r2")
PATIENCE = Patience(600.0)  # as long as trials wait for MLflow (study/tuning/runner.py)


@dataclass(frozen=True)
class Winner:
    """The best recipe's best completed trial and its registered model.

    Attributes:
        metrics: on the validation split, by the names of a `Measurement`.
        chance: what a model that looks at no photo reaches on the objective.
        alias: `champion`; `challenger` where another version is champion, which only `study promote` replaces.
        recipe_mean: of the objective, over the folds and seeds on which the search compared recipes.
        num_repetitions: folds and seeds that this mean is over.
    """

    outcome: Outcome
    metrics: Mapping[str, float]
    chance: float
    folder: Path
    model_name: str
    model_version: str
    alias: str = CHAMPION
    recipe_mean: float | None = None
    num_repetitions: int = 1

    @property
    def model_uri(self) -> str:
        """What `study predict` and `mlflow.pyfunc.load_model` take."""
        return f"models:/{self.model_name}@{self.alias}"

    @property
    def next_command(self) -> str | None:
        """What decides whether a challenger becomes champion; None for a champion."""
        return f"study promote {self.model_name}" if self.alias == CHALLENGER else None

    @property
    def summary(self) -> dict[str, float]:
        """The parent run's figures."""
        assert self.outcome.value is not None, "a completed trial has a value"
        told = {"best_objective": self.outcome.value, "chance_objective": self.chance, "best_trial": float(self.outcome.number)}
        return told | ({"best_recipe_mean": self.recipe_mean} if self.is_repeated and self.recipe_mean is not None else {})

    @property
    def is_repeated(self) -> bool:
        """Whether the recipe was tried on several folds or with several seeds."""
        return self.num_repetitions > 1


def best_recipe(outcomes: Sequence[Outcome], definition: StudyDefinition) -> RankedRecipe[Outcome] | None:
    """The best recipe that keeps every constraint (study/search/ranking.py), with its trials; None where no trial completed.

    Its best trial's model is the one that is registered.
    """
    return next(iter(ranked_outcomes(outcomes, definition)), None)


def register_winner(
    prepared: PreparedStudy,
    outcomes: Sequence[Outcome],
    tracker: Tracker,
    parent_run_id: str,
    patience: Patience = PATIENCE,
) -> Winner | None:
    """Registers the model of the best recipe's best trial under the study's name; None where no trial completed.

    It becomes `champion` where there is none. Where there is one, a search is not enough to replace it: it becomes
    `challenger`, and `study promote` decides.

    Args:
        patience: for how long the registry is waited for.
    Raises:
        ModelError: if the rebuilt model does not repeat what its trial measured.
        TrackingError: if MLflow does not take it, or stays away: `study resume` goes on here.
    """
    definition = prepared.definition
    recipe = best_recipe(outcomes, definition)
    best = recipe.trials[0] if recipe is not None else None
    if recipe is None or best is None or best.run_id is None:
        return None
    folder = prepared.settings.study_folder(definition.name) / "champion"
    exported = export_trial(prepared, best, folder)
    _log_figures(tracker, prepared, best, parent_run_id, exported.measured)
    registry = Registry(prepared.settings.tracking_uri, patience)
    number = register_trial(prepared, exported, registry)
    alias = seat(registry, registry.version_at(f"models:/{definition.name}/{number}"))
    told = (folder, definition.name, number, alias, recipe.mean, recipe.num_repetitions)
    return Winner(best, exported.metrics, exported.chance, *told)


def _log_figures(tracker: Tracker, prepared: PreparedStudy, best: Outcome, parent_run_id: str, measured: Evaluation) -> None:
    """Confusion matrix (of numbers: predicted against true ones) and curves, on the winner's run and on the study's."""
    assert best.run_id is not None, "a completed trial has a run"
    folder = prepared.settings.study_folder(prepared.definition.name) / "figures"
    shutil.rmtree(folder, ignore_errors=True)
    title = f"{prepared.definition.name}, trial {best.number}: validation"
    if measured.confusion is not None:
        save_confusion(measured.confusion, prepared.data.classes, title, folder)
    else:
        examples = examples_of(prepared.data.with_fold(best.config.fold))
        assert examples.values is not None, "without classes there are numbers"
        true = examples.values[examples.val]
        save_scatter(np.exp(true) if prepared.data.is_log else true, measured.predictions, title, folder)
    curves = {name: tracker.history(best.run_id, name) for name in ("train_loss", *(f"val_{name}" for name in CURVES))}
    curves = {name: curve for name, curve in curves.items() if curve}
    objective = prepared.definition.objective
    pick = max if objective.is_maximized else min
    best_epoch, _ = pick(curves[objective.key], key=lambda point: point[1])
    save_curves(curves, best_epoch, f"{prepared.definition.name}, trial {best.number}", folder)
    for run_id in (best.run_id, parent_run_id):
        tracker.log_artifacts(run_id, folder, "figures")
