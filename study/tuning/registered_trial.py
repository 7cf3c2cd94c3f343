"""A completed trial's model: rebuilt, measured again, calibrated, exported, registered once, whoever asks."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

import study
from study.data.examples import examples_of
from study.data.study_data import StudyData
from study.definition import Objective
from study.errors import ModelError, RegistryError
from study.models.classifier import Classifier
from study.models.exported import ModelContract, TargetScale, save_exported
from study.models.normalization import make_normalizer
from study.search.advisor import Outcome
from study.tracking.model_card import ModelFacts, model_card
from study.tracking.registration import register_model
from study.tracking.registry import Registry
from study.training.calibration import calibrate
from study.training.evaluation import Evaluation, evaluate_split
from study.training.targets import training_moments
from study.tuning.chance import chance_level
from study.tuning.preparation import PreparedStudy
from study.tuning.rounding import rounding_allowance
from study.tuning.trial_files import rebuild_trained, weights_file


@dataclass(frozen=True)
class ExportedTrial:
    """A trial's model as plain files.

    Attributes:
        measured: on the validation split, before the temperature.
        metrics: the same by the names of a `Measurement`.
        calibration: by the names of `Calibration.metrics`; empty where the target is a number.
        chance: what a model that looks at no photo reaches on the objective.
        parameters_m: millions of parameters.
    """

    outcome: Outcome
    contract: ModelContract
    folder: Path
    measured: Evaluation
    metrics: Mapping[str, float]
    calibration: Mapping[str, float]
    chance: float
    parameters_m: float


def export_trial(prepared: PreparedStudy, outcome: Outcome, folder: Path) -> ExportedTrial:
    """Writes the trial's model to `folder`.

    Raises:
        ModelError: if the trial's weights are gone, or the rebuilt model does not repeat what its trial measured.
        DefinitionError: if the weights lie under an address that cannot be read.
    """
    definition, config = prepared.definition, outcome.config
    data = prepared.data.with_fold(config.fold)
    weights = weights_file(prepared.settings.study_folder(definition.name), outcome.number)
    if not weights.is_file():
        prepared.shared.fetch(weights)
    if not weights.is_file():
        raise ModelError(
            f"a trial's model is rebuilt from its weights, but {weights} is not there: only the best trials' are kept, where "
            f"the study ran. Run this there, or choose another trial."
        )
    model = rebuild_trained(config, data, prepared.weights_of(config), weights)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    measured = evaluate_split(
        model,
        data,
        "val",
        normalization=config.normalization,
        device=device,
        image_size=config.image_size,
        colour_mode=config.colour_mode,
    )
    metrics = measured.named("val")
    chance = chance_level(definition.objective.metric, examples_of(data), is_log=data.is_log)
    _require_same(measured, chance, outcome, definition.objective)
    is_number = data.values is not None
    seen = (config.normalization, device, config.image_size, config.colour_mode)
    calibration = {} if is_number else calibrate(model, data, *seen).metrics
    contract = _contract(prepared, data, outcome, metrics, calibration.get("temperature", 1.0))
    return ExportedTrial(
        outcome=outcome,
        contract=save_exported(folder, model, contract),
        folder=folder,
        measured=measured,
        metrics=metrics,
        calibration=calibration,
        chance=chance,
        parameters_m=_num_parameters(model) / 1e6,
    )


def register_trial(prepared: PreparedStudy, exported: ExportedTrial, registry: Registry) -> str:
    """The number of the version that holds this very model: a resumed study finds the one that it registered before.

    Raises:
        RegistryError: if MLflow refuses or stays away; `study resume` goes on here.
    """
    definition, outcome = prepared.definition, exported.outcome
    assert outcome.run_id is not None, "a completed trial has a run"
    calibration = {f"study.{name}": f"{value:.4f}" for name, value in exported.calibration.items()}
    tags = {
        "study.name": definition.name,
        "study.trial_number": str(outcome.number),
        "study.data_digest": prepared.data.digest,
        "study.definition_digest": definition.digest,
        "study.evidence": "search only",
        f"study.{definition.objective.key}": f"{exported.metrics[definition.objective.key]:.4f}",
        "study.cost": json.dumps({**outcome.costs, "parameters_m": exported.parameters_m}),
        **calibration,
    }
    card = model_card(exported.contract, _facts(prepared, exported))
    try:
        return register_model(registry, definition.name, exported.folder, outcome.run_id, tags, card)
    except RegistryError as error:
        raise RegistryError(f"{error} Then go on with: study resume {definition.name}") from error


def _require_same(measured: Evaluation, chance: float, outcome: Outcome, objective: Objective) -> None:
    assert outcome.value is not None, "a completed trial has a value"
    value = measured.metrics[objective.metric]
    allowed = rounding_allowance(objective.metric, measured, chance=chance, value=outcome.value)
    if not abs(value - outcome.value) <= allowed * (1 + 1e-9):  # three answers of three; NaN is not the same either
        raise ModelError(
            f"the exported model must repeat its trial, but {objective.key} is {value:.4f} and trial {outcome.number} measured "
            f"{outcome.value:.4f}, further apart than the {allowed:.4f} that rounding explains. Do not use it; please report "
            f"this with the study's folder."
        )


def _contract(
    prepared: PreparedStudy, data: StudyData, outcome: Outcome, metrics: Mapping[str, float], temperature: float
) -> ModelContract:
    config = outcome.config
    return ModelContract(
        task="class" if data.values is None else "number",
        classes=data.classes,
        target=_target_scale(data),
        example_views=data.example_views,
        image_size=config.seen_size(data.image_size),
        packed_size=None if config.seen_size(data.image_size) == data.image_size else data.image_size,
        colour_mode=config.colour_mode,
        normalization=make_normalizer(config.normalization, data.statistics, config.colour_mode),
        backbone=config.backbone,
        head=config.head,
        freeze_depth=config.freeze_depth,
        temperature=temperature,
        data_digest=data.digest,
        study=prepared.definition.name,
        trial_number=outcome.number,
        metrics=metrics,
        versions={"study": study.__version__, "torch": torch.__version__, "torchvision": version("torchvision")},
    )


def _facts(prepared: PreparedStudy, exported: ExportedTrial) -> ModelFacts:
    config = exported.outcome.config
    report = prepared.data.report
    return ModelFacts(
        question=prepared.definition.question,
        data_origin=report.origin,
        num_photos={name: len(positions) for name, positions in prepared.data.with_fold(config.fold).splits.items()},
        objective=prepared.definition.objective.key,
        chance=exported.chance,
        searched=exported.outcome.searched,
        calibration=exported.calibration,
        weights=config.weights,
        weights_digest=prepared.weights_of(config).digest,
    )


def _target_scale(data: StudyData) -> TargetScale | None:
    """What a model of numbers was trained on."""
    if data.values is None:
        return None
    mean, std = training_moments(examples_of(data))
    return TargetScale(mean=mean, std=std, is_log=data.is_log)


def _num_parameters(model: Classifier) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
