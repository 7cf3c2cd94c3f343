"""The best trial's model: rebuilt, measured again, drawn, exported, registered as champion."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

import study
from study.data.examples import examples_of
from study.data.study_data import StudyData
from study.definition import Objective
from study.errors import ModelError
from study.models.classifier import Classifier
from study.models.exported import ModelContract, TargetScale, load_exported, save_exported
from study.models.normalization import make_normalizer
from study.search.advisor import Outcome
from study.search.outcomes import is_candidate
from study.tracking.figures import save_confusion, save_curves, save_scatter
from study.tracking.registry import register_model, registered_versions, set_alias
from study.tracking.tracker import Tracker
from study.training.evaluation import Evaluation, evaluate_split
from study.training.targets import training_moments
from study.tuning.chance import chance_level
from study.tuning.preparation import PreparedStudy
from study.tuning.trial_files import rebuild_trained, weights_file

WEIGHTS_TAG = "study.weights_digest"
CURVES = ("loss", "accuracy", "balanced_accuracy", "macro_f1", "mae", "r2")
# Between the trial's own measurement and this one lie another machine or batch size: rounding, not another model. Of a share
# it is so much, of a number beyond 1 (an MAE in dollars) that share of it.
MAX_REBUILD_DIFFERENCE = 0.02


@dataclass(frozen=True)
class Winner:
    """The best completed trial and its registered model.

    Attributes:
        metrics: on the validation split, by the names of a `Measurement`.
        chance: what a model that looks at no photo reaches on the objective.
    """

    outcome: Outcome
    metrics: Mapping[str, float]
    chance: float
    folder: Path
    model_name: str
    model_version: str

    @property
    def model_uri(self) -> str:
        """What `study predict` and `mlflow.pyfunc.load_model` take."""
        return f"models:/{self.model_name}@champion"

    @property
    def summary(self) -> dict[str, float]:
        """The parent run's figures."""
        assert self.outcome.value is not None, "a completed trial has a value"
        return {"best_objective": self.outcome.value, "chance_objective": self.chance, "best_trial": float(self.outcome.number)}


def best_outcome(outcomes: Sequence[Outcome], objective: Objective) -> Outcome | None:
    """The completed trial with the best objective that keeps every constraint, the earlier of equals; None where none does."""
    completed = [outcome for outcome in outcomes if is_candidate(outcome)]
    sign = -1 if objective.is_maximized else 1
    return min(completed, key=lambda outcome: (sign * (outcome.value or 0.0), outcome.number), default=None)


def register_winner(
    prepared: PreparedStudy, outcomes: Sequence[Outcome], tracker: Tracker, parent_run_id: str
) -> Winner | None:
    """Registers the best completed trial's model under the study's name, alias `champion`; None where none completed.

    Raises:
        ModelError: if the rebuilt model does not repeat what its trial measured.
        TrackingError: if MLflow does not take it.
    """
    definition = prepared.definition
    best = best_outcome(outcomes, definition.objective)
    if best is None or best.value is None or best.run_id is None:
        return None
    data = prepared.data.with_fold(best.config.fold)
    output_folder = prepared.settings.study_folder(definition.name)
    weights = prepared.weights_of(best.config)
    model = rebuild_trained(best.config, data, weights, weights_file(output_folder, best.number))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    measured = evaluate_split(model, data, "val", normalization=best.config.normalization, device=device)
    metrics = measured.named("val")
    _require_same(metrics[definition.objective.key], best, definition.objective)
    folder = output_folder / "champion"
    _export(folder, model, prepared, best, metrics)
    _log_figures(tracker, prepared, best, parent_run_id, measured)
    model_version = _register_once(prepared, folder, best)
    set_alias(prepared.settings.tracking_uri, definition.name, "champion", model_version)
    chance = chance_level(definition.objective.metric, examples_of(data), is_log=data.is_log)
    return Winner(best, metrics, chance, folder, definition.name, model_version)


def _register_once(prepared: PreparedStudy, folder: Path, best: Outcome) -> str:
    """The version that holds this very model: a resumed study finds the one that it registered before."""
    definition, uri = prepared.definition, prepared.settings.tracking_uri
    digest = load_exported(folder).contract.weights_digest
    for known in registered_versions(uri, definition.name):
        if known.tags.get(WEIGHTS_TAG) == digest:
            return known.version
    assert best.run_id is not None, "a completed trial has a run"
    tags = {
        "study.trial_number": str(best.number),
        "study.data_digest": prepared.data.digest,
        WEIGHTS_TAG: digest,
    }
    description = definition.question or f"Best trial of the study {definition.name}."
    return register_model(uri, definition.name, folder, best.run_id, tags, description)


def _require_same(value: float, best: Outcome, objective: Objective) -> None:
    assert best.value is not None, "a completed trial has a value"
    if abs(value - best.value) > MAX_REBUILD_DIFFERENCE * max(1.0, abs(best.value)):
        raise ModelError(
            f"the exported model must repeat its trial, but {objective.key} is {value:.4f} and trial {best.number} measured "
            f"{best.value:.4f}. Do not use it; please report this with the study's folder."
        )


def _export(folder: Path, model: Classifier, prepared: PreparedStudy, best: Outcome, metrics: Mapping[str, float]) -> None:
    data: StudyData = prepared.data.with_fold(best.config.fold)
    contract = ModelContract(
        task="class" if data.values is None else "number",
        classes=data.classes,
        target=_target_scale(data),
        example_views=data.example_views,
        image_size=data.image_size,
        normalization=make_normalizer(best.config.normalization, data.statistics),
        backbone=best.config.backbone,
        head=best.config.head,
        freeze_depth=best.config.freeze_depth,
        data_digest=data.digest,
        study=prepared.definition.name,
        trial_number=best.number,
        metrics=metrics,
        versions={"study": study.__version__, "torch": torch.__version__, "torchvision": version("torchvision")},
    )
    save_exported(folder, model, contract)


def _target_scale(data: StudyData) -> TargetScale | None:
    """What a model of numbers was trained on."""
    if data.values is None:
        return None
    mean, std = training_moments(examples_of(data))
    return TargetScale(mean=mean, std=std, is_log=data.is_log)


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
