import numpy as np
import pytest
import torch
from sklearn import metrics

from study.training.metrics import count_confusions, summarize

CLASSES = ("a", "b", "c", "d")


def measured(labels: list[int], predictions: list[int]) -> dict[str, float]:
    return summarize(count_confusions(torch.tensor(labels), torch.tensor(predictions), len(CLASSES)), CLASSES)


@pytest.mark.parametrize("seed", range(5))
def test_every_metric_agrees_with_scikit_learn(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.choice(4, size=80, p=[0.6, 0.2, 0.15, 0.05])
    predictions = np.where(generator.random(80) < 0.6, labels, generator.integers(0, 4, 80))
    found = measured(labels.tolist(), predictions.tolist())
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predictions))
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(labels, predictions))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(labels, predictions, average="macro", zero_division=0))
    for label, recall in zip(np.unique(labels), metrics.recall_score(labels, predictions, average=None), strict=True):
        assert found[f"recall.{CLASSES[label]}"] == pytest.approx(recall)


def test_the_confusion_matrix_has_classes_in_rows() -> None:
    labels, predictions = [0, 0, 1, 2, 2, 2], [0, 1, 1, 0, 2, 1]
    found = count_confusions(torch.tensor(labels), torch.tensor(predictions), 3)
    assert found.tolist() == metrics.confusion_matrix(labels, predictions).tolist()


def test_a_class_without_photos_has_no_recall_and_does_not_count_in_balanced_accuracy() -> None:
    found = measured([0, 0, 1, 1], [0, 0, 1, 0])
    assert found["balanced_accuracy"] == 0.75
    assert sorted(name for name in found if name.startswith("recall.")) == ["recall.a", "recall.b"]


def test_a_class_that_was_only_predicted_counts_in_macro_f1_as_in_scikit_learn() -> None:
    labels, predictions = [0, 0, 1, 1], [0, 0, 1, 3]
    expected = metrics.f1_score(labels, predictions, average="macro", zero_division=0)
    assert measured(labels, predictions)["macro_f1"] == pytest.approx(expected)


def test_no_photo_is_no_result() -> None:
    with pytest.raises(ValueError, match="at least one photo"):
        summarize(np.zeros((2, 2), dtype=np.int64), ("a", "b"))
