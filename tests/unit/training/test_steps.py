"""Steps in pieces: what the device's memory does not hold at once adds up to the same update."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from study.data.study_data import StudyData
from study.errors import TrialError
from study.training.loop import fit
from study.training.training import Training
from tests.trainings import begin, config_of, run


def out_of_memory_above(training: Training, num_examples: int) -> list[int]:
    """Makes the training's device as small as that; returns the sizes that were tried."""
    suffix, tried = training.steps._suffix, []

    def limited(activations: Tensor) -> Tensor:
        tried.append(len(activations))
        if len(activations) > num_examples:
            raise torch.OutOfMemoryError("CUDA out of memory (pretended)")
        return suffix(activations)

    training.steps._suffix = limited
    return tried


def weights_of(training: Training) -> Iterator[tuple[str, Tensor]]:
    yield from training.model.state_dict().items()


# Without dropout, which draws other masks for other shapes, and without batch norm, which sees one piece at a time.
PLAIN: dict[str, Any] = {
    "dropout": 0.0,
    "freeze_depth": 0.5,
    "optimizer": {"name": "sgd", "lr": 0.01},
    "epochs": 1,
    "imbalance": "weighted_loss",
}


def test_a_micro_batch_gives_the_update_of_the_whole_batch(striped_data: StudyData) -> None:
    whole, pieces = begin(striped_data, config_of(**PLAIN)), begin(striped_data, config_of(**PLAIN, compute={"micro_batch": 5}))
    (one,), (other,) = fit(whole), fit(pieces)
    assert other.metrics["train_loss"] == pytest.approx(one.metrics["train_loss"], rel=1e-5)
    for (name, tensor), (_, expected) in zip(weights_of(pieces), weights_of(whole), strict=True):
        torch.testing.assert_close(tensor, expected, rtol=1e-4, atol=1e-6, msg=name)


def test_out_of_memory_halves_the_micro_batch_and_says_so(striped_data: StudyData) -> None:
    roomy, small = begin(striped_data, config_of(**PLAIN)), begin(striped_data, config_of(**PLAIN))
    tried = out_of_memory_above(small, 5)
    (one,), (other,) = fit(roomy), fit(small)
    assert tried[:4] == [16, 8, 4, 4]
    assert small.facts()["micro_batch"] == 4
    assert other.metrics["train_loss"] == pytest.approx(one.metrics["train_loss"], rel=1e-5)


def test_a_training_says_how_many_images_an_epoch_trains_on(striped_data: StudyData) -> None:
    whole, balanced = begin(striped_data, config_of(**PLAIN)), begin(striped_data, config_of(imbalance="balanced_subset"))
    for training in (whole, balanced):
        assert training.facts()["images_per_epoch"] == len(training.strategy.epoch_order(1))
    assert balanced.facts() != whole.facts()


def test_a_device_too_small_for_one_example_is_told_with_the_fix(striped_data: StudyData) -> None:
    training = begin(striped_data, config_of(**PLAIN))
    out_of_memory_above(training, 0)
    with pytest.raises(TrialError, match="with 1 examples at a time. Use a smaller backbone"):
        list(fit(training))


def test_batch_norm_never_sees_a_single_example(striped_data: StudyData) -> None:
    training = begin(striped_data, config_of(backbone="resnet18", freeze_depth=0.6, epochs=1))
    out_of_memory_above(training, 1)
    with pytest.raises(TrialError, match="with 2 examples at a time"):
        list(fit(training))


def test_no_piece_of_a_micro_batch_is_too_small_for_batch_norm(striped_data: StudyData) -> None:
    """Of 32 px, ResNet's last maps are 1×1: a single photo has no variance. Five examples in twos would leave one over."""
    config = config_of(backbone="resnet18", freeze_depth=0.6, epochs=1, batch_size=5, compute={"micro_batch": 2})
    training = begin(striped_data, config)
    tried = out_of_memory_above(training, 5)
    list(fit(training))
    assert set(tried) == {2, 3}
    assert sum(tried) == 42


def test_a_micro_batch_too_small_for_batch_norm_is_refused_with_the_fix(striped_data: StudyData) -> None:
    single = {"micro_batch": 1}
    with pytest.raises(
        TrialError, match=r"two photos or more.*compute.micro_batch = 1. Use compute.micro_batch = 2 or more, or"
    ):
        begin(striped_data, config_of(backbone="resnet18", freeze_depth=0.6, compute=single))
    for without in ({"backbone": "resnet18", "freeze_depth": 1.0}, {"backbone": "squeezenet1_1"}):
        assert begin(striped_data, config_of(**without, compute=single)).steps.micro_batch == 1


def test_gradients_are_clipped_to_the_norm_asked_for(striped_data: StudyData) -> None:
    def moved_by(clip: float | None) -> float:
        values = {**PLAIN, "optimizer": {"name": "sgd", "lr": 1.0, "momentum": 0.0, "gradient_clip": clip}, "batch_size": 64}
        training = begin(striped_data, config_of(**values))
        before = {name: tensor.clone() for name, tensor in weights_of(training)}
        list(fit(training))
        return float(sum(((tensor - before[name]) ** 2).sum() for name, tensor in weights_of(training)) ** 0.5)

    assert moved_by(1e-3) == pytest.approx(1e-3, rel=1e-3)
    assert moved_by(None) > 1e-2


def test_bfloat16_learns_what_float32_learns(striped_data: StudyData) -> None:
    values = {"backbone": "resnet18", "freeze_depth": 0.0, "epochs": 5, "optimizer": {"name": "adam", "lr": 1e-3}}
    last = run(striped_data, config_of(**values, compute={"precision": "bfloat16"}))[-1]
    assert last.metrics["val_balanced_accuracy"] >= 0.9


def test_float16_on_a_cpu_is_refused_with_the_fix(striped_data: StudyData) -> None:
    with pytest.raises(TrialError, match='needs a GPU.*Use "auto"'):
        begin(striped_data, config_of(compute={"precision": "float16"}))
