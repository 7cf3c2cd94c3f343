"""Rules between the keys of a recipe."""

import pytest
from pydantic import ValidationError

from study.trial import AugmentationConfig, OptimizerConfig, ScheduleConfig, TrialConfig


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(ValidationError, match="`nesterov` needs `momentum > 0`, but momentum is 0. Raise momentum"):
        OptimizerConfig(name="sgd", momentum=0.0, nesterov=True)


def test_a_warm_up_as_long_as_the_training_is_refused() -> None:
    with pytest.raises(ValidationError, match="but got 3 of 3. Lower it, or train for more epochs"):
        TrialConfig(schedule=ScheduleConfig(warmup_epochs=3), epochs=3)


@pytest.mark.parametrize("key", ["crop", "rotation", "color_jitter", "cutout"])
def test_all_augmentation_but_a_flip_changes_pixels(key: str) -> None:
    changed = AugmentationConfig.model_validate({key: 0.5})
    assert changed.changes_pixels
    assert changed.is_active


def test_a_flip_only_mirrors() -> None:
    assert AugmentationConfig(flip=0.5).is_active
    assert not AugmentationConfig(flip=0.5).changes_pixels
    assert AugmentationConfig(mixing="cutmix").changes_pixels
