import numpy as np
import pytest
from PIL import Image

from study.data import statistics
from study.data.statistics import CHUNK_PHOTOS, channel_statistics, statistics_of_parts


def drawn(num_photos: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num_photos, 9, 9, 3), dtype=np.uint8)


@pytest.mark.parametrize("num_photos", [1, CHUNK_PHOTOS, CHUNK_PHOTOS + 1, 3 * CHUNK_PHOTOS - 1])
def test_statistics_equal_numpys_over_all_pixels(num_photos: int) -> None:
    images = drawn(num_photos)
    found = channel_statistics(images, np.arange(num_photos))
    scaled = images / 255
    assert found.mean == pytest.approx(scaled.mean(axis=(0, 1, 2)), rel=1e-12)
    assert found.std == pytest.approx(scaled.std(axis=(0, 1, 2)), rel=1e-12)


def test_only_the_images_asked_for_count() -> None:
    images = np.zeros((4, 5, 5, 3), dtype=np.uint8)
    images[[1, 3]] = 255
    assert channel_statistics(images, np.array([1, 3])).mean == (1.0, 1.0, 1.0)


def test_order_of_images_changes_no_bit() -> None:
    images = drawn(100)
    assert channel_statistics(images, np.arange(100)) == channel_statistics(images, np.arange(100)[::-1])


def test_channels_are_kept_apart() -> None:
    images = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    images[..., 0] = 51
    images[0, ..., 2] = 255
    found = channel_statistics(images, np.arange(2))
    assert found.mean == pytest.approx((0.2, 0.0, 0.5))
    assert found.std == pytest.approx((0.0, 0.0, 0.5))


def test_luma_has_the_moments_of_the_photos_without_colour() -> None:
    images = drawn(9)
    found = channel_statistics(images, np.arange(9)).without_colour()
    grey = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in images]) / 255
    assert found.mean == pytest.approx((grey.mean(),) * 3, rel=1e-12)
    assert found.std == pytest.approx((grey.std(),) * 3, rel=1e-12)


def test_no_image_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        channel_statistics(drawn(1), np.array([], dtype=np.int64))


def test_parts_have_the_statistics_that_each_has_alone() -> None:
    images = drawn(3 * CHUNK_PHOTOS)
    parts = [np.arange(0, 100), np.arange(50, 190), np.array([3])]
    assert statistics_of_parts(images, parts) == tuple(channel_statistics(images, indices) for indices in parts)


def test_every_image_is_counted_once_however_many_parts_it_is_in(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    count = statistics._pixel_counts

    def counting(image: np.ndarray) -> np.ndarray:
        counted.append(1)
        return count(image)

    monkeypatch.setattr(statistics, "_pixel_counts", counting)
    statistics_of_parts(drawn(10), [np.arange(9), np.arange(5), np.arange(3, 9)])
    assert len(counted) == 9
