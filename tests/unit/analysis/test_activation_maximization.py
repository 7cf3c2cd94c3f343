import numpy as np
import pytest
import torch

from study.analysis.activation import UnitKind, channel_unit, class_unit
from study.analysis.activation_maximization import maximize_activation
from study.analysis.fourier_images import images_of, start_spectrum
from study.analysis.image_transforms import SURROUNDING, moved
from tests.explained_models import contract_of, random_model, random_photos

CLASSES = ("cello", "viola")


def test_a_class_is_excited_more_by_its_image_than_by_the_noise_it_began_with_or_by_any_photo() -> None:
    model = random_model(contract_of(32, classes=CLASSES))
    unit = class_unit(model, "viola", UnitKind.SCORE)
    found = maximize_activation(model, unit, num_images=2, steps=30)
    assert found.pixels.shape == (2, 1, 32, 32, 3)
    photos = model.contract.normalization(torch.from_numpy(random_photos(32, 32)))
    with torch.no_grad():
        of_photos = model.module(photos)[:, 1]
    assert found.activations.min() > max(found.starts.max(), float(of_photos.max()))


def test_the_same_seed_gives_the_same_images_and_another_others() -> None:
    model = random_model(contract_of(32, classes=CLASSES))
    unit = channel_unit(model, "fire2", 3)
    one, same, other = (maximize_activation(model, unit, num_images=1, steps=3, seed=seed).pixels for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_model_without_colour_gets_images_without_colour() -> None:
    model = random_model(contract_of(32, classes=CLASSES, colour_mode="greyscale"))
    found = maximize_activation(model, class_unit(model, "viola", UnitKind.SCORE), num_images=1, steps=30)
    assert np.ptp(found.pixels, axis=-1).max() == 0
    assert found.activations.min() > found.starts.max()


def test_images_of_several_views_are_made_together() -> None:
    model = random_model(contract_of(32, classes=CLASSES, views=("front", "back")))
    found = maximize_activation(model, class_unit(model, "viola", UnitKind.SCORE), num_images=2, steps=2)
    assert found.pixels.shape == (2, 2, 32, 32, 3)
    assert found.activations.shape == (2,)


def test_the_weights_get_no_gradient_and_the_global_generator_stays() -> None:
    model = random_model(contract_of(32, classes=CLASSES))
    before = torch.get_rng_state()
    maximize_activation(model, channel_unit(model, "conv1", 0), num_images=1, steps=2)
    assert all(parameter.grad is None for parameter in model.module.parameters())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("size_px", [31, 32])
def test_an_image_begins_as_grey_with_a_little_noise(size_px: int) -> None:
    images = images_of(start_spectrum(2, size_px, torch.Generator().manual_seed(0)), size_px)
    assert images.shape == (2, 3, size_px, size_px)
    assert (images - 0.5).abs().max() < 0.1
    assert images.std() > 0


def test_one_step_moves_low_frequencies_most() -> None:
    spectrum = start_spectrum(1, 32, torch.Generator().manual_seed(0)).requires_grad_()
    noise = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((images_of(spectrum, 32) * noise).sum(), [spectrum])
    strength = gradient.square().sum(dim=(0, 1, 4))
    assert strength[1:4, 1:4].mean() > 10 * strength[12:20, 12:].mean()


def test_a_move_is_small_and_drawn_from_the_generator() -> None:
    images = torch.full((8, 3, 64, 64), 0.9)
    images[:, :, 24:40, 24:40] = 0.1
    one, same, other = (moved(images, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    torch.testing.assert_close(one[:, :, 29:35, 29:35], torch.full((8, 3, 6, 6), 0.1))  # the middle is still there
    assert len({picture.sum().item() for picture in one}) > 1  # each image by draws of its own
    assert one.min() >= 0.1 - 1e-6
    assert ((one - SURROUNDING).abs() <= 0.4 + 1e-6).all()
