import numpy as np
import pytest
import torch
from torch import nn

from study.analysis.activation import UnitKind, class_unit, output_unit
from study.analysis.attribution import grad_cam, integrated_gradients
from study.analysis.explanation import Method, activation_of, applicable_methods
from study.data.images import PADDING
from study.errors import ModelError
from tests.explained_models import contract_of, linear_model, random_model, random_photos

CLASSES = ("cello", "viola")


def test_grad_cam_is_bright_where_the_feature_is_that_the_output_reads() -> None:
    brightness = nn.Conv2d(3, 1, kernel_size=1, bias=False)
    nn.init.ones_(brightness.weight)
    model = linear_model(
        contract_of(8),
        {"map": nn.Sequential(brightness, nn.ReLU()), "pool": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())},
    )
    nn.init.ones_(model.module.head[2].weight)  # type: ignore[index]
    pixels = np.zeros((1, 8, 8, 3), np.uint8)
    pixels[0, 2:4, 5:7] = 255
    [found] = grad_cam(model, pixels, output_unit(model, pixels))
    is_bright = pixels[0, :, :, 0] == 255
    assert found[is_bright].min() > 0
    assert np.abs(found[~is_bright]).max() == 0


@pytest.mark.parametrize("backbone", ["squeezenet1_1", "resnet18"])
def test_grad_cam_finds_the_last_maps_of_a_backbone_though_it_is_frozen(backbone: str) -> None:
    classes = tuple("abcdefgh")  # of a random network, some have nothing that speaks for them
    model = random_model(contract_of(96, backbone=backbone, classes=classes))
    pixels = random_photos(1, 96)
    maps = [grad_cam(model, pixels, class_unit(model, name, UnitKind.SCORE)) for name in classes]
    assert maps[0].shape == (1, 96, 96)
    assert min(found.min() for found in maps) >= 0
    assert max(found.max() for found in maps) > 0
    assert len({found.tobytes() for found in maps}) > 1  # of each class its own


def test_the_attributions_of_a_linear_model_are_exact_and_sum_to_the_change() -> None:
    model = linear_model(contract_of(8))
    pixels = random_photos(1, 8)
    unit = output_unit(model, pixels)
    empty = np.broadcast_to(np.array(model.contract.padding, np.uint8), pixels.shape).copy()
    found = integrated_gradients(model, pixels, unit, steps=4)
    assert found.sum() == pytest.approx(activation_of(model, pixels, unit) - activation_of(model, empty, unit), abs=1e-4)
    moved = empty.copy()
    moved[0, 3, 4] = pixels[0, 3, 4]
    change = activation_of(model, moved, unit) - activation_of(model, empty, unit)
    assert found[0, 3, 4] == pytest.approx(change, abs=1e-5)


def test_of_a_model_without_colour_the_photo_of_nothing_has_none_either() -> None:
    model = linear_model(contract_of(8, classes=("cello", "viola"), colour_mode="greyscale"))
    unit = class_unit(model, "viola", UnitKind.SCORE)
    photo = random_photos(1, 8)
    nothing = np.broadcast_to(np.array(PADDING, dtype=np.uint8), photo.shape)
    expected = activation_of(model, photo, unit) - activation_of(model, nothing, unit)
    assert integrated_gradients(model, photo, unit).sum() == pytest.approx(expected, rel=1e-3)


def test_views_are_attributed_each_by_itself() -> None:
    model = linear_model(contract_of(8, views=("front", "back")))
    with torch.no_grad():
        model.module.head[2].weight.view(2, -1)[0] = 0  # type: ignore[index]
    pixels = random_photos(2, 8)
    front, back = integrated_gradients(model, pixels, output_unit(model, pixels))
    assert np.abs(front).max() == 0
    assert np.abs(back).max() > 0
    assert grad_cam(model, pixels, output_unit(model, pixels)).shape == (2, 8, 8)


class Tokens(nn.Module):
    """As vision transformers keep theirs."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(2).transpose(1, 2)


def test_a_network_of_tokens_is_told_the_methods_that_are_left() -> None:
    model = linear_model(contract_of(8, backbone="vit_b_16"), {"embedding": Tokens()})
    pixels = random_photos(1, 8)
    unit = output_unit(model, pixels)
    with pytest.raises(ModelError, match=r"`vit_b_16` has none: .* Use --method occlusion or integrated_gradients"):
        grad_cam(model, pixels, unit)
    assert applicable_methods(model, pixels, unit) == (Method.OCCLUSION, Method.INTEGRATED_GRADIENTS)
    assert integrated_gradients(model, pixels, unit).shape == (1, 8, 8)


def test_explaining_leaves_no_gradient_and_no_hook_on_the_model() -> None:
    model = random_model(contract_of(32, classes=CLASSES))
    pixels = random_photos(1, 32)
    unit = class_unit(model, "viola", UnitKind.SCORE)
    grad_cam(model, pixels, unit)
    integrated_gradients(model, pixels, unit, steps=2)
    assert all(parameter.grad is None for parameter in model.module.parameters())
    assert not any(layer._forward_hooks for layer in model.module.modules())
