"""What recipes lose on altered copies of the test photos, against figures worked out otherwise."""

import re
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import ttest_rel

from study.analysis.altered_tests import altered_tests, answer_sentences
from study.analysis.comparison import compare
from study.analysis.evidence import StudyEvidence
from study.analysis.sentences import Unit

from .evidence_of import definition, evidence, trial

UNIT = Unit("balanced_accuracy", True)
TEST = (0.70, 0.74, 0.71, 0.69, 0.73)
NUM_CLASSES = 4


def study_with(grey: Sequence[float], metric: str = "balanced_accuracy") -> StudyEvidence:
    top = f'objective.metric = "{metric}"\n[confirm]\naltered_tests = ["greyscale", "hue_shift"]'
    study = definition('head = { choices = ["replace", "append"] }', top=top)
    searched = {"head": "append"}
    recalls = {f"test_recall.{number}": 0.5 for number in range(NUM_CLASSES)}
    repetitions = [
        trial(
            number,
            0.8,
            searched | {"seed": number, "fold": 0},
            metrics={f"test_{metric}": test, f"test_greyscale_{metric}": value, f"test_hue_shift_{metric}": test} | recalls,
        )
        for number, (test, value) in enumerate(zip(TEST, grey, strict=True))
    ]
    return evidence([trial(3, 0.8, searched)], study, repetitions)


def test_a_loss_is_the_paired_difference_with_its_interval() -> None:
    grey = (0.40, 0.46, 0.39, 0.41, 0.40)
    found, untouched = altered_tests(study_with(grey), UNIT)
    expected = ttest_rel(TEST, grey)
    interval = expected.confidence_interval()
    assert found.loss.value == pytest.approx(np.mean(TEST) - np.mean(grey))
    assert [found.loss.low, found.loss.high] == pytest.approx([interval.low, interval.high])
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.test.value == pytest.approx(np.mean(grey))
    assert found.is_shown
    assert (untouched.alteration, untouched.loss.value, untouched.is_shown) == ("hue_shift", 0.0, False)


@pytest.mark.parametrize(
    ("grey", "told"),
    [
        ((0.30, 0.33, 0.31, 0.30, 0.33), "loses 40.0 points .*, n = 5., 86 % of what it has above chance: it leans on colour"),
        ((0.66, 0.71, 0.67, 0.64, 0.70), "loses 3.8 points .*, n = 5., 8 % .* chance: it leans on colour for a part of it"),
        ((0.75, 0.70, 0.69, 0.72, 0.71), "without colour no loss is shown: 0.0 points"),
        ((0.80, 0.85, 0.81, 0.80, 0.82), "gains 10.2 points .*: it is misled by colour"),
    ],
)
def test_the_sentence_says_how_much_of_what_is_above_chance_is_lost(grey: Sequence[float], told: str) -> None:
    study = study_with(grey)
    assert re.search(told, altered_tests(study, UNIT)[0].sentence)


def test_where_chance_is_not_known_no_share_is_told() -> None:
    (found, _) = altered_tests(study_with((0.40, 0.46, 0.39, 0.41, 0.40), "accuracy"), Unit("accuracy", True))
    assert found.share is None
    assert found.sentence.endswith("colour matters to it")


def test_of_an_error_a_rise_is_the_loss() -> None:
    (found, _) = altered_tests(study_with([value + 0.2 for value in TEST], "loss"), Unit("loss", False))
    assert found.loss.value == pytest.approx(0.2)


def test_the_answer_and_its_limits_tell_of_the_copies() -> None:
    study = study_with((0.30, 0.34, 0.31, 0.29, 0.33))
    found = compare([study])
    assert [one for one in found.answer if "without colour" in one] == answer_sentences(found.altered, 3, "known")[:1]
    assert any("other colours" in warning for warning in found.warnings)


def test_without_altered_copies_nothing_is_said_of_them() -> None:
    study = evidence([trial(3, 0.8, {"head": "append"})], definition('head = { choices = ["replace", "append"] }'))
    assert altered_tests(study, UNIT) == []
    assert compare([study]).altered == []
