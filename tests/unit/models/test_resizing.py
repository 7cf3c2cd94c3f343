"""Photos made smaller a batch at a time are what each would be alone, and what packing would have made of it."""

import numpy as np
import pytest
import torch
from PIL import Image

from study.data.images import RESAMPLING
from study.models.resizing import resized


def photos(num_photos: int = 3, size_px: int = 48) -> torch.Tensor:
    return torch.randint(
        0, 256, (num_photos, size_px, size_px, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


@pytest.mark.parametrize("size_px", [16, 31, 47])
def test_photos_become_what_packing_makes_of_them(size_px: int) -> None:
    found = resized(photos(), size_px)
    assert found.is_contiguous()
    assert found.dtype == torch.uint8
    for small, photo in zip(found, photos(), strict=True):
        expected = Image.fromarray(photo.numpy()).resize((size_px, size_px), RESAMPLING)
        np.testing.assert_allclose(small.numpy().astype(int), np.asarray(expected).astype(int), atol=1)


def test_a_photo_becomes_the_same_alone_and_in_a_batch() -> None:
    assert torch.equal(torch.cat([resized(photo[None], 20) for photo in photos()]), resized(photos(), 20))


def test_photos_of_the_size_asked_for_are_left_as_they_are() -> None:
    given = photos()
    assert resized(given, 48) is given
