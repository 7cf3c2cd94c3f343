"""Photos without colour: luma, byte for byte as Pillow has it, wherever and however it is computed."""

import numpy as np
import torch
from PIL import Image

from study.models.colour_modes import as_seen, images_without_colour, without_colour


def photos(num_photos: int = 3, size_px: int = 8) -> torch.Tensor:
    return torch.randint(
        0, 256, (num_photos, size_px, size_px, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def test_every_channel_is_the_luma_of_bt_601_rounded() -> None:
    given = photos()
    luma = given.double() @ torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
    found = without_colour(given)
    assert found.dtype == torch.uint8
    assert found.is_contiguous()
    for channel in found.unbind(-1):
        assert (channel.double() - luma).abs().max() <= 0.51


def test_it_is_pillows_luma_byte_for_byte_which_the_statistics_are_counted_from() -> None:
    """All reds and greens with every fifth blue: 3.3 million colours."""
    values = np.arange(256, dtype=np.uint8)
    colours = np.stack(np.meshgrid(values, values, values[::5], indexing="ij"), axis=-1).reshape(256, -1, 3)
    expected = np.asarray(Image.fromarray(colours).convert("L"))
    np.testing.assert_array_equal(without_colour(torch.from_numpy(colours)[None])[0, ..., 0].numpy(), expected)


def test_a_photo_without_colour_stays_as_it_is() -> None:
    grey = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(1, 16, 16, 3).contiguous()
    assert torch.equal(without_colour(grey), grey)


def test_a_photo_in_colour_is_taken_as_it_is_and_left_as_it_is() -> None:
    given = photos()
    before = given.clone()
    assert as_seen(given, "rgb") is given
    assert torch.equal(as_seen(given, "greyscale"), without_colour(given))
    assert torch.equal(given, before)


def test_images_have_the_same_luma_and_a_gradient() -> None:
    given = photos()
    images = (given.permute(0, 3, 1, 2) / 255).requires_grad_()
    found = images_without_colour(images)
    assert torch.equal((found.detach() * 255).round().to(torch.uint8).permute(0, 2, 3, 1), without_colour(given))
    (gradient,) = torch.autograd.grad(found.sum(), images)
    torch.testing.assert_close(gradient[0, :, 0, 0], torch.tensor([0.897, 1.761, 0.342]), atol=1e-3, rtol=0)
