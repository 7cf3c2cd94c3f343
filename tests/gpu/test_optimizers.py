"""Optimisers, targets and running means on a GPU: the CPU's results, and no step that waits for the device."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from study.models.classifier import Classifier
from study.training.averaging import RunningMean
from study.training.optimizers import make_optimizer
from study.training.schedules import make_schedule
from study.training.targets import ClassTargets
from study.trial import OptimizerConfig, OptimizerName, ScheduleConfig

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

NUM_STEPS = 5
CLASSES = tuple("abcdefg")


def classifier(device: str) -> Classifier:
    torch.manual_seed(0)
    stages = {
        "frozen": nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16)),
        "trained": nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16)),
    }
    return Classifier(stages, nn.Linear(16, len(CLASSES)), num_frozen=1).to(device)


@contextmanager
def waiting_is_an_error() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def train(device: str, config: OptimizerConfig) -> dict[str, Tensor]:
    """The running mean of a short training, no step of which waits for the device."""
    generator = torch.Generator().manual_seed(1)
    photos = torch.randn(32, 8, generator=generator).to(device)
    labels = torch.randint(len(CLASSES), (32,), generator=generator).to(device)
    model = classifier(device)
    targets = ClassTargets(labels, CLASSES, torch.linspace(0.5, 1.5, len(CLASSES), device=device), label_smoothing=0.1)
    optimizer = make_optimizer(model, config)
    assert optimizer.defaults.get("fused") is (None if config.name == "rmsprop" else True)
    schedule = make_schedule(optimizer, ScheduleConfig(name="cosine", warmup_epochs=1), NUM_STEPS, 1)
    mean = RunningMean(model, 0.9)
    batch = torch.arange(16, device=device)
    torch.zeros(1, device=device).item()  # what CUDA sets up at its first use is no step's wait
    for number in range(NUM_STEPS):
        with waiting_is_an_error() if device == "cuda" and number > 0 else nullcontext():
            optimizer.zero_grad()
            loss = targets.loss_sum(model(photos[:16]), batch) / targets.total_weight(batch)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            mean.update()
    return {name: value.cpu() for name, value in mean.state_tensors().items()}


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop"])
def test_a_gpu_trains_as_the_cpu_does_and_no_step_waits(name: OptimizerName) -> None:
    config = OptimizerConfig(name=name, lr=1e-2, weight_decay=1e-2, nesterov=name == "sgd")
    expected = train("cpu", config)
    for key, value in train("cuda", config).items():
        torch.testing.assert_close(value, expected[key], rtol=1e-3, atol=1e-4)


def test_a_gpu_measures_as_the_cpu_does_and_the_same_each_time() -> None:
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(1000, len(CLASSES), generator=generator)
    labels = torch.randint(len(CLASSES), (1000,), generator=generator)
    positions = torch.arange(1000)
    expected = ClassTargets(labels, CLASSES).evaluate(logits, positions)
    on_gpu = ClassTargets(labels.cuda(), CLASSES)
    found, again = (on_gpu.evaluate(logits.cuda(), positions.cuda()) for _ in range(2))
    assert found.metrics == pytest.approx(expected.metrics, abs=1e-5)
    assert found.metrics == again.metrics
    assert np.array_equal(found.predictions, expected.predictions)
