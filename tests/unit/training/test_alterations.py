"""Copies in other colours: colour is gone or turned, nothing else is."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from study.confirm_definition import Alteration
from study.data.study_data import StudyData
from study.models.colour_modes import without_colour
from study.training.alterations import AT_ONCE, altered
from study.training.evaluation import evaluate_split
from tests.trainings import CPU, build, config_of

BROWN, BLUE = (150, 90, 30), (30, 90, 150)


def photos(num_photos: int = 3, size_px: int = 8) -> torch.Tensor:
    return torch.randint(
        0, 256, (num_photos, size_px, size_px, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def test_greyscale_copies_are_what_training_without_colour_sees() -> None:
    given = photos()
    found = altered(given, "greyscale")
    assert torch.equal(found[..., 0], found[..., 1])
    assert torch.equal(found[..., 1], found[..., 2])
    assert torch.equal(found, without_colour(given))


def test_a_shifted_hue_is_the_opposite_one_as_light_and_as_saturated() -> None:
    brown = torch.tensor(BROWN, dtype=torch.uint8).expand(1, 2, 2, 3).contiguous()
    np.testing.assert_allclose(altered(brown, "hue_shift")[0, 0, 0].int(), BLUE, atol=1)


@pytest.mark.parametrize("alteration", ["greyscale", "hue_shift"])
def test_what_has_no_colour_stays_as_it_is(alteration: Alteration) -> None:
    grey = torch.arange(192, dtype=torch.uint8).view(3, 8, 8, 1).expand(3, 8, 8, 3).contiguous()
    assert (altered(grey, alteration).int() - grey.int()).abs().max() <= 1


@pytest.mark.parametrize("alteration", ["greyscale", "hue_shift"])
def test_a_photo_becomes_the_same_alone_and_in_a_batch(alteration: Alteration) -> None:
    given = photos(AT_ONCE + 1)
    found = altered(given, alteration)
    assert torch.equal(torch.cat([altered(photo[None], alteration) for photo in given]), found)
    assert found.is_contiguous()
    assert found.dtype == torch.uint8


def test_an_evaluation_sees_the_copies(striped_data: StudyData) -> None:
    grey = striped_data.images.mean(axis=3, keepdims=True).astype(np.uint8).repeat(3, axis=3)
    without_colour = replace(striped_data, images=grey)
    model = build(config_of(), striped_data)
    of_grey = evaluate_split(model, without_colour, "test", normalization="imagenet", device=CPU)
    of_grey_again = evaluate_split(model, without_colour, "test", normalization="imagenet", device=CPU, altered="greyscale")
    assert of_grey_again.metrics["loss"] == pytest.approx(of_grey.metrics["loss"], rel=1e-2)
    as_they_are = evaluate_split(model, striped_data, "test", normalization="imagenet", device=CPU)
    learnt_grey = partial(evaluate_split, model, striped_data, "test", normalization="imagenet", device=CPU)
    assert learnt_grey(colour_mode="greyscale", altered="greyscale").metrics == learnt_grey(colour_mode="greyscale").metrics
    copies = evaluate_split(model, striped_data, "test", normalization="imagenet", device=CPU, altered="hue_shift")
    assert copies.metrics["loss"] != as_they_are.metrics["loss"]
