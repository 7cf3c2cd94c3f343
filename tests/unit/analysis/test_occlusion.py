import math
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch

from study.analysis.activation import UnitKind, class_unit, output_unit
from study.analysis.occlusion import Bubbles, occlude
from study.data.images import Pixels
from study.errors import DefinitionError
from study.models.exported import ExportedModel
from tests.explained_models import contract_of, linear_model, random_model, random_photos

SIZE_PX = 20
BUBBLES = Bubbles(radius_px=4, stride_px=3)


def discs(bubbles: Bubbles, size_px: int) -> npt.NDArray[np.bool_]:
    """Which pixels each circle covers, [num_circles, size, size]: the definition of a circle, written out."""
    rows, columns = np.mgrid[:size_px, :size_px]
    return np.array(
        [
            (rows - row) ** 2 + (columns - column) ** 2 <= bubbles.radius_px**2
            for row, column in bubbles.centres(size_px).tolist()
        ]
    )


def changes_by_bytes(model: ExportedModel, photo: Pixels) -> list[float]:
    """a(X′) − a(X), each circle painted on the photo's bytes and the whole shown to the model."""
    photos = np.stack([photo, *(np.where(disc[:, :, None], np.uint8(255), photo) for disc in discs(BUBBLES, SIZE_PX))])
    numbers = model.predict_pixels(photos)
    return list(numbers[1:] - numbers[0])


@pytest.mark.parametrize("normalization", ["imagenet", "global"])
def test_circles_are_white_bytes_on_the_photo(normalization: Literal["imagenet", "global"]) -> None:
    model = linear_model(contract_of(SIZE_PX, normalization=normalization))
    pixels = random_photos(1, SIZE_PX)
    found = occlude(model, pixels, output_unit(model, pixels), BUBBLES)
    assert found.activation == pytest.approx(float(model.predict_pixels(pixels)[0]), abs=1e-5)
    assert found.changes[0] == pytest.approx(changes_by_bytes(model, pixels[0]), abs=1e-5)


def test_a_circle_changes_no_pixel_beside_it_even_where_a_photo_is_normalised_by_itself() -> None:
    model = linear_model(contract_of(SIZE_PX, normalization="local"))
    weights = model.module.head[2].weight  # type: ignore[index]
    with torch.no_grad():
        weights.zero_()
        weights.view(3, SIZE_PX, SIZE_PX)[:, 7, 11] = 1  # the model sees one pixel
    pixels = random_photos(1, SIZE_PX) // 4
    found = occlude(model, pixels, output_unit(model, pixels), BUBBLES)
    covers = discs(BUBBLES, SIZE_PX)[:, 7, 11]
    assert np.abs(found.changes[0, ~covers]).max() < 1e-6
    assert found.changes[0, covers].min() > 1
    # With the statistics of the painted photo every circle would have counted.
    assert np.abs(np.array(changes_by_bytes(model, pixels[0]))[~covers]).max() > 0.1


def test_a_pixel_is_the_mean_change_over_the_circles_that_cover_it() -> None:
    model = linear_model(contract_of(SIZE_PX))
    pixels = random_photos(1, SIZE_PX)
    found = occlude(model, pixels, output_unit(model, pixels), BUBBLES)
    covered = discs(BUBBLES, SIZE_PX)
    expected = (np.abs(found.changes[0])[:, None, None] * covered).sum(axis=0) / covered.sum(axis=0)
    np.testing.assert_allclose(found.maps[0], expected, rtol=1e-4)


def test_the_strongest_change_keeps_its_sign() -> None:
    model = linear_model(contract_of(SIZE_PX))
    pixels = random_photos(1, SIZE_PX)
    found = occlude(model, pixels, output_unit(model, pixels), BUBBLES)
    assert abs(found.strongest) == np.abs(found.changes).max()
    assert found.strongest in found.changes


def test_a_view_that_the_model_does_not_look_at_stays_dark() -> None:
    model = linear_model(contract_of(SIZE_PX, views=("front", "back")))
    with torch.no_grad():
        model.module.head[2].weight.view(2, -1)[1] = 0  # type: ignore[index]
    pixels = random_photos(2, SIZE_PX)
    found = occlude(model, pixels, output_unit(model, pixels), BUBBLES)
    assert found.maps.shape == (2, SIZE_PX, SIZE_PX)
    assert found.maps[0].min() > 0
    assert found.maps[1].max() < 1e-5


def test_the_batch_size_changes_nothing() -> None:
    model = random_model(contract_of(32, classes=("one", "two")))
    pixels = random_photos(1, 32)
    unit = class_unit(model, "two", UnitKind.SCORE)
    one, other = (occlude(model, pixels, unit, Bubbles(5, 5), batch_size) for batch_size in (7, 64))
    np.testing.assert_allclose(one.changes, other.changes, atol=1e-5)
    assert one.maps.max() > 0


def test_the_default_circles_have_a_radius_of_15_px_and_there_are_a_thousand() -> None:
    bubbles = Bubbles()
    assert len(bubbles.centres(224)) == 32**2
    places, is_inside = bubbles.pixels(224)
    assert (
        int(is_inside.sum(dim=1).max())
        == places.shape[1]
        == sum(row**2 + column**2 <= 15**2 for row in range(-15, 16) for column in range(-15, 16))
    )


@pytest.mark.parametrize("radius_px", [1, 2, 4, 7])
@pytest.mark.parametrize("size_px", [15, 20, 33])
def test_every_stride_that_is_let_through_reaches_every_pixel(radius_px: int, size_px: int) -> None:
    widest = math.floor(radius_px * math.sqrt(2))
    for stride_px in range(1, widest + 1):
        bubbles = Bubbles(radius_px, stride_px)
        bubbles.check(size_px)
        assert discs(bubbles, size_px).any(axis=0).all()
    with pytest.raises(DefinitionError, match=rf"Give --stride {widest} or less"):
        Bubbles(radius_px, widest + 1).check(size_px)


@pytest.mark.parametrize("radius_px", [0, 10, 50])
def test_a_circle_larger_than_the_photo_is_refused(radius_px: int) -> None:
    with pytest.raises(DefinitionError, match=rf"20 × 20 px, but --radius is {radius_px} px\. Give --radius from 1 to 9"):
        Bubbles(radius_px).check(20)
