from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from study.data.study_data import StudyData
from study.models.classifier import Classifier
from study.models.colour_modes import without_colour
from study.models.normalization import make_normalizer
from study.training.augmentation import Augmentation
from study.training.batches import ImageInputs, split_batches
from study.trial import AugmentationConfig, Normalization

CPU = torch.device("cpu")


def inputs_of(data: StudyData, normalization: Normalization = "global", num_frozen: int = 0, **options: Any) -> ImageInputs:
    model = Classifier({"first": nn.Conv2d(3, 4, 3), "second": nn.ReLU()}, nn.Flatten(), num_frozen)
    return ImageInputs(data.images, make_normalizer(normalization, data.statistics), model, CPU, **options)


def written_out(data: StudyData, photos: np.ndarray, normalization: Normalization) -> Tensor:
    """Normalised photos, one operation after the other in double precision."""
    images = torch.from_numpy(data.images[photos]).permute(0, 3, 1, 2).double() / 255
    if normalization == "local":
        std, mean = torch.std_mean(images, dim=(2, 3), correction=0, keepdim=True)
    else:
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (data.statistics.mean, data.statistics.std))
    return ((images - mean) / std).float()


@pytest.mark.parametrize("normalization", ["global", "local"])
def test_photos_enter_normalised_and_in_the_order_asked(striped_data: StudyData, normalization: Normalization) -> None:
    inputs = inputs_of(striped_data, normalization)
    batches = [np.array([5, 2, 2]), np.array([40])]
    for raw, photos in zip(inputs.read(batches), batches, strict=True):
        assert np.array_equal(raw.numpy(), striped_data.images[photos])
        entered = inputs.enter(raw, None)
        assert entered.mixed is None
        assert entered.activations.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(entered.activations, written_out(striped_data, photos, normalization), atol=2e-6, rtol=0)


def test_colour_is_taken_before_anything_random_is_done_to_a_photo(striped_data: StudyData) -> None:
    grey = replace(striped_data, images=without_colour(torch.tensor(striped_data.images)).numpy())
    options: dict[str, Any] = {"augmentation": AugmentationConfig(color_jitter=0.4, rotation=10.0)}
    (raw,), (grey_raw,) = (list(inputs_of(one).read([np.arange(4)])) for one in (striped_data, grey))
    for generator in (None, torch.Generator().manual_seed(0)):
        found = inputs_of(striped_data, colour_mode="greyscale", **options).enter(raw, generator)
        expected = inputs_of(striped_data, **options).enter(grey_raw, generator and torch.Generator().manual_seed(0))
        assert torch.equal(found.activations, expected.activations)


def test_photos_go_through_the_frozen_stages(striped_data: StudyData) -> None:
    inputs = inputs_of(striped_data, num_frozen=2)
    (raw,) = inputs.read([np.arange(4)])
    torch.testing.assert_close(inputs.enter(raw, None).activations, inputs.model.prefix(inputs.normalizer(raw)))


def test_photos_of_a_pair_are_next_to_each_other(striped_data: StudyData) -> None:
    pairs = np.arange(40, dtype=np.int64).reshape(20, 2)[:, ::-1]
    inputs = inputs_of(striped_data, photos=pairs)
    assert (inputs.num_views, inputs_of(striped_data).num_views) == (2, 1)
    (raw,) = inputs.read([np.array([3, 0])])
    assert np.array_equal(raw.numpy(), striped_data.images[[7, 6, 1, 0]])


def test_each_photo_of_a_pair_is_augmented_by_itself_but_mixed_with_its_partner(striped_data: StudyData) -> None:
    same = np.zeros((6, 2), dtype=np.int64)
    augmented = inputs_of(striped_data, photos=same, augmentation=AugmentationConfig(crop=0.5))
    (raw,) = augmented.read([np.arange(6)])
    found = augmented.enter(raw, torch.Generator().manual_seed(0)).activations
    assert len({one.numpy().tobytes() for one in found}) == 12
    mixing = inputs_of(striped_data, photos=same, augmentation=AugmentationConfig(mixing="mixup"))
    mixed = mixing.enter(raw, torch.Generator().manual_seed(0)).mixed
    assert mixed is not None
    assert sorted(mixed.partner.tolist()) == list(range(6))


def test_evaluation_sees_photos_as_they_are(striped_data: StudyData) -> None:
    everything = AugmentationConfig(flip=0.5, crop=0.3, rotation=20, color_jitter=0.4, cutout=0.25, mixing="cutmix")
    inputs = inputs_of(striped_data, augmentation=everything)
    (raw,) = inputs.read([np.arange(8)])
    entered = inputs.enter(raw, None)
    assert entered.mixed is None
    assert torch.equal(entered.activations, inputs.normalizer(raw))


def test_training_photos_are_augmented_and_then_normalised_as_the_model_sees_them(striped_data: StudyData) -> None:
    inputs = inputs_of(striped_data, "local", augmentation=AugmentationConfig(crop=0.5, color_jitter=0.5, cutout=0.3))
    (raw,) = inputs.read([np.arange(8)])
    found = inputs.enter(raw, torch.Generator().manual_seed(0)).activations
    torch.testing.assert_close(found.mean(dim=(2, 3)), torch.zeros(8, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.std(dim=(2, 3), correction=0), torch.ones(8, 3), atol=1e-3, rtol=0)


def test_a_batch_in_pieces_is_augmented_as_the_whole(striped_data: StudyData) -> None:
    inputs = inputs_of(striped_data, augmentation=AugmentationConfig(flip=0.5, crop=0.3, color_jitter=0.4))
    (raw,) = inputs.read([np.arange(40)])
    whole = inputs.enter(raw, torch.Generator().manual_seed(0)).activations
    generator = torch.Generator().manual_seed(0)
    pieces = [inputs.enter(piece, generator).activations for piece in raw.tensor_split([3, 25])]
    torch.testing.assert_close(torch.cat(pieces), whole, atol=2e-6, rtol=0)


def test_pixels_are_prepared_in_full_precision_whatever_the_training_computes_in(striped_data: StudyData) -> None:
    inputs = inputs_of(striped_data, augmentation=AugmentationConfig(crop=0.3, rotation=30, mixing="mixup"))
    (raw,) = inputs.read([np.arange(8)])
    expected = inputs.enter(raw, torch.Generator().manual_seed(0)).activations
    with torch.autocast("cpu", torch.bfloat16):
        found = inputs.enter(raw, torch.Generator().manual_seed(0)).activations
    assert torch.equal(found, expected)


def test_every_photo_of_a_large_batch_is_augmented_by_its_own_draws(striped_data: StudyData) -> None:
    inputs = inputs_of(striped_data, augmentation=AugmentationConfig(rotation=30, cutout=0.2))
    (raw,) = inputs.read([np.arange(50)])
    augmented = Augmentation(inputs.augmentation)(raw, torch.Generator().manual_seed(0))
    found = inputs.enter(raw, torch.Generator().manual_seed(0)).activations
    torch.testing.assert_close(found, inputs.normalizer(augmented), atol=1e-5, rtol=0)


def test_frozen_stages_compute_in_the_precision_that_the_caller_asks_for(striped_data: StudyData) -> None:
    inputs = inputs_of(striped_data, num_frozen=1)
    (raw,) = inputs.read([np.arange(2)])
    assert inputs.enter(raw, None).activations.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert inputs.enter(raw, None).activations.dtype == torch.bfloat16


def test_a_batch_stays_as_it_is_while_later_ones_enter(striped_data: StudyData) -> None:
    inputs = inputs_of(striped_data)
    entered = [
        inputs.enter(raw, None).activations for raw in inputs.read([np.array([3, 1]), np.array([0]), np.array([8, 9, 7])])
    ]
    assert torch.equal(torch.cat(entered), inputs.normalizer(torch.from_numpy(striped_data.images[[3, 1, 0, 8, 9, 7]])))


def test_images_lie_in_memory_as_asked(striped_data: StudyData) -> None:
    inputs = inputs_of(striped_data, augmentation=AugmentationConfig(mixing="mixup"))
    (raw,) = inputs.read([np.arange(4)])
    for is_channels_last, layout in ((True, torch.channels_last), (False, torch.contiguous_format)):
        asked = replace(inputs, is_channels_last=is_channels_last)
        assert asked.enter(raw, torch.Generator().manual_seed(0)).activations.is_contiguous(memory_format=layout)


@given(num_photos=st.integers(1, 300), batch_size=st.integers(1, 80))
def test_batches_hold_every_photo_once_in_order(num_photos: int, batch_size: int) -> None:
    order = np.random.default_rng(0).permutation(num_photos)
    batches = split_batches(order, batch_size)
    assert np.array_equal(np.concatenate(batches), order)
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert len(batches[-1]) <= batch_size + 1


@pytest.mark.parametrize(
    ("num_photos", "batch_size", "sizes"),
    [(8, 4, [4, 4]), (9, 4, [4, 5]), (10, 4, [4, 4, 2]), (3, 64, [3]), (1, 64, [1]), (3, 1, [1, 2]), (5, 2, [2, 3])],
)
def test_a_last_batch_of_one_photo_joins_the_one_before_it(num_photos: int, batch_size: int, sizes: list[int]) -> None:
    assert [len(batch) for batch in split_batches(np.arange(num_photos), batch_size)] == sizes
