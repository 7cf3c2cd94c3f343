from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from study.data.examples import examples_of
from study.data.study_data import StudyData
from study.models.classifier import Classifier, build_classifier
from study.models.normalization import make_normalizer
from study.models.weights import RANDOM_DIGEST, ResolvedWeights
from study.training.batches import Entered, Indices
from study.training.evaluation import evaluate, evaluate_split
from study.training.targets import make_targets
from study.trial import TrialConfig

CPU = torch.device("cpu")


@dataclass
class PlainInputs:
    """Inputs without a cache; remembers what was asked of it."""

    data: StudyData
    model: Classifier
    num_views: int = 1
    sizes: tuple[int, ...] = ()
    is_training: bool = False

    def read(self, batches: Sequence[Indices]) -> Iterator[Tensor]:
        self.sizes = tuple(map(len, batches))
        return (torch.from_numpy(self.data.images[batch]) for batch in batches)

    def enter(self, raw: Tensor, generator: torch.Generator | None) -> Entered:
        self.is_training = self.is_training or generator is not None or self.model.training or torch.is_grad_enabled()
        return Entered(self.model.prefix(make_normalizer("imagenet", self.data.statistics)(raw)))


def model_of(data: StudyData, num_outputs: int = 3) -> Classifier:
    config = TrialConfig(backbone="squeezenet1_1", freeze_depth=0.5)
    return build_classifier(config, num_outputs, ResolvedWeights(None, RANDOM_DIGEST), seed=0, image_size=data.image_size)


def with_numbers(data: StudyData, *, is_log: bool) -> StudyData:
    values = np.random.default_rng(0).normal(2, 1, len(data.labels)).astype(np.float32)
    return replace(data, labels=np.full_like(data.labels, -1), classes=(), values=values, is_log=is_log)


def test_an_evaluation_is_that_of_all_outputs_at_once_whatever_the_batch(striped_data: StudyData) -> None:
    model = model_of(striped_data).train()
    inputs = PlainInputs(striped_data, model)
    examples = examples_of(striped_data)
    targets = make_targets(examples, striped_data.classes, device=CPU)
    found = evaluate(model, inputs, targets, examples.val, batch_size=4)
    assert (inputs.sizes, inputs.is_training, model.training) == ((4, 4, 4, 3), False, False)
    with torch.no_grad():
        outputs = model(
            make_normalizer("imagenet", striped_data.statistics)(torch.from_numpy(striped_data.images[examples.val]))
        )
    expected = targets.evaluate(outputs, torch.from_numpy(examples.val))
    assert found.predictions.tolist() == expected.predictions.tolist()
    assert found.metrics == pytest.approx(expected.metrics, abs=1e-6)


def test_a_split_read_anew_gives_what_its_inputs_give(striped_data: StudyData) -> None:
    model = model_of(striped_data)
    examples = examples_of(striped_data)
    targets = make_targets(examples, striped_data.classes, device=CPU)
    expected = evaluate(model, PlainInputs(striped_data, model), targets, examples.test, batch_size=4)
    found = evaluate_split(model, striped_data, "test", normalization="imagenet", device=CPU, batch_size=4)
    assert found.metrics == expected.metrics
    assert found.named("test")["test_accuracy"] == found.metrics["accuracy"]


@pytest.mark.parametrize("is_log", [False, True])
def test_numbers_are_evaluated_in_the_unit_of_their_target(striped_data: StudyData, is_log: bool) -> None:
    data = with_numbers(striped_data, is_log=is_log)
    found = evaluate_split(model_of(data, 1), data, "val", normalization="imagenet", device=CPU)
    assert data.values is not None
    expected = np.exp(data.values) if is_log else data.values
    error = np.abs(found.predictions - expected[data.splits.val]).mean()
    assert found.metrics["mae"] == pytest.approx(float(error), rel=1e-5)
    assert list(found.metrics) == ["loss", "mae", "r2"]


class Joined(nn.Module):
    """Features of two photos → one prediction that depends on their order."""

    def forward(self, features: Tensor) -> Tensor:
        first, second = features.reshape(len(features) // 2, 2, -1).unbind(dim=1)
        return (first + 0.1 * second)[:, :3]


def in_pairs(data: StudyData) -> StudyData:
    """Photos of one class and split as the two views of a row; one that is left over has none."""
    rows, views = np.arange(len(data.labels)) + len(data.labels), np.full(len(data.labels), "top")
    for _, photos in data.splits.items():
        for label in range(data.num_classes):
            members = photos[data.labels[photos] == label]
            for second, first in zip(members[1::2], members[::2], strict=False):
                rows[first], rows[second], views[second] = first, first, "back"
    return replace(data, rows=rows, views=views, example_views=("top", "back"))


def test_a_pair_of_photos_is_one_example(striped_data: StudyData) -> None:
    data = in_pairs(striped_data)
    model = Classifier({"flat": nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())}, Joined(), num_frozen=1)
    found = evaluate_split(model, data, "val", normalization="imagenet", device=CPU, batch_size=2)
    examples = examples_of(data)
    assert len(found.predictions) == len(examples.val) == 3 + 2 + 2
    with torch.no_grad():
        pixels = torch.from_numpy(data.images[examples.photos[examples.val].reshape(-1)])
        outputs = model(make_normalizer("imagenet", data.statistics)(pixels))
    assert found.predictions.tolist() == outputs.argmax(dim=1).tolist()


def test_an_evaluation_of_no_example_is_refused(striped_data: StudyData) -> None:
    model = model_of(striped_data)
    targets = make_targets(examples_of(striped_data), striped_data.classes, device=CPU)
    with pytest.raises(ValueError, match="at least one example"):
        evaluate(model, PlainInputs(striped_data, model), targets, np.array([], dtype=np.int64), batch_size=4)
