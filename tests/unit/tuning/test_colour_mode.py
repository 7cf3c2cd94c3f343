"""A trial that sees its photos without colour: trained, measured, exported and answering alike."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from study.data.statistics import channel_statistics
from study.definition import parse_definition
from study.models.colour_modes import without_colour
from study.models.exported import load_exported
from study.search.advisor import Outcome
from study.settings import settings_from
from study.training.calibration import calibrate
from study.training.evaluation import Split, evaluate_split
from study.trial import ColourMode, TrialState
from study.tuning.preparation import PreparedStudy, prepare
from study.tuning.registered_trial import export_trial
from study.tuning.trial_files import rebuild_trained, weights_file
from study.tuning.trial_task import TrialTask
from study.tuning.worker import WarmProcess, begin_training, run_trial

CPU = torch.device("cpu")
TEXT = """
name = "grey"
[data]
generated = "instruments"
target = "view"
num_photos = 60
image_size = 32
[trial]
backbone = "squeezenet1_0"
weights = "none"
epochs = 2
batch_size = 16
freeze_depth = 0.0
optimizer.lr = 1e-3
normalization = "global"
image_size = 24
[space]
colour_mode = { choices = ["rgb", "greyscale"] }
[search]
sampler = "grid"
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedStudy:
    folder = tmp_path_factory.mktemp("grey")
    settings = settings_from({"STUDY_CACHE": str(folder), "STUDY_OUTPUT": str(folder)}, folder)
    return prepare(parse_definition(TEXT, Path("/somewhere/grey.toml")), settings)


def without_colours(prepared: PreparedStudy) -> PreparedStudy:
    """The same study of photos that have lost their colour before anybody sees them."""
    images = without_colour(torch.tensor(prepared.data.images)).numpy()
    fold = prepared.data.folds[0]
    statistics = channel_statistics(images, fold.splits.train)
    return replace(prepared, data=replace(prepared.data, images=images, folds=(replace(fold, statistics=statistics),)))


def run(prepared: PreparedStudy, number: int, colour_mode: ColourMode, **values: object) -> tuple[Outcome, list[float]]:
    """The trial's end, and its losses epoch by epoch; its weights lie where those of the study's trials do."""
    config = prepared.definition.trial.model_copy(update={"colour_mode": colour_mode, "seed": 3, **values})
    folder = prepared.settings.study_folder("grey")
    task = TrialTask(
        number=number,
        run_id="run",
        config=config,
        weights=prepared.weights_of(config),
        objective=prepared.definition.objective,
        data_folder=str(prepared.data.folder),
        activations_folder=str(folder / "activations"),
        output_folder=str(folder),
        tracking_uri="sqlite://",
        num_threads=torch.get_num_threads(),
        uses_gpu=False,
    )
    measured = [
        dict(one.metrics) for one in run_trial(begin_training(task, prepared.data, WarmProcess.of(task)), folder, number)
    ]
    best = max(one["val_balanced_accuracy"] for one in measured)
    losses = [one[name] for one in measured for name in ("train_loss", "val_loss")]
    return Outcome(number, TrialState.COMPLETE, config, {}, best, 2, "run"), losses


@pytest.mark.parametrize("freeze_depth", [0.0, 1.0], ids=["trained", "cached features"])
def test_training_without_colour_is_training_on_photos_that_have_none(prepared: PreparedStudy, freeze_depth: float) -> None:
    """At the packed size: after resizing, luma is rounded once more."""
    values: dict[str, object] = {"image_size": None, "freeze_depth": freeze_depth}
    _, asked = run(prepared, 0, "greyscale", **values)
    _, of_grey_photos = run(without_colours(prepared), 1, "rgb", **values)
    _, in_colour = run(prepared, 2, "rgb", **values)
    assert asked == of_grey_photos
    assert asked != in_colour


def test_validation_test_and_calibration_see_no_colour(prepared: PreparedStudy) -> None:
    outcome, _ = run(prepared, 3, "greyscale")
    weights = weights_file(prepared.settings.study_folder("grey"), outcome.number)
    model = rebuild_trained(outcome.config, prepared.data, prepared.weights_of(outcome.config), weights)
    in_colour, grey = prepared.data, without_colours(prepared).data
    asked = partial(evaluate_split, model, in_colour, normalization="global", device=CPU, colour_mode="greyscale")
    plain = partial(evaluate_split, model, normalization="global", device=CPU)
    splits: tuple[Split, ...] = ("val", "test")
    for split in splits:
        assert asked(split).metrics == plain(grey, split).metrics
        assert asked(split).metrics["loss"] != plain(in_colour, split).metrics["loss"]
    assert calibrate(model, in_colour, "global", CPU, None, "greyscale") == calibrate(model, grey, "global", CPU)


def test_a_model_exported_without_colour_answers_colour_photos_as_it_was_measured(
    prepared: PreparedStudy, tmp_path: Path
) -> None:
    outcome, _ = run(prepared, 4, "greyscale")
    exported = export_trial(prepared, outcome, tmp_path)
    assert (exported.contract.colour_mode, exported.contract.image_size) == ("greyscale", 24)
    luma = prepared.data.statistics.luma
    assert luma is not None
    assert exported.contract.normalization.mean == (luma[0],) * 3
    data = prepared.data
    val = data.splits.val
    in_colour = [np.asarray(data.images[photo]) for photo in val]
    probabilities = load_exported(tmp_path).predict(in_colour)
    recalls = [np.mean(probabilities.argmax(axis=1)[data.labels[val] == label] == label) for label in range(data.num_classes)]
    assert np.mean(recalls) == pytest.approx(outcome.value)
