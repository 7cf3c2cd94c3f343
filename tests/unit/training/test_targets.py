from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from study.data.examples import Examples
from study.errors import DataError
from study.training.mixing import Mixed
from study.training.targets import ClassTargets, NumberTargets, Targets, make_targets

CPU = torch.device("cpu")
NUM_EXAMPLES = 40
CLASSES = ("a", "b", "c")
WEIGHTS = np.array([0.1, 0.3, 0.6], dtype=np.float32)


def examples_of(**changed: Any) -> Examples:
    generator = np.random.default_rng(0)
    positions = generator.permutation(NUM_EXAMPLES)
    fields = {
        "photos": np.arange(NUM_EXAMPLES)[:, None],
        "labels": generator.integers(0, 3, NUM_EXAMPLES),
        "values": None,
        "train": positions[:24],
        "val": positions[24:32],
        "test": positions[32:38],  # two are in no split
    }
    return Examples(**fields | changed)


def numbers_of(**changed: Any) -> Examples:
    values = np.random.default_rng(1).normal(7, 3, NUM_EXAMPLES).astype(np.float32)
    return examples_of(**{"values": values, "labels": np.full(NUM_EXAMPLES, -1)} | changed)


def batch_of(examples: Examples, num_outputs: int, size: int = 12) -> tuple[Tensor, Tensor]:
    outputs = torch.randn(size, num_outputs, generator=torch.Generator().manual_seed(3), requires_grad=True)
    return outputs, torch.from_numpy(examples.train[:size])


def in_pieces(targets: Targets, outputs: Tensor, positions: Tensor, size: int, mixes: list[Mixed] | None = None) -> Tensor:
    """The batch's loss as micro-batches of `size` add up to it."""
    total = targets.total_weight(positions)
    starts = range(0, len(positions), size)
    given: list[Mixed | None] = [*mixes] if mixes else [None] * len(starts)
    pieces = zip(starts, given, strict=True)
    sums = [targets.loss_sum(outputs[at : at + size], positions[at : at + size], mixed) for at, mixed in pieces]
    return torch.stack(sums).sum() / total


def assert_same_loss_and_gradient(found: Tensor, expected: Tensor, outputs: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
    gradients = [torch.autograd.grad(loss, outputs, retain_graph=True)[0] for loss in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("size", [1, 5, 12])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_micro_batches_add_up_to_torchs_weighted_smoothed_mean(weights: Any, smoothing: float, size: int) -> None:
    examples = examples_of()
    targets = make_targets(examples, CLASSES, device=CPU, class_weights=weights, label_smoothing=smoothing)
    outputs, positions = batch_of(examples, targets.num_outputs)
    labels = torch.from_numpy(examples.labels)[positions]
    given = None if weights is None else torch.tensor(weights)
    expected = functional.cross_entropy(outputs, labels, weight=given, label_smoothing=smoothing)
    assert_same_loss_and_gradient(in_pieces(targets, outputs, positions, size), expected, outputs)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_mixing_is_the_shared_sum_of_both_means_in_micro_batches_too(weights: Any) -> None:
    examples = examples_of()
    targets = make_targets(examples, CLASSES, device=CPU, class_weights=weights, label_smoothing=0.1)
    outputs, positions = batch_of(examples, targets.num_outputs)
    generator = torch.Generator().manual_seed(4)
    partners = [torch.randperm(6, generator=generator) for _ in range(2)]
    found = in_pieces(targets, outputs, positions, 6, [Mixed(partner=partner, share=0.7) for partner in partners])
    labels = torch.from_numpy(examples.labels)[positions]
    others = labels[torch.cat([partners[0], 6 + partners[1]])]
    given = None if weights is None else torch.tensor(weights)
    own, other = (
        functional.cross_entropy(outputs, some, weight=given, label_smoothing=0.1, reduction="mean")
        for some in (labels, others)
    )
    assert_same_loss_and_gradient(found, 0.7 * own + 0.3 * other, outputs)


def test_without_weights_a_loss_is_torchs_bit_for_bit_where_the_batch_is_whole() -> None:
    examples = examples_of()
    targets = make_targets(examples, CLASSES, device=CPU)
    outputs, positions = batch_of(examples, 3, size=8)
    expected = functional.cross_entropy(outputs, torch.from_numpy(examples.labels)[positions])
    assert torch.equal(targets.loss_sum(outputs, positions) / targets.total_weight(positions), expected)


def test_a_half_precision_output_has_its_loss_as_float32() -> None:
    targets = make_targets(examples_of(), CLASSES, device=CPU)
    outputs, positions = batch_of(examples_of(), 3)
    half = outputs.detach().to(torch.bfloat16)
    assert torch.equal(targets.loss_sum(half, positions), targets.loss_sum(half.float(), positions))


def test_an_evaluation_weighs_no_class_and_smooths_no_label() -> None:
    examples = examples_of()
    plain = make_targets(examples, CLASSES, device=CPU)
    other = make_targets(examples, CLASSES, device=CPU, class_weights=WEIGHTS, label_smoothing=0.3)
    outputs, positions = batch_of(examples, 3)
    found = other.evaluate(outputs.detach(), positions)
    assert found.metrics == plain.evaluate(outputs.detach(), positions).metrics
    assert found.metrics["loss"] == pytest.approx(
        float(functional.cross_entropy(outputs.detach(), torch.from_numpy(examples.labels)[positions])), abs=1e-6
    )


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_outside_the_classes_is_one_line_and_no_failed_step(split: str, label: int) -> None:
    labels = examples_of().labels.copy()
    position = int(getattr(examples_of(), split)[2])
    labels[position] = label
    name = {"train": "training", "val": "validation", "test": "test"}[split]
    with pytest.raises(DataError, match=rf"\[0, 2\].*example {position} of the {name} split has {label}\. Prepare"):
        make_targets(examples_of(labels=labels), CLASSES, device=CPU)


def test_examples_in_no_split_need_no_label_and_no_number() -> None:
    unused = np.setdiff1d(np.arange(NUM_EXAMPLES), np.concatenate([examples_of().train, examples_of().val, examples_of().test]))
    labels, values = examples_of().labels.copy(), numbers_of().values
    assert values is not None
    labels[unused], values[unused] = -1, np.nan
    make_targets(examples_of(labels=labels), CLASSES, device=CPU)
    make_targets(numbers_of(values=values), (), device=CPU)


@pytest.mark.parametrize("label", [-2, 3])
def test_class_targets_by_themselves_refuse_a_label_that_is_none(label: int) -> None:
    with pytest.raises(DataError, match=f"example 1 has {label}"):
        ClassTargets(torch.tensor([0, label, 2, -1]), CLASSES)


@pytest.mark.parametrize("size", [1, 5, 12])
def test_numbers_are_learnt_standardised_by_the_training_split(size: int) -> None:
    examples = numbers_of()
    targets = make_targets(examples, (), device=CPU)
    outputs, positions = batch_of(examples, targets.num_outputs)
    assert examples.values is not None
    training = examples.values[examples.train].astype(np.float64)
    standardised = torch.from_numpy((training - training.mean()) / training.std())
    expected = functional.mse_loss(outputs.squeeze(1), standardised[:12].float())
    assert_same_loss_and_gradient(in_pieces(targets, outputs, positions, size), expected, outputs)
    assert float(standardised.mean()) == pytest.approx(0)
    assert float(standardised.std(correction=0)) == pytest.approx(1)


def test_mixed_numbers_have_the_gradient_of_the_blended_number() -> None:
    examples = numbers_of()
    targets = make_targets(examples, (), device=CPU)
    outputs, positions = batch_of(examples, 1)
    partner = torch.arange(12).flip(0)
    loss = targets.loss_sum(outputs, positions, Mixed(partner=partner, share=0.8))
    assert isinstance(targets, NumberTargets)
    standardised = (targets.values[positions] - targets.mean) / targets.std
    blended = functional.mse_loss(outputs.squeeze(1), 0.8 * standardised + 0.2 * standardised[partner], reduction="sum")
    gradients = [torch.autograd.grad(one, outputs, retain_graph=True)[0] for one in (loss, blended)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)


def test_always_the_trainings_mean_has_a_loss_of_1_and_an_r2_of_0_on_the_training_split() -> None:
    examples = numbers_of()
    targets = make_targets(examples, (), device=CPU)
    found = targets.evaluate(torch.zeros(24, 1), torch.from_numpy(examples.train))
    assert found.metrics["loss"] == pytest.approx(1, abs=1e-6)
    assert found.metrics["r2"] == pytest.approx(0, abs=1e-6)


def test_predictions_of_a_logarithm_are_in_the_targets_own_unit() -> None:
    prices = np.exp(np.random.default_rng(2).normal(5, 1, NUM_EXAMPLES))
    examples = numbers_of(values=np.log(prices).astype(np.float32))
    targets = make_targets(examples, (), device=CPU, is_log=True)
    assert isinstance(targets, NumberTargets)
    outputs = torch.tensor((np.log(prices[examples.val] * 2) - targets.mean) / targets.std, dtype=torch.float32)[:, None]
    found = targets.evaluate(outputs, torch.from_numpy(examples.val))
    assert found.predictions == pytest.approx(prices[examples.val] * 2, rel=1e-4)
    assert found.metrics["mae"] == pytest.approx(prices[examples.val].mean(), rel=1e-4)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_number_that_is_none_is_named(number: float) -> None:
    values = numbers_of().values
    assert values is not None
    position = int(numbers_of().val[1])
    values[position] = number
    with pytest.raises(DataError, match=rf"finite, but example {position} of the validation split has {number}\. Mend"):
        make_targets(numbers_of(values=values), (), device=CPU)


def test_equal_numbers_are_nothing_to_learn() -> None:
    values = np.full(NUM_EXAMPLES, 0.1, dtype=np.float32)  # whose mean is rounded
    with pytest.raises(DataError, match=r"all 24 of the training split are 0\.1\. Name another target"):
        make_targets(numbers_of(values=values), (), device=CPU)
