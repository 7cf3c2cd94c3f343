import pytest
import torch
from pydantic import ValidationError
from torchvision.transforms import functional

from study.data.statistics import ChannelStatistics
from study.models.normalization import IMAGENET_MEAN, IMAGENET_STD, Normalizer, make_normalizer

STATISTICS = ChannelStatistics(mean=(0.2, 0.4, 0.6), std=(0.1, 0.2, 0.3))


def pixels() -> torch.Tensor:
    return torch.randint(0, 256, (4, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("kind", "mean", "std"), [("imagenet", IMAGENET_MEAN, IMAGENET_STD), ("global", STATISTICS.mean, STATISTICS.std)]
)
def test_given_statistics_normalise_as_torchvision_does(kind: str, mean: tuple[float], std: tuple[float]) -> None:
    found = make_normalizer(kind, STATISTICS)(pixels())  # type: ignore[arg-type]
    expected = functional.normalize(pixels().permute(0, 3, 1, 2) / 255, list(mean), list(std))
    torch.testing.assert_close(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_local_gives_every_photo_mean_0_and_standard_deviation_1_by_channel() -> None:
    found = make_normalizer("local", STATISTICS)(pixels())
    torch.testing.assert_close(found.mean(dim=(2, 3)), torch.zeros(4, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.std(dim=(2, 3), correction=0), torch.ones(4, 3))


@pytest.mark.parametrize("kind", ["imagenet", "global", "local"])
def test_bytes_and_the_same_pixels_between_0_and_1_give_the_same(kind: str) -> None:
    normalizer = make_normalizer(kind, STATISTICS)  # type: ignore[arg-type]
    torch.testing.assert_close(normalizer(pixels() / 255), normalizer(pixels()), atol=2e-6, rtol=0)


@pytest.mark.parametrize("kind", ["imagenet", "local"])
def test_the_result_is_written_where_it_is_asked_for(kind: str) -> None:
    normalizer = make_normalizer(kind, STATISTICS)  # type: ignore[arg-type]
    out = torch.full((4, 8, 8, 3), torch.nan)
    found = normalizer(pixels(), out)
    assert found.data_ptr() == out.data_ptr()
    assert torch.equal(found, normalizer(pixels()))


def test_local_equals_the_formula_written_out() -> None:
    images = pixels().permute(0, 3, 1, 2).double() / 255
    deviation, mean = torch.std_mean(images, dim=(2, 3), correction=0, keepdim=True)
    expected = ((images - mean) / deviation).float()
    torch.testing.assert_close(make_normalizer("local", STATISTICS)(pixels()), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", [(0, 8, 8, 3), (1, 1, 1, 3), (2, 5, 9, 3)])
def test_any_number_and_form_of_photos_is_normalised(shape: tuple[int, ...]) -> None:
    for kind in ("imagenet", "local"):
        found = make_normalizer(kind, STATISTICS)(torch.zeros(shape, dtype=torch.uint8))
        assert found.shape == (shape[0], 3, *shape[1:3])
        assert found.isfinite().all()


def test_a_photo_is_normalised_alike_in_every_batch() -> None:
    normalizer = make_normalizer("local", STATISTICS)
    torch.testing.assert_close(normalizer(pixels())[2:3], normalizer(pixels()[2:3]), atol=1e-6, rtol=0)


def test_a_flat_photo_becomes_zeros_and_not_nan() -> None:
    flat = torch.full((1, 4, 4, 3), 7, dtype=torch.uint8)
    assert make_normalizer("local", STATISTICS)(flat).abs().max() < 1e-4
    assert make_normalizer("global", ChannelStatistics((0.0,) * 3, (0.0,) * 3))(flat).isfinite().all()


def test_the_pixels_given_are_left_as_they_are() -> None:
    for given in (pixels(), pixels() / 255):
        before = given.clone()
        for kind in ("imagenet", "local"):
            make_normalizer(kind, STATISTICS)(given)
        assert torch.equal(given, before)


def test_statistics_are_required_unless_local() -> None:
    with pytest.raises(ValidationError, match="must be given unless local"):
        Normalizer(kind="global")
    with pytest.raises(ValidationError, match="must be given unless local"):
        Normalizer(kind="local", mean=IMAGENET_MEAN, std=IMAGENET_STD)


def test_a_normalizer_survives_json() -> None:
    for kind in ("imagenet", "global", "local"):
        normalizer = make_normalizer(kind, STATISTICS)
        assert Normalizer.model_validate_json(normalizer.model_dump_json()) == normalizer


def test_global_statistics_are_those_of_the_photos_as_they_are_seen() -> None:
    statistics = ChannelStatistics((0.2, 0.4, 0.6), (0.1, 0.2, 0.3), luma=(0.36, 0.15))
    without_colour = make_normalizer("global", statistics, "greyscale")
    assert (without_colour.mean, without_colour.std) == ((0.36,) * 3, (0.15,) * 3)
    assert make_normalizer("global", statistics, "rgb").mean == (0.2, 0.4, 0.6)
    assert make_normalizer("imagenet", statistics, "greyscale") == make_normalizer("imagenet", statistics)
