"""A trial's model is exported where it repeats its trial but for rounding, and refused where it does not."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from study.definition import Metric, parse_definition
from study.errors import ModelError
from study.search.advisor import Outcome
from study.settings import settings_from
from study.training.metrics import Evaluation, measure_classes, measure_numbers
from study.trial import TrialState
from study.tuning.preparation import PreparedStudy, prepare
from study.tuning.registered_trial import export_trial
from study.tuning.rounding import rounding_allowance
from study.tuning.trial_files import save_trained, weights_file
from study.tuning.trial_task import TrialTask
from study.tuning.worker import WarmProcess, begin_training, run_trial

# Dark and bright photos of noise, easily told apart; where each photo's own brightness is taken away, not at all.
BRIGHTNESS = {"dark": 40, "bright": 170}
NUM_VAL = 20  # of each class: of balanced accuracy, one photo is 0.025
DEFINITION = """
name = "rounded"
[data]
folder = "{root}"
image_size = 32
[trial]
backbone = "squeezenet1_0"
weights = "none"
freeze_depth = 1.0
epochs = 8
batch_size = 16
seed = 3
optimizer.lr = 1e-2
[space]
head = {{ choices = ["replace"] }}
"""


def draw_photos(root: Path) -> None:
    generator = np.random.default_rng(0)
    for split, number in (("train", 24), ("val", NUM_VAL)):
        for name, brightness in BRIGHTNESS.items():
            (root / split / name).mkdir(parents=True)
            for place in range(number):
                pixels = generator.integers(brightness, brightness + 40, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{place}.png")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedStudy:
    folder = tmp_path_factory.mktemp("rounded")
    draw_photos(folder / "photos")
    definition = parse_definition(DEFINITION.format(root=folder / "photos"), folder / "rounded.toml")
    return prepare(definition, settings_from({"STUDY_CACHE": str(folder), "STUDY_OUTPUT": str(folder)}, folder))


@pytest.fixture(scope="module")
def outcome(prepared: PreparedStudy) -> Outcome:
    """A trial that told all photos apart, with its weights where they belong."""
    config, folder = prepared.definition.trial, prepared.settings.study_folder("rounded")
    task = TrialTask(
        number=0,
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
    measured = list(run_trial(begin_training(task, prepared.data, WarmProcess.of(task)), folder, 0))
    best = max(one.metrics["val_balanced_accuracy"] for one in measured)
    assert best == 1.0
    return Outcome(0, TrialState.COMPLETE, config, {}, best, len(measured), "run")


def test_answers_that_rounding_changed_do_not_fail_a_study_of_few_photos(
    prepared: PreparedStudy, outcome: Outcome, tmp_path: Path
) -> None:
    for num_changed in (0, 1, 3):
        told = replace(outcome, value=1.0 - num_changed / NUM_VAL / 2)
        assert export_trial(prepared, told, tmp_path / str(num_changed)).metrics["val_balanced_accuracy"] == 1.0


def test_more_changed_answers_than_rounding_makes_are_refused(
    prepared: PreparedStudy, outcome: Outcome, tmp_path: Path
) -> None:
    told = replace(outcome, value=1.0 - 4 / NUM_VAL / 2)
    with pytest.raises(
        ModelError, match=r"is 1.0000 and trial 0 measured 0.9000, further apart than the 0.0750 that rounding explains"
    ):
        export_trial(prepared, told, tmp_path)


def test_a_model_with_other_preprocessing_is_refused(prepared: PreparedStudy, outcome: Outcome, tmp_path: Path) -> None:
    other = replace(outcome, config=outcome.config.model_copy(update={"normalization": "local"}))
    with pytest.raises(ModelError, match="must repeat its trial"):
        export_trial(prepared, other, tmp_path)


def test_a_model_with_other_weights_is_refused(prepared: PreparedStudy, outcome: Outcome, tmp_path: Path) -> None:
    folder = prepared.settings.study_folder("rounded")
    generator = torch.Generator().manual_seed(0)
    tensors = load_file(weights_file(folder, 0))
    save_trained({key: torch.randn(tensor.shape, generator=generator) for key, tensor in tensors.items()}, folder, 1)
    with pytest.raises(ModelError, match="must repeat its trial"):
        export_trial(prepared, replace(outcome, number=1), tmp_path)


def classified(labels: Sequence[int], called: Sequence[int]) -> Evaluation:
    logits = torch.eye(7)[torch.tensor(called)] * 3
    return measure_classes(logits, torch.tensor(labels), [str(place) for place in range(7)])


SHARES: tuple[Metric, ...] = ("accuracy", "balanced_accuracy", "macro_f1", "top5_accuracy", "calibration_error")


@pytest.mark.parametrize("metric", SHARES)
def test_one_changed_answer_is_within_the_allowance_whichever_it_is(metric: Metric) -> None:
    """Also of a rare class, where it weighs the most."""
    labels = [0] * 12 + [1] * 4 + [2] * 2 + [3, 4, 5, 6]
    generator = np.random.default_rng(0)
    called = [label if generator.random() < 0.7 else int(generator.integers(7)) for label in labels]
    before = classified(labels, called)
    allowed = rounding_allowance(metric, before, chance=0.1, value=before.metrics[metric])
    changes = []
    for place in range(len(labels)):
        for other in range(7):
            after = classified(labels, [*called[:place], other, *called[place + 1 :]])
            changes.append(abs(after.metrics[metric] - before.metrics[metric]))
    assert max(changes) > 0.02
    assert max(changes) <= allowed


def test_of_many_photos_two_in_a_hundred_may_be_answered_otherwise() -> None:
    measured = classified([place % 7 for place in range(7000)], [place % 7 for place in range(7000)])
    for metric in SHARES:
        assert rounding_allowance(metric, measured, chance=0.1, value=1.0) == 0.02


@pytest.mark.parametrize("unit", [1e-3, 1.0, 25_000.0])
def test_of_numbers_the_unit_does_not_matter(unit: float) -> None:
    """A target between 0 and 0.001, or in dollars: a model that knows nothing is never within the allowance of a good one."""
    expected = torch.linspace(-1, 1, 41) * unit
    chance = float(expected.abs().mean())
    good = measure_numbers(torch.linspace(-0.9, 0.9, 41), expected, mean=0.0, std=unit, is_log=False)
    allowed = rounding_allowance("mae", good, chance=chance, value=good.metrics["mae"])
    assert allowed == pytest.approx(0.05 * chance)
    assert chance - good.metrics["mae"] > 10 * allowed
    assert rounding_allowance("r2", good, chance=0.0, value=good.metrics["r2"]) == pytest.approx(0.05)
    assert rounding_allowance("loss", good, chance=1.0, value=good.metrics["loss"]) == pytest.approx(0.05)
    assert rounding_allowance("mae", good, chance=chance, value=100 * chance) == pytest.approx(5 * chance)
