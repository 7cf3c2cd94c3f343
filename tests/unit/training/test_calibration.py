"""One temperature for all scores: it finds the truth, helps, and never reads the test split."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from study.data.study_data import StudyData
from study.training.calibration import calibrate, calibration_of
from study.training.evaluation import evaluate_split
from tests.trainings import CPU, build, config_of


def scores_and_labels(num_examples: int, num_classes: int = 5) -> tuple[Tensor, Tensor]:
    """Labels drawn from what the scores say: calibrated by construction."""
    generator = torch.Generator().manual_seed(0)
    scores = 2 * torch.randn(num_examples, num_classes, generator=generator)
    return scores, torch.multinomial(scores.softmax(dim=1), 1, generator=generator)[:, 0]


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_what_scores_were_multiplied_by(sharpness: float) -> None:
    scores, labels = scores_and_labels(20_000)
    found = calibration_of(scores * sharpness, labels)
    assert found.temperature == pytest.approx(sharpness, rel=0.05)
    assert found.error_after < 0.02
    assert found.loss_after <= found.loss_before


def test_an_overconfident_model_is_better_calibrated_afterwards() -> None:
    scores, labels = scores_and_labels(2_000)
    found = calibration_of(4 * scores, labels)
    assert found.error_after < 0.25 * found.error_before
    assert found.metrics["val_calibration_error_before"] == found.error_before


def test_the_optimum_is_what_lbfgs_finds() -> None:
    scores, labels = scores_and_labels(500)
    logarithm = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logarithm], max_iter=100, tolerance_grad=1e-10)

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(3 * scores.double() / logarithm.exp(), labels)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    assert calibration_of(3 * scores, labels).temperature == pytest.approx(float(logarithm.detach().exp()), abs=1e-3)


def test_a_model_that_was_never_wrong_is_not_made_surer() -> None:
    labels = torch.arange(3).repeat(4)
    assert calibration_of(torch.eye(3)[labels], labels).temperature == 1.0


def test_scores_that_say_nothing_end_at_a_bound_and_not_at_infinity() -> None:
    scores, _ = scores_and_labels(300)
    found = calibration_of(10 * scores, torch.randint(0, 5, (300,), generator=torch.Generator().manual_seed(1)))
    assert 5 < found.temperature <= 20


def test_nothing_can_be_fitted_on_nothing() -> None:
    with pytest.raises(ValueError, match="at least one example"):
        calibration_of(torch.empty(0, 3), torch.empty(0, dtype=torch.int64))


def test_it_is_fitted_on_the_validation_split_and_the_test_split_is_not_read(striped_data: StudyData) -> None:
    model = build(config_of(), striped_data)
    found = calibrate(model, striped_data, "global", CPU)
    measured = evaluate_split(model, striped_data, "val", normalization="global", device=CPU).metrics
    assert found.loss_before == pytest.approx(measured["loss"], rel=1e-5)
    assert found.error_before == pytest.approx(measured["calibration_error"], abs=1e-6)
    spoilt = np.array(striped_data.images)
    spoilt[striped_data.splits.test] = 255
    labels = striped_data.labels.copy()
    labels[striped_data.splits.test] = 0
    assert calibrate(model, replace(striped_data, images=spoilt, labels=labels), "global", CPU) == found


def test_numbers_have_no_temperature(striped_data: StudyData) -> None:
    numbers = replace(striped_data, values=np.zeros(len(striped_data.labels), dtype=np.float32), classes=())
    with pytest.raises(ValueError, match="only probabilities"):
        calibrate(build(config_of(), striped_data), numbers, "global", CPU)
