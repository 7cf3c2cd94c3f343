"""Measuring on a device whose memory does not hold a batch: in pieces, and the figures are the same."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from study.data.study_data import StudyData
from study.errors import TrialError
from study.models.classifier import Classifier
from study.training import loop
from study.training.activation_inputs import ActivationInputs
from study.training.batches import Indices
from study.training.calibration import calibrate
from study.training.evaluation import evaluate_split
from study.training.loop import fit
from study.training.training import Training
from tests.trainings import CPU, begin, build, config_of

NUM_VAL = 15
PLAIN: dict[str, Any] = {"dropout": 0.0, "freeze_depth": 0.5, "epochs": 1}


def out_of_memory_above(model: Classifier, num_examples: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Makes the device as small as that wherever `model` is measured (training has its own way in); returns what was tried."""
    suffix, tried = model.suffix, []

    def limited(activations: Tensor) -> Tensor:
        tried.append(len(activations))
        if len(activations) > num_examples:
            raise torch.OutOfMemoryError("CUDA out of memory (pretended)")
        return suffix(activations)

    monkeypatch.setattr(model, "suffix", limited)
    return tried


def val_metrics(training: Training) -> dict[str, float]:
    [measured] = fit(training)
    return {name: value for name, value in measured.metrics.items() if name.startswith("val_")}


def test_validation_takes_a_whole_batch_at_once_where_there_is_room(
    striped_data: StudyData, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = begin(striped_data, config_of(**PLAIN, batch_size=8))
    tried = out_of_memory_above(training.model, NUM_VAL, monkeypatch)
    val_metrics(training)
    assert tried == [8, 7]


def test_validation_takes_no_more_at_once_than_training_does(striped_data: StudyData, monkeypatch: pytest.MonkeyPatch) -> None:
    training = begin(striped_data, config_of(**PLAIN, compute={"micro_batch": 4}))
    tried = out_of_memory_above(training.model, NUM_VAL, monkeypatch)
    expected = val_metrics(begin(striped_data, config_of(**PLAIN, compute={"micro_batch": 4})))
    assert val_metrics(training) == expected
    assert tried == [4, 4, 4, 3]


def pieces_of_validation(training: Training, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Where the sizes of the batches that `evaluate` reads are told."""
    read = ActivationInputs.read
    sizes: list[int] = []

    def told(self: ActivationInputs, batches: Sequence[Indices]) -> Iterator[Tensor]:
        if not training.model.training:
            sizes.extend(map(len, batches))
        return read(self, batches)

    monkeypatch.setattr(ActivationInputs, "read", told)
    return sizes


HEAD: dict[str, Any] = {"backbone": "resnet18", "freeze_depth": 1.0, "epochs": 1, "batch_size": 2}
ROW_BYTES = 512 * 4


def test_a_head_is_measured_on_its_whole_validation_at_once_where_that_is_small(
    striped_data: StudyData, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = begin(striped_data, config_of(**HEAD))
    assert training.has_small_steps
    sizes = pieces_of_validation(training, monkeypatch)
    val_metrics(training)
    assert sizes == [NUM_VAL]


def test_a_head_reads_no_more_of_a_large_validation_at_once_than_a_bound_and_measures_the_same(
    striped_data: StudyData, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = val_metrics(begin(striped_data, config_of(**HEAD)))
    training = begin(striped_data, config_of(**HEAD))
    sizes = pieces_of_validation(training, monkeypatch)
    monkeypatch.setattr(loop, "EVALUATED_BYTES", 4 * ROW_BYTES + 1)
    found = val_metrics(training)
    assert sizes == [4, 4, 4, 3]
    assert found == pytest.approx(expected, rel=1e-6)


def test_out_of_memory_in_the_validation_halves_its_pieces_and_changes_no_figure(
    striped_data: StudyData, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = begin(striped_data, config_of(**PLAIN, batch_size=64))
    tried = out_of_memory_above(training.model, 4, monkeypatch)
    found = val_metrics(training)
    assert tried == [15, 7, 3, 3, 3, 3, 3]
    assert training.steps.micro_batch is None  # training needs no smaller pieces
    assert found == pytest.approx(val_metrics(begin(striped_data, config_of(**PLAIN, batch_size=64))), rel=1e-4, abs=1e-6)


def test_a_device_too_small_to_measure_one_example_is_told_with_the_fix(
    striped_data: StudyData, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = begin(striped_data, config_of(**PLAIN))
    out_of_memory_above(training.model, 0, monkeypatch)
    with pytest.raises(TrialError, match="with 1 examples at a time. Use a smaller backbone"):
        list(fit(training))


def test_a_split_and_the_temperature_are_measured_in_pieces_too(
    striped_data: StudyData, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(config_of(), striped_data)
    whole = evaluate_split(model, striped_data, "val", normalization="global", device=CPU)
    calibration = calibrate(model, striped_data, "global", CPU)
    out_of_memory_above(model, 2, monkeypatch)
    pieces = evaluate_split(model, striped_data, "val", normalization="global", device=CPU)
    assert pieces.predictions.tolist() == whole.predictions.tolist()
    assert pieces.metrics == pytest.approx(whole.metrics, rel=1e-4, abs=1e-6)
    assert calibrate(model, striped_data, "global", CPU).metrics == pytest.approx(calibration.metrics, rel=1e-3, abs=1e-6)
