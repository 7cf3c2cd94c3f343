from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from study.training.metrics import count_confusions, expected_calibration_error, measure_classes, measure_numbers, summarize

CLASSES = ("a", "b", "c", "d")
SEVEN = tuple("abcdefg")


def measured(labels: list[int], predictions: list[int]) -> dict[str, float]:
    return summarize(count_confusions(torch.tensor(labels), torch.tensor(predictions), len(CLASSES)), CLASSES)


def outputs_of(num_examples: int, num_classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits that are right more often than not, and labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_classes, (num_examples,), generator=generator)
    logits = torch.randn(num_examples, num_classes, generator=generator)
    return logits + 2 * torch.nn.functional.one_hot(labels, num_classes), labels


@pytest.mark.parametrize("seed", range(5))
def test_every_metric_agrees_with_scikit_learn(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.choice(4, size=80, p=[0.6, 0.2, 0.15, 0.05])
    predictions = np.where(generator.random(80) < 0.6, labels, generator.integers(0, 4, 80))
    found = measured(labels.tolist(), predictions.tolist())
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predictions))
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(labels, predictions))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(labels, predictions, average="macro", zero_division=0))
    present = np.unique(labels)
    for name, score in (("recall", metrics.recall_score), ("precision", metrics.precision_score)):
        expected = score(labels, predictions, labels=present, average=None, zero_division=0)
        assert [found[f"{name}.{CLASSES[label]}"] for label in present] == pytest.approx(expected.tolist())


def test_the_confusion_matrix_has_classes_in_rows() -> None:
    labels, predictions = [0, 0, 1, 2, 2, 2], [0, 1, 1, 0, 2, 1]
    found = count_confusions(torch.tensor(labels), torch.tensor(predictions), 3)
    assert found.tolist() == metrics.confusion_matrix(labels, predictions).tolist()


def test_a_class_without_photos_has_no_recall_and_does_not_count_in_balanced_accuracy() -> None:
    found = measured([0, 0, 1, 1], [0, 0, 1, 3])
    assert found["balanced_accuracy"] == 0.75
    assert sorted(name for name in found if name.startswith("recall.")) == ["recall.a", "recall.b"]
    assert sorted(name for name in found if name.startswith("precision.")) == ["precision.a", "precision.b"]


def test_a_class_that_was_never_predicted_has_a_precision_of_0() -> None:
    assert measured([0, 1], [0, 0])["precision.b"] == 0.0


def test_a_class_that_was_only_predicted_counts_in_macro_f1_as_in_scikit_learn() -> None:
    labels, predictions = [0, 0, 1, 1], [0, 0, 1, 3]
    expected = metrics.f1_score(labels, predictions, average="macro", zero_division=0)
    assert measured(labels, predictions)["macro_f1"] == pytest.approx(expected)


def slow_calibration_error(probs: np.ndarray, labels: np.ndarray, num_bins: int) -> float:
    """Guo et al. 2017, eq. 2 and 3, one photo and one bin at a time: bin m holds confidences in ((m - 1) / M, m / M]."""
    error = 0.0
    for number in range(1, num_bins + 1):
        confidences, hits = [], []
        for row, label in zip(probs, labels, strict=True):
            confidence = float(row.max())
            if (number - 1) / num_bins < confidence <= number / num_bins:
                confidences.append(confidence)
                hits.append(float(row.argmax() == label))
        if hits:
            error += len(hits) / len(labels) * abs(float(np.mean(hits)) - float(np.mean(confidences)))
    return error


@pytest.mark.parametrize("num_classes", [2, 3, 10])
@pytest.mark.parametrize("num_bins", [1, 15])
def test_the_calibration_error_is_the_papers(num_classes: int, num_bins: int) -> None:
    logits, labels = outputs_of(300, num_classes)
    probs = (3 * logits).softmax(dim=1)
    expected = slow_calibration_error(probs.double().numpy(), labels.numpy(), num_bins)
    assert float(expected_calibration_error(probs, labels, num_bins)) == pytest.approx(expected, abs=1e-7)


def test_the_calibration_error_of_certain_answers_is_their_share_of_mistakes() -> None:
    probs = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert float(expected_calibration_error(probs, torch.tensor([0, 0, 1, 1]))) == 0.25
    assert float(expected_calibration_error(probs, torch.tensor([0, 0, 0, 1]))) == 0.0


def test_a_classifiers_metrics_agree_with_torch_and_scikit_learn() -> None:
    logits, labels = outputs_of(200, 7)
    found = measure_classes(logits, labels, SEVEN)
    assert found.metrics["loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels)), abs=1e-6)
    expected = metrics.top_k_accuracy_score(labels, logits, k=5)
    assert found.metrics["top5_accuracy"] == pytest.approx(expected)
    expected = float(expected_calibration_error(logits.softmax(dim=1), labels))
    assert found.metrics["calibration_error"] == pytest.approx(expected, abs=1e-6)
    assert found.predictions.tolist() == logits.argmax(dim=1).tolist()
    assert found.confusion is not None
    assert np.array(found.confusion.counts).tolist() == metrics.confusion_matrix(labels, found.predictions).tolist()


def test_the_five_most_probable_are_asked_for_only_among_more_than_five() -> None:
    assert "top5_accuracy" not in measure_classes(*outputs_of(20, 5), SEVEN[:5]).metrics
    assert "top5_accuracy" in measure_classes(*outputs_of(20, 6), SEVEN[:6]).metrics


def test_half_precision_logits_are_measured_as_float32() -> None:
    logits, labels = outputs_of(50, 4)
    half = logits.to(torch.bfloat16)
    assert measure_classes(half, labels, CLASSES).metrics == measure_classes(half.float(), labels, CLASSES).metrics


def test_logits_that_are_no_numbers_have_no_finite_loss_and_raise_nothing() -> None:
    logits, labels = outputs_of(8, 7)
    logits[2] = torch.nan
    assert np.isnan(measure_classes(logits, labels, SEVEN).metrics["loss"])
    assert np.isnan(measure_numbers(logits[:, 0], logits[:, 1], mean=0.0, std=1.0, is_log=True).metrics["loss"])


def numbers_of(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    expected = 3 + 2 * torch.randn(60, generator=generator)
    return (expected - 3) / 2 + 0.3 * torch.randn(60, generator=generator), expected


@pytest.mark.parametrize("is_log", [False, True])
def test_metrics_of_numbers_agree_with_scikit_learn(is_log: bool) -> None:
    standardised, expected = numbers_of()
    found = measure_numbers(standardised, expected, mean=3.0, std=2.0, is_log=is_log)
    learnt = standardised.double() * 2 + 3
    unit = torch.exp if is_log else torch.clone
    assert found.metrics["mae"] == pytest.approx(metrics.mean_absolute_error(unit(expected.double()), unit(learnt)))
    assert found.metrics["r2"] == pytest.approx(metrics.r2_score(expected, learnt))
    assert found.metrics["loss"] == pytest.approx(metrics.mean_squared_error((expected - 3) / 2, standardised), rel=1e-6)
    assert found.predictions == pytest.approx(unit(learnt).numpy(), rel=1e-6)
    assert found.confusion is None
    assert found.predictions.dtype == np.dtype(np.float32)


@pytest.mark.parametrize(("predicted", "expected"), [([0.5, 0.5], 1.0), ([0.0, 1.0], 0.0)])
def test_the_r2_of_equal_numbers_is_scikit_learns(predicted: list[float], expected: float) -> None:
    found = measure_numbers(torch.tensor(predicted), torch.tensor([0.5, 0.5]), mean=0.0, std=1.0, is_log=False)
    assert found.metrics["r2"] == expected == metrics.r2_score([0.5, 0.5], predicted)


def test_the_exponential_of_a_wild_prediction_is_still_a_number() -> None:
    found = measure_numbers(torch.tensor([1000.0, 0.0]), torch.tensor([0.0, 1.0]), mean=0.0, std=1.0, is_log=True)
    assert np.isfinite(list(found.metrics.values())).all()
    assert np.isfinite(found.predictions).all()


class _Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what makes the host wait for a device: single values read, shapes that depend on values."""

    num_reads = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.num_reads += any(name in str(func) for name in ("_local_scalar_dense", "nonzero", "bincount", "unique"))
        return func(*args, **kwargs or {})


def test_nothing_is_read_from_the_device_before_all_of_it_is_there() -> None:
    classes, numbers = outputs_of(20, 7), numbers_of()
    with _Reads() as reads:  # type: ignore[no-untyped-call]
        measure_classes(*classes, SEVEN)
        measure_numbers(*numbers, mean=3.0, std=2.0, is_log=True)
    assert reads.num_reads == 0


def test_no_example_is_no_result() -> None:
    with pytest.raises(ValueError, match="at least one example"):
        summarize(np.zeros((2, 2), dtype=np.int64), ("a", "b"))
    with pytest.raises(ValueError, match="at least one example"):
        measure_numbers(torch.zeros(0), torch.zeros(0), mean=0.0, std=1.0, is_log=False)
    with pytest.raises(ValueError, match="at least one example"):
        measure_classes(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), ("a", "b"))
