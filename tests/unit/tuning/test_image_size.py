"""A trial that sees its photos smaller than they are packed: trained, measured, exported and answering alike."""

from pathlib import Path

import numpy as np
import pytest
import torch

from study.definition import StudyDefinition, parse_definition
from study.errors import DefinitionError, ModelError
from study.models.exported import load_exported
from study.search.advisor import Outcome
from study.settings import settings_from
from study.trial import TrialState
from study.tuning.preparation import PreparedStudy, prepare
from study.tuning.registered_trial import export_trial
from study.tuning.trial_task import TrialTask
from study.tuning.worker import WarmProcess, begin_training, run_trial

PACKED_PX, SMALL_PX = 32, 24
TEXT = """
name = "small"
[data]
generated = "instruments"
target = "view"
num_photos = 60
image_size = 32
[objective]
metric = "balanced_accuracy"
constraints = ["flops_g <= 100"]
[trial]
backbone = "squeezenet1_0"
weights = "none"
epochs = 2
batch_size = 16
freeze_depth = 0.0
optimizer.lr = 1e-3
normalization = "local"
augmentation.rotation = 10.0
"""
SEARCHED = '[space]\nimage_size = { choices = [24, 32] }\n[search]\nsampler = "grid"\n'


def definition_with(text: str = SEARCHED) -> StudyDefinition:
    return parse_definition(TEXT + text, Path("/somewhere/small.toml"))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedStudy:
    folder = tmp_path_factory.mktemp("small")
    return prepare(definition_with(), settings_from({"STUDY_CACHE": str(folder), "STUDY_OUTPUT": str(folder)}, folder))


def run(prepared: PreparedStudy, number: int, image_size: int | None) -> tuple[Outcome, list[dict[str, float]]]:
    """The trial's end, and the metrics of its epochs; its weights lie where those of the study's trials do."""
    config = prepared.definition.trial.model_copy(update={"image_size": image_size, "seed": 3})
    folder = prepared.settings.study_folder("small")
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
    training = begin_training(task, prepared.data, WarmProcess.of(task))
    measured = [dict(one.metrics) for one in run_trial(training, folder, number)]
    best = max(one["val_balanced_accuracy"] for one in measured)
    facts = training.facts()
    costs = {"flops_g": float(facts["flops_g"])}
    return Outcome(number, TrialState.COMPLETE, config, {}, best, 2, "run", costs), measured


def test_a_model_exported_at_a_smaller_size_answers_as_it_was_measured(prepared: PreparedStudy, tmp_path: Path) -> None:
    outcome, _ = run(prepared, 0, SMALL_PX)
    exported = export_trial(prepared, outcome, tmp_path)
    assert (exported.contract.packed_size, exported.contract.image_size) == (PACKED_PX, SMALL_PX)
    data = prepared.data
    val = data.splits.val
    answers = load_exported(tmp_path).predict([np.asarray(data.images[photo]) for photo in val]).argmax(axis=1)
    recalls = [np.mean(answers[data.labels[val] == label] == label) for label in range(data.num_classes)]
    assert np.mean(recalls) == pytest.approx(outcome.value)


def test_arithmetic_is_counted_at_the_size_that_the_network_sees(prepared: PreparedStudy) -> None:
    outcome, _ = run(prepared, 1, SMALL_PX)
    as_packed, _ = run(prepared, 2, None)
    assert outcome.costs["flops_g"] < as_packed.costs["flops_g"]


def test_the_packed_size_asked_for_by_name_gives_the_same_measurements(prepared: PreparedStudy) -> None:
    (_, named), (_, left_out) = run(prepared, 3, PACKED_PX), run(prepared, 4, None)
    for one, other in zip(named, left_out, strict=True):
        assert {key: one[key] for key in ("train_loss", "val_loss")} == {key: other[key] for key in ("train_loss", "val_loss")}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "[space]\nimage_size = { choices = [24, 64] }",
            r"at which photos are packed, 32, but is 64 in .*small.toml \[space\]",
        ),
        ("image_size = 64", r"at which photos are packed, 32, but is 64 in .*small.toml \[trial\]\. Lower it, or raise"),
        ("image_size = 8", r"`trial.image_size` must be greater than or equal to 16, but is 8"),
    ],
)
def test_photos_are_not_made_larger_than_they_are_packed(text: str, told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        definition_with(text)


@pytest.mark.parametrize("space", ["image_size = { choices = [16, 32] }", "image_size = { low = 16, high = 32, step = 8 }"])
def test_a_size_that_a_backbone_does_not_take_is_found_before_the_first_trial(space: str, tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match="`squeezenet1_0` takes photos of at least 21 px, but image_size=16. Raise image_size, or"
    ):
        prepare(definition_with(f"[space]\n{space}"), settings_from({"STUDY_CACHE": str(tmp_path)}, tmp_path))


def test_a_size_that_another_backbone_has_by_condition_is_not_held_against_this_one(tmp_path: Path) -> None:
    space = """[space]
backbone = { choices = ["squeezenet1_0", "squeezenet1_1"] }
image_size = { choices = [20, 32], when = { backbone = ["squeezenet1_1"] } }"""
    assert prepare(definition_with(space), settings_from({"STUDY_CACHE": str(tmp_path)}, tmp_path)).data.image_size == PACKED_PX
