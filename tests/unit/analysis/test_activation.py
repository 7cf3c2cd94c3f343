from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn

from study.analysis.activation import (
    Activation,
    Unit,
    UnitKind,
    channel_unit,
    class_unit,
    network_input,
    normalized,
    output_unit,
    with_fixed_statistics,
)
from study.errors import DefinitionError
from study.models.contract import TargetScale
from study.models.normalization import make_normalizer
from tests.explained_models import STATISTICS, contract_of, linear_model, random_model, random_photos

CPU = torch.device("cpu")
CLASSES = ("cello", "viola", "violin")


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_probability_explained_is_the_one_that_predict_tells(temperature: float) -> None:
    contract = contract_of(8, classes=CLASSES).model_copy(update={"temperature": temperature})
    model = linear_model(contract)
    pixels = random_photos(1, 8)
    unit = class_unit(model, "viola")
    found = Activation(model, unit)(network_input(contract, pixels, CPU))
    assert float(found.detach()) == pytest.approx(model.predict_pixels(pixels)[0, 1], rel=1e-5)
    assert output_unit(model, pixels).name == CLASSES[model.predict_pixels(pixels)[0].argmax()]


@pytest.mark.parametrize("is_log", [False, True])
def test_the_number_explained_is_in_the_targets_unit(is_log: bool) -> None:
    model = linear_model(contract_of(8, target=TargetScale(mean=3.0, std=0.5, is_log=is_log)))
    pixels = random_photos(1, 8)
    found = Activation(model, output_unit(model, pixels))(network_input(model.contract, pixels, CPU))
    assert float(found.detach()) == pytest.approx(float(model.predict_pixels(pixels)[0]), rel=1e-5)


def test_gradients_reach_the_photo_through_frozen_stages() -> None:
    model = random_model(contract_of(32, classes=CLASSES))
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    score = Activation(model, class_unit(model, "viola", UnitKind.SCORE))(images).sum()
    (gradient,) = torch.autograd.grad(score, [images])
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("kind", ["imagenet", "global", "local"])
def test_normalising_with_gradients_gives_what_the_normaliser_gives(kind: Literal["imagenet", "global", "local"]) -> None:
    pixels = torch.from_numpy(random_photos(3, 8))
    normalizer = make_normalizer(kind, STATISTICS)
    torch.testing.assert_close(normalized(pixels.permute(0, 3, 1, 2) / 255, normalizer), normalizer(pixels), atol=1e-5, rtol=0)


def test_fixed_statistics_are_the_photos_own_where_the_normaliser_takes_these() -> None:
    [photo] = random_photos(1, 8)
    pixels = torch.from_numpy(photo)[None]
    local = make_normalizer("local", STATISTICS)
    fixed = with_fixed_statistics(local, photo)
    torch.testing.assert_close(fixed(pixels), local(pixels), atol=1e-5, rtol=0)
    half = pixels // 2
    assert not torch.allclose(fixed(half), local(half), atol=0.1)
    given = make_normalizer("global", STATISTICS)
    assert with_fixed_statistics(given, photo) is given


class ChannelsLast(nn.Module):
    """As Swin keeps its maps."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.permute(0, 2, 3, 1)


class Tokens(nn.Module):
    """As vision transformers keep theirs."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(2).transpose(1, 2)


@pytest.mark.parametrize("stage", [nn.Identity(), ChannelsLast(), Tokens()], ids=lambda stage: type(stage).__name__)
def test_a_channel_is_the_mean_over_its_places_wherever_a_stage_keeps_its_channels(stage: nn.Module) -> None:
    model = linear_model(contract_of(8), {"seen": stage})
    images = torch.rand(2, 3, 8, 8)
    found = Activation(model, channel_unit(model, "seen", 2))(images)
    torch.testing.assert_close(found, images[:, 2].mean(dim=(1, 2)))


def test_of_several_views_a_channels_activations_are_summed() -> None:
    model = linear_model(contract_of(8, classes=CLASSES, views=("front", "back")))
    images = torch.rand(4, 3, 8, 8)
    found = Activation(model, Unit(UnitKind.CHANNEL, 1, "pixels"))(images)
    torch.testing.assert_close(found, images[:, 1].mean(dim=(1, 2)).view(2, 2).sum(dim=1))


def test_a_stage_is_named_or_counted_from_1() -> None:
    model = random_model(contract_of(32, classes=CLASSES))
    assert channel_unit(model, "2", 0) == channel_unit(model, "fire2", 0) == Unit(UnitKind.CHANNEL, 0, "fire2")


@pytest.mark.parametrize(
    ("stage", "channel", "told"),
    [
        ("fire22", 0, "Did you mean `fire2`"),
        ("0", 0, "a number from 1 to 9, but is `0`"),
        ("fire2", 128, "`fire2` of `squeezenet1_1` has channels 0 to 127, but 128"),
        ("fire2", -1, "channels 0 to 127, but -1"),
    ],
)
def test_a_stage_or_channel_that_is_not_there_is_told(stage: str, channel: int, told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        channel_unit(random_model(contract_of(32, classes=CLASSES)), stage, channel)


def test_a_class_that_is_not_there_is_told_with_the_nearest() -> None:
    with pytest.raises(DefinitionError, match="`voila`. Did you mean `viola`"):
        class_unit(linear_model(contract_of(8, classes=CLASSES)), "voila")
    with pytest.raises(DefinitionError, match="this model gives a number"):
        class_unit(linear_model(contract_of(8)), "viola")


def test_a_models_own_statistics_are_kept_as_numbers_not_arrays() -> None:
    fixed = with_fixed_statistics(make_normalizer("local", STATISTICS), np.full((4, 4, 3), 128, np.uint8))
    assert fixed.mean == pytest.approx((128 / 255,) * 3)
