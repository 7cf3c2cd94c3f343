import math

import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from study.data.images import PADDING
from study.training.augmentation import Augmentation, Draws, _placements, blanked, recoloured, warped
from study.trial import AugmentationConfig

SIZE = 32


def smooth_photos(num_photos: int = 6) -> Tensor:
    """uint8 [num_photos, 32, 32, 3] without hard edges: reading between pixels is then nearly exact."""
    coarse = torch.rand((num_photos, 3, 5, 5), generator=torch.Generator().manual_seed(0))
    fine = torch.nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bicubic").clamp(0, 1)
    return (fine * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draws_of(**values: float) -> Draws:
    """One photo's draws, 0.5 where nothing else is said: no turn, a window in the middle, colours as they are."""
    return Draws(**{name: torch.tensor([values.get(name, 0.5)]) for name in Draws._fields})


def planes(pixels: Tensor) -> Tensor:
    return pixels.permute(0, 3, 1, 2)


EVERYTHING = AugmentationConfig(flip=0.5, crop=0.3, rotation=20, color_jitter=0.4, cutout=0.25)


def test_nothing_asked_is_nothing_done_and_nothing_drawn() -> None:
    photos, generator = smooth_photos(), draw()
    before = generator.get_state()
    assert Augmentation(AugmentationConfig())(photos, generator) is photos
    assert Augmentation(AugmentationConfig(mixing="mixup"))(photos, draw()).float().equal(photos.float())
    assert torch.equal(generator.get_state(), before)


def test_mirrored_photos_are_the_same_bytes_the_other_way_round() -> None:
    photos = smooth_photos(200)
    found = Augmentation(AugmentationConfig(flip=0.3))(photos, draw())
    assert found.dtype == torch.uint8
    is_mirrored = torch.tensor([torch.equal(one, photo.flip(1)) for one, photo in zip(found, photos, strict=True)])
    is_same = torch.tensor([torch.equal(one, photo) for one, photo in zip(found, photos, strict=True)])
    assert (is_mirrored ^ is_same).all()
    assert 40 <= int(is_mirrored.sum()) <= 80  # 60 ± three standard deviations


def test_every_photo_is_changed_in_its_own_way() -> None:
    photos = smooth_photos(1).expand(8, -1, -1, -1)
    for values in ({"crop": 0.5}, {"rotation": 30.0}, {"color_jitter": 0.5}, {"cutout": 0.4}):
        found = Augmentation(AugmentationConfig.model_validate(values))(photos, draw())
        assert len({one.numpy().tobytes() for one in found}) == 8, values


def test_the_generator_alone_decides() -> None:
    photos = smooth_photos()
    one, same, other = (Augmentation(EVERYTHING)(photos, draw(seed)) for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_two_halves_of_a_batch_become_what_the_whole_becomes() -> None:
    photos, generator = smooth_photos(), draw()
    halves = [Augmentation(EVERYTHING)(half, generator) for half in photos.chunk(2)]
    torch.testing.assert_close(torch.cat(halves), Augmentation(EVERYTHING)(photos, draw()))


def test_the_photos_given_are_left_as_they_are() -> None:
    photos = smooth_photos()
    before = photos.clone()
    for config in (EVERYTHING, AugmentationConfig(flip=1, cutout=0.5), AugmentationConfig(color_jitter=0.5)):
        Augmentation(config)(photos, draw())
    assert torch.equal(photos, before)


def test_augmented_pixels_stay_between_black_and_white() -> None:
    found = Augmentation(EVERYTHING)(smooth_photos(64), draw())
    assert (found.dtype, found.shape) == (torch.float32, (64, SIZE, SIZE, 3))
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.mark.parametrize("degrees", [-40.0, 15.0, 90.0])
def test_a_turned_photo_is_what_torchvision_turns(degrees: float) -> None:
    photo = smooth_photos(1) / 255
    placement = _placements(draws_of(angle=degrees / 90 / 2 + 0.5), AugmentationConfig(rotation=90))
    found = planes(warped(photo, placement))
    fill = [value / 255 for value in PADDING]
    expected = functional.rotate(planes(photo), degrees, InterpolationMode.BILINEAR, fill=fill)
    # Where the edge passes between pixels, torchvision weighs the fill twice.
    close = (found - expected).abs().amax(dim=1) < 1e-4
    assert close.float().mean() > 0.85
    assert close[:, 8:-8, 8:-8].all()


def test_a_cut_photo_is_what_torchvision_cuts_and_enlarges() -> None:
    photo = smooth_photos(1) / 255
    # A window of half the side: 16 px at (4, 12), of the 16 px that it can be moved by.
    draws = draws_of(crop=1.0, left=12 / 16, top=4 / 16)
    found = planes(warped(photo, _placements(draws, AugmentationConfig(crop=0.5))))
    expected = functional.resized_crop(planes(photo), 4, 12, 16, 16, [SIZE, SIZE], antialias=False)
    torch.testing.assert_close(found[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], atol=1e-5, rtol=0)


def test_a_window_is_no_smaller_than_asked_and_inside_the_photo() -> None:
    draws = Draws(*torch.rand((len(Draws._fields), 500), generator=draw()))
    corners = _placements(draws, AugmentationConfig(crop=0.4)) @ torch.tensor([[-1.0, 1.0], [-1.0, 1.0], [1.0, 1.0]])
    assert corners.abs().max() <= 1 + 1e-6
    sides = (corners[:, :, 1] - corners[:, :, 0]).abs() / 2
    assert sides.min() >= 0.6
    assert sides.min() < 0.61
    assert sides.max() > 0.99


def test_mirroring_a_turned_photo_is_exact() -> None:
    photo = smooth_photos(1) / 255
    config = AugmentationConfig(flip=0.5, rotation=90)
    plain, mirrored = (warped(photo, _placements(draws_of(angle=0.7, flip=flip), config)) for flip in (0.9, 0.1))
    torch.testing.assert_close(mirrored, plain.flip(2), atol=1e-5, rtol=0)


def test_what_turning_uncovers_has_the_colour_of_padding() -> None:
    photo = torch.ones((1, SIZE, SIZE, 3))
    found = warped(photo, _placements(draws_of(angle=1.0), AugmentationConfig(rotation=45)))
    torch.testing.assert_close(found[0, 0, 0] * 255, torch.tensor(PADDING, dtype=torch.float32))
    assert found[0, SIZE // 2, SIZE // 2].equal(torch.ones(3))


def test_colours_change_as_torchvision_changes_them_photo_by_photo() -> None:
    photos = smooth_photos(4) / 255
    factors = 0.5 + torch.rand((3, 4), generator=draw())
    found = planes(recoloured(photos, *factors))
    for one, photo, (brightness, contrast, saturation) in zip(found, planes(photos), factors.T.tolist(), strict=True):
        expected = functional.adjust_brightness(photo, brightness)
        expected = functional.adjust_contrast(expected, contrast)
        expected = functional.adjust_saturation(expected, saturation)
        torch.testing.assert_close(one, expected, atol=2e-6, rtol=0)


def test_colour_factors_are_in_the_range_asked() -> None:
    grey = torch.full((300, 2, 2, 3), 128, dtype=torch.uint8)  # contrast and saturation do nothing to an even grey
    found = Augmentation(AugmentationConfig(color_jitter=0.3))(grey, draw()).amax(dim=(1, 2, 3)) * 255 / 128
    assert found.min() >= 0.7 - 1e-3
    assert found.min() < 0.72
    assert found.max() <= 1.3 + 1e-3
    assert found.max() > 1.28


@pytest.mark.parametrize("is_bytes", [True, False])
def test_one_square_of_each_photo_is_blanked(is_bytes: bool) -> None:
    photos = torch.full((200, SIZE, SIZE, 3), 255, dtype=torch.uint8)
    padding = torch.tensor(PADDING, dtype=torch.uint8)
    if not is_bytes:
        photos, padding = photos / 255, padding / 255
    left, top = torch.rand((2, 200), generator=draw())
    is_blank = (blanked(photos, 8, left, top) == padding).all(dim=3)
    assert (is_blank.sum(dim=(1, 2)) == 64).all()
    rows, columns = is_blank.any(dim=2), is_blank.any(dim=1)
    assert (rows.sum(dim=1) == 8).all()
    assert (columns.sum(dim=1) == 8).all()
    # Every place that it can begin at is drawn: 0 to 24.
    assert set(rows.int().argmax(dim=1).tolist()) == set(columns.int().argmax(dim=1).tolist()) == set(range(25))


def test_a_photo_of_which_nothing_is_blanked_stays() -> None:
    photos = smooth_photos()
    assert torch.equal(Augmentation(AugmentationConfig(cutout=0.01))(photos, draw()), photos)


def test_one_setting_does_not_change_what_another_draws() -> None:
    photos = smooth_photos()
    alone = Augmentation(AugmentationConfig(crop=0.3))(photos, draw())
    with_blanks = Augmentation(AugmentationConfig(crop=0.3, cutout=0.25))(photos, draw())
    is_blank = (with_blanks * 255 - torch.tensor(PADDING)).abs().amax(dim=3) < 1e-3
    assert torch.equal(with_blanks[~is_blank], alone[~is_blank])
    assert math.isclose(float(is_blank.float().mean()), 0.25**2, rel_tol=0.1)
