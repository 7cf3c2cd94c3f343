import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from study.training.mixing import Mixture, draw_mixture, mix
from study.trial import AugmentationConfig

SIZE = 12
MIXUP = AugmentationConfig(mixing="mixup")
CUTMIX = AugmentationConfig(mixing="cutmix", mixing_alpha=1.0)


def images(num_images: int = 5) -> Tensor:
    normal = torch.randn((num_images, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(0))
    return normal.contiguous(memory_format=torch.channels_last)


def moved_on_by_one(num_examples: int) -> Tensor:
    """torchvision's partners."""
    return torch.arange(num_examples).roll(1)


def test_mixup_gives_the_pixels_that_torchvision_gives() -> None:
    peer = v2.MixUp(num_classes=5)
    expected = peer.transform(images(), {"lam": 0.3, "batch_size": 5, "labels": None})
    found, mixed = mix(images(), Mixture(moved_on_by_one(5), 0.3), num_views=1)
    torch.testing.assert_close(found, expected)
    assert mixed.share == 0.3
    assert mixed.partner.tolist() == [4, 0, 1, 2, 3]


def test_cutmix_gives_the_pixels_that_torchvision_gives() -> None:
    peer = v2.CutMix(num_classes=5)
    box = (2, 1, 7, 11)  # left, top, right, bottom
    expected = peer.transform(images(), {"box": box, "lam_adjusted": 0.0, "batch_size": 5, "labels": None})
    found, _ = mix(images(), Mixture(moved_on_by_one(5), 0.5, (1, 11, 2, 7)), num_views=1)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("config", [MIXUP, CUTMIX])
def test_mixing_leaves_layout_and_argument_as_they_are(config: AugmentationConfig) -> None:
    given = images()
    found, _ = mix(given, draw_mixture(config, 5, SIZE, torch.Generator().manual_seed(1)), num_views=1)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(given, images())


@pytest.mark.parametrize("config", [MIXUP, CUTMIX])
def test_views_are_blended_with_the_same_view_of_the_partner(config: AugmentationConfig) -> None:
    mixture = draw_mixture(config, 4, SIZE, torch.Generator().manual_seed(3))
    pairs = images(8)
    found, mixed = mix(pairs, mixture, num_views=2)
    assert len(mixed.partner) == 4
    for view in range(2):
        expected, _ = mix(pairs[view::2], mixture, num_views=1)
        assert torch.equal(found[view::2], expected)


def test_the_share_of_cutmix_is_what_is_left_of_the_example() -> None:
    for seed in range(50):
        mixture = draw_mixture(CUTMIX, 2, SIZE, torch.Generator().manual_seed(seed))
        assert mixture.box is not None
        top, bottom, left, right = mixture.box
        assert 0 <= top <= bottom <= SIZE
        assert 0 <= left <= right <= SIZE
        ones_and_zeros = torch.stack([torch.ones(3, SIZE, SIZE), torch.zeros(3, SIZE, SIZE)])
        swapped = Mixture(torch.tensor([1, 0]), mixture.share, mixture.box)
        found, _ = mix(ones_and_zeros, swapped, num_views=1)
        assert found[0].mean().item() == pytest.approx(mixture.share)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_are_drawn_from_a_beta_distribution(alpha: float) -> None:
    config = AugmentationConfig(mixing="mixup", mixing_alpha=alpha)
    generator = torch.Generator().manual_seed(0)
    shares = np.array([draw_mixture(config, 2, SIZE, generator).share for _ in range(2000)])
    assert shares.mean() == pytest.approx(0.5, abs=0.04)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


def test_partners_are_a_permutation_and_the_generator_alone_decides() -> None:
    one, same, other = (draw_mixture(CUTMIX, 64, SIZE, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert sorted(one.partner.tolist()) == list(range(64))
    assert (one.partner.tolist(), one.share, one.box) == (same.partner.tolist(), same.share, same.box)
    assert one.partner.tolist() != other.partner.tolist()


def test_a_single_example_is_its_own_partner() -> None:
    found, mixed = mix(images(1), draw_mixture(MIXUP, 1, SIZE, torch.Generator().manual_seed(0)), num_views=1)
    torch.testing.assert_close(found, images(1))
    assert mixed.partner.tolist() == [0]
