"""A training that is saved, and goes on as if it had never stopped."""

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from study.data.study_data import StudyData
from study.errors import TrialError
from study.training.loop import fit
from study.training.state import read_state
from tests.trainings import begin, build, config_of, outcomes, run

EPOCHS = 4
RECIPES: dict[str, dict[str, Any]] = {
    "head alone": {"freeze_depth": 1.0, "imbalance": "weighted_sampling"},
    "sgd, cosine, warm-up": {
        "optimizer": {"name": "sgd", "lr": 0.01, "nesterov": True},
        "schedule": {"name": "cosine", "warmup_epochs": 2},
    },
    "batch norm, adamw, running mean": {
        "backbone": "resnet18",
        "freeze_depth": 0.6,
        "optimizer": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.01, "gradient_clip": 1.0},
        "ema_decay": 0.9,
    },
    "whole network, channels last, sgd": {"freeze_depth": 0.0, "optimizer": {"name": "sgd", "lr": 0.01}},
    "whole network, adam": {"freeze_depth": 0.0, "optimizer": {"name": "adam", "lr": 1e-3}},
    "plateau, rmsprop, patience": {
        "optimizer": {"name": "rmsprop", "lr": 0.03},
        "schedule": {"name": "plateau", "patience": 1},
        "patience": 3,
    },
    "augmentation": {"augmentation": {"flip": 0.5, "crop": 0.3, "mixing": "mixup"}, "label_smoothing": 0.1},
}


@pytest.mark.parametrize("stop", [1, 3])
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_going_on_from_any_epoch_measures_what_never_stopping_measures(
    recipe: dict[str, Any], stop: int, striped_data: StudyData, tmp_path: Path
) -> None:
    config = config_of(epochs=EPOCHS, **recipe)
    stopped = begin(striped_data, config)
    list(islice(fit(stopped), stop))
    stopped.save(tmp_path / "state.safetensors")

    torch.manual_seed(99)
    resumed = begin(striped_data, config, model=build(config, striped_data, seed=0))
    resumed.restore(tmp_path / "state.safetensors")
    uninterrupted = begin(striped_data, config)
    assert outcomes(list(fit(resumed))) == outcomes(list(fit(uninterrupted)))
    assert resumed.stopping.best == uninterrupted.stopping.best
    for name, tensor in uninterrupted.best_tensors.items():
        assert torch.equal(resumed.best_tensors[name], tensor), name


def test_frozen_parameters_are_not_saved(striped_data: StudyData, tmp_path: Path) -> None:
    training = begin(striped_data, config_of(freeze_depth=0.5, epochs=1))
    list(fit(training))
    training.save(tmp_path / "state.safetensors")
    frozen = {f"model/stages.{name}." for name in list(training.model.stages._modules)[: training.model.num_frozen]}
    with safe_open(tmp_path / "state.safetensors", framework="pt") as file:
        names = list(file.keys())
    assert any(name.startswith("model/stages.") for name in names)
    assert not any(name.startswith(tuple(frozen)) for name in names)


def test_a_state_of_another_recipe_is_refused(striped_data: StudyData, tmp_path: Path) -> None:
    training = begin(striped_data, config_of(epochs=2))
    list(islice(fit(training), 1))
    training.save(tmp_path / "state.safetensors")
    with pytest.raises(TrialError, match="another recipe"):
        begin(striped_data, config_of(epochs=3)).restore(tmp_path / "state.safetensors")


def test_a_damaged_state_is_told(striped_data: StudyData, tmp_path: Path) -> None:
    training = begin(striped_data, config_of(epochs=2))
    list(islice(fit(training), 1))
    path = tmp_path / "state.safetensors"
    training.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TrialError, match="damaged"):
        read_state(path)


def test_a_full_disk_leaves_the_earlier_state(striped_data: StudyData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = begin(striped_data, config_of(epochs=3))
    epochs = fit(training)
    next(epochs)
    path = tmp_path / "state.safetensors"
    training.save(path)
    before = path.read_bytes()
    next(epochs)

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("study.training.state.save_file", refuse)
    with pytest.raises(OSError, match="No space"):
        training.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_measurements_that_were_saved_are_told_again(striped_data: StudyData, tmp_path: Path) -> None:
    config = config_of(epochs=3)
    training = begin(striped_data, config)
    list(islice(fit(training), 2))
    training.save(tmp_path / "state.safetensors")
    resumed = begin(striped_data, config)
    resumed.restore(tmp_path / "state.safetensors")
    assert [one.timestamp_ms for one in islice(fit(resumed), 2)] == [one.timestamp_ms for one in training.measurements]


def test_sixty_epochs_of_a_thousand_classes_are_saved_and_restored(striped_data: StudyData, tmp_path: Path) -> None:
    """What a file says beside its tensors may be 100 MB: an epoch's thousand by thousand counts would be 2 of them."""
    classes = (*striped_data.classes, *(f"class {place}" for place in range(997)))
    many, config = replace(striped_data, classes=classes), config_of(epochs=61)
    training = begin(many, config)
    (one,) = islice(fit(training), 1)
    by_class = {f"val_{kind}.{name}": 1 / 3 for kind in ("recall", "precision") for name in classes}
    training.measurements = [
        one.model_copy(update={"epoch": epoch, "metrics": {**one.metrics, **by_class}}) for epoch in range(1, 61)
    ]
    training.save(tmp_path / "state.safetensors")
    resumed = begin(many, config)
    resumed.restore(tmp_path / "state.safetensors")
    assert resumed.measurements == training.measurements


def test_a_state_that_an_earlier_version_saved_with_its_confusions_is_gone_on_with(
    striped_data: StudyData, tmp_path: Path
) -> None:
    training = begin(striped_data, config_of(epochs=3))
    list(islice(fit(training), 2))
    path = tmp_path / "state.safetensors"
    training.save(path)
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["state"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for measurement in header["measurements"]:
        measurement["confusion"] = {"counts": [[5, 1], [0, 4]]}
    save_file(tensors, path, metadata={"state": json.dumps(header)})
    resumed = begin(striped_data, config_of(epochs=3))
    resumed.restore(path)
    assert resumed.measurements == training.measurements


def test_patience_ends_a_training_that_does_not_get_better(striped_data: StudyData) -> None:
    config = config_of(epochs=30, patience=2, optimizer={"name": "sgd", "lr": 1e-9, "momentum": 0.0})
    measurements = run(striped_data, config)
    assert len(measurements) == 3  # the first is the best; two more are not better
    assert [one.is_last for one in measurements] == [False, False, True]
