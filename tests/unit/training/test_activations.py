"""Cached activations as a trial meets them. A file's own claims are in test_activation_files.py, the folder's in _cache.py."""

import copy
import math
import shutil
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn

from study.data.examples import Examples, examples_of
from study.data.folds import Fold
from study.data.statistics import channel_statistics
from study.data.study_data import StudyData
from study.models.backbones import cut, make_network
from study.models.classifier import attach_head
from study.models.heads import HeadPlan
from study.models.weights import RANDOM_DIGEST
from study.training import activations
from study.training.activation_cache import ActivationCache
from study.training.activation_inputs import ActivationInputs
from study.training.activation_keys import precision_of
from study.training.activation_plan import costs_of
from study.training.activations import CacheOutcome
from study.training.imbalance import make_strategy
from study.trial import Imbalance, TrialConfig
from tests.activations import CPU, config_of, enlarged, entered, image_inputs, opened, train

POOLED = config_of("squeezenet1_1", 1.0)
# ResNet-18 behind layer3: maps [256, 2, 2] of photos of 32 px.
MAPS = config_of("resnet18", 0.8)


def outside_test(data: StudyData) -> np.ndarray:
    return np.concatenate([data.splits.train, data.splits.val])


@pytest.mark.parametrize("config", [POOLED, MAPS], ids=["pooled", "maps"])
@pytest.mark.parametrize("is_shared", [True, False])
def test_activations_are_what_the_frozen_stages_give(
    config: TrialConfig, is_shared: bool, striped_data: StudyData, tmp_path: Path
) -> None:
    images = image_inputs(striped_data, config)
    inputs, facts = opened(images, striped_data, config, tmp_path if is_shared else None)
    assert isinstance(inputs, ActivationInputs)
    asked = outside_test(striped_data)[[40, 3, 17, 3]]
    tolerance = 1e-5 if facts.precision == "float32" else 1e-3
    torch.testing.assert_close(entered(inputs, asked), entered(images, asked), atol=tolerance, rtol=tolerance)
    assert entered(inputs, asked).is_contiguous(memory_format=torch.channels_last) or config is POOLED
    assert len(list(tmp_path.glob("*.npy"))) == is_shared


@pytest.mark.parametrize("backbone", ["alexnet", "resnet18", "squeezenet1_1"])
def test_a_head_trained_on_a_float32_cache_ends_with_the_same_weights(
    backbone: str, striped_data: StudyData, tmp_path: Path
) -> None:
    """AlexNet keeps two dropouts among its frozen layers, ResNet batch norms; SqueezeNet has one in front of the head."""
    data = enlarged(striped_data) if backbone == "alexnet" else striped_data
    config = config_of(backbone, 1.0)
    images = image_inputs(data, config)
    model = images.model
    inputs, facts = opened(images, data, config, tmp_path)
    assert (facts.outcome, facts.precision) == (CacheOutcome.COMPUTED, "float32")
    start = copy.deepcopy(model.head.state_dict())
    expected = train(model, images, data, epochs=2)
    uncached = copy.deepcopy(model.head.state_dict())
    model.head.load_state_dict(start)
    assert train(model, inputs, data, epochs=2) == pytest.approx(expected, abs=1e-5)
    for name, weights in model.head.state_dict().items():
        torch.testing.assert_close(weights, uncached[name], atol=1e-6, rtol=0)


def test_stages_trained_on_a_float32_cache_of_maps_lose_as_much(striped_data: StudyData, tmp_path: Path) -> None:
    config = config_of("resnet18", 0.8, compute__activation_cache="float32")
    images = image_inputs(striped_data, config)
    inputs, facts = opened(images, striped_data, config, tmp_path)
    assert facts.precision == "float32"
    copied = replace(images, model=copy.deepcopy(images.model))
    expected = train(copied.model, copied, striped_data, epochs=2, lr=1e-4)
    assert train(images.model, inputs, striped_data, epochs=2, lr=1e-4) == pytest.approx(expected, abs=1e-5)


def test_training_the_head_does_not_change_what_would_be_cached(striped_data: StudyData) -> None:
    images = image_inputs(striped_data, config_of("resnet18", 1.0))
    asked = outside_test(striped_data)
    before = entered(opened(images, striped_data, config_of("resnet18", 1.0))[0], asked)
    train(images.model, images, striped_data, epochs=1)
    assert torch.equal(entered(opened(images, striped_data, config_of("resnet18", 1.0))[0], asked), before)


@pytest.mark.parametrize("backbone", ["alexnet", "vgg16", "vgg16_bn", "resnet18"])
def test_no_dropout_and_no_batch_norm_of_a_frozen_stage_is_ever_in_training(backbone: str) -> None:
    with torch.device("meta"):
        model = attach_head(cut(backbone, make_network(backbone)), HeadPlan("append", 3), 0.9)
    layers = [layer for stage in model.train().frozen_stages for layer in stage.modules()]
    assert any(isinstance(layer, (nn.Dropout, nn.BatchNorm2d)) for layer in layers)
    assert not any(layer.training for layer in layers)


def test_maps_in_float16_are_the_float32_ones_rounded(striped_data: StudyData, tmp_path: Path) -> None:
    images = image_inputs(striped_data, MAPS)
    asked = outside_test(striped_data)
    half, _ = opened(images, striped_data, MAPS, tmp_path)
    full, _ = opened(images, striped_data, config_of("resnet18", 0.8, compute__activation_cache="float32"), tmp_path)
    assert torch.equal(entered(half, asked), entered(full, asked).half().float())


def test_activations_too_large_for_float16_are_stored_in_float32_and_this_is_told(
    striped_data: StudyData, tmp_path: Path
) -> None:
    images = image_inputs(striped_data, MAPS)
    with torch.no_grad():
        images.model.stages.layer3[1].bn2.bias.fill_(70_000.0)  # type: ignore[union-attr, index]
    inputs, facts = opened(images, striped_data, MAPS, tmp_path)
    assert (facts.outcome, facts.precision) == (CacheOutcome.COMPUTED, "float32")
    assert facts.reason.endswith("in float32, since some are too large for float16")
    assert entered(inputs, striped_data.splits.train).isfinite().all()
    _, again = opened(images, striped_data, MAPS, tmp_path)
    assert (again.outcome, again.precision, again.reason) == (CacheOutcome.HIT, "float32", facts.reason)
    assert len(list(tmp_path.iterdir())) == 4  # .npy, .used and two locks


def test_activations_computed_in_half_precision_come_back_in_it(striped_data: StudyData, tmp_path: Path) -> None:
    images = image_inputs(striped_data, MAPS)

    def autocast() -> torch.autocast:
        return torch.autocast("cpu", dtype=torch.bfloat16)

    inputs, facts = activations.open_inputs(
        images,
        striped_data,
        examples_of(striped_data),
        MAPS,
        weights_digest="weights",
        cache=ActivationCache(tmp_path),
        autocast=autocast,
    )
    asked = striped_data.splits.train[:8]
    with autocast():
        expected = entered(images, asked)
    found = entered(inputs, asked)
    assert (found.dtype, expected.dtype, facts.precision) == (torch.bfloat16, torch.bfloat16, "float16")
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0.02)
    assert (precision_of(CPU, autocast), precision_of(CPU, torch.no_grad)) == ("bfloat16", "float32, highest")


@pytest.mark.parametrize("imbalance", ["weighted_loss", "balanced_subset", "weighted_sampling"])
def test_imbalance_strategies_only_choose_rows(imbalance: Imbalance, striped_data: StudyData, tmp_path: Path) -> None:
    config = config_of(imbalance=imbalance)
    opened(image_inputs(striped_data, POOLED), striped_data, POOLED, tmp_path)
    images = image_inputs(striped_data, config)
    inputs, facts = opened(images, striped_data, config, tmp_path)
    assert facts.outcome == CacheOutcome.HIT
    strategy = make_strategy(imbalance, striped_data.splits.train, striped_data.labels, 3, seed=0)
    order = strategy.epoch_order(1)
    torch.testing.assert_close(entered(inputs, order), entered(images, order), atol=1e-5, rtol=1e-5)


def test_all_folds_share_one_file_unless_the_normalisation_is_of_the_folds_own_photos(
    striped_data: StudyData, tmp_path: Path
) -> None:
    data = with_two_folds(striped_data)
    cache = ActivationCache(tmp_path)
    outcomes = []
    for normalization in ("imagenet", "local", "global"):
        config = config_of(normalization=normalization)
        for fold in (0, 1):
            of_fold = data.with_fold(fold)
            images = image_inputs(of_fold, config)
            inputs, facts = opened(images, of_fold, config, cache=cache)
            outcomes.append(str(facts.outcome))
            asked = outside_test(of_fold)
            torch.testing.assert_close(entered(inputs, asked), entered(images, asked), atol=1e-5, rtol=1e-5)
    assert outcomes == ["computed", "hit", "computed", "hit", "computed", "computed"]


def test_photos_of_the_test_split_are_never_kept(striped_data: StudyData, tmp_path: Path) -> None:
    images = image_inputs(striped_data, POOLED)
    inputs, _ = opened(images, striped_data, POOLED, tmp_path)
    assert isinstance(inputs, ActivationInputs)
    assert len(inputs.stored.rows) == len(striped_data.images) - len(striped_data.splits.test)
    with pytest.raises(ValueError, match="training and validation splits only"):
        inputs.read([striped_data.splits.test])


def test_both_views_of_an_example_are_read_next_to_each_other(striped_data: StudyData, tmp_path: Path) -> None:
    pairs = striped_data.splits.train.reshape(-1, 2)
    positions = np.arange(len(pairs))
    examples = Examples(pairs, striped_data.labels[pairs[:, 0]], None, positions[:15], positions[15:], positions[:0])
    alone = image_inputs(striped_data, POOLED)
    inputs, _ = opened(alone, striped_data, POOLED, tmp_path, examples=examples)
    assert inputs.num_views == 2
    (raw,) = inputs.read([np.array([7, 2])])
    expected = entered(alone, np.array([*pairs[7], *pairs[2]]))
    torch.testing.assert_close(inputs.enter(raw, None).activations, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(inputs.enter(raw[2:], None).activations, expected[2:], atol=1e-5, rtol=1e-5)
    _, of_single_photos = opened(alone, striped_data, POOLED, tmp_path)
    assert of_single_photos.outcome == CacheOutcome.HIT


@pytest.mark.parametrize("config", [POOLED, MAPS], ids=["pooled", "maps"])
def test_flips_are_drawn_per_photo_between_two_kept_variants(
    config: TrialConfig, striped_data: StudyData, tmp_path: Path
) -> None:
    values = {"augmentation": config.augmentation.model_copy(update={"flip": 0.3})}
    config = config.model_copy(update=values)
    images = image_inputs(striped_data, config)
    inputs, _ = opened(images, striped_data, config, tmp_path)
    asked = striped_data.splits.train
    pixels = torch.from_numpy(striped_data.images[asked])
    plain, mirrored = images.enter(pixels, None).activations, images.enter(pixels.flip(2), None).activations
    torch.testing.assert_close(entered(inputs, asked), plain, atol=5e-3, rtol=1e-3)  # evaluation
    generator = torch.Generator().manual_seed(1)
    num_mirrored = 0
    for _ in range(20):
        found = entered(inputs, asked, generator)
        to_plain, to_mirrored = ((found - wanted).abs().flatten(1).amax(1) for wanted in (plain, mirrored))
        assert torch.minimum(to_plain, to_mirrored).max() < 5e-3
        num_mirrored += int((to_mirrored < to_plain).sum())
    # Binomial: 5 standard deviations.
    num_draws = 20 * len(asked)
    assert abs(num_mirrored - 0.3 * num_draws) < 5 * math.sqrt(num_draws * 0.3 * 0.7)


def test_flips_are_the_generators(striped_data: StudyData, tmp_path: Path) -> None:
    config = config_of(augmentation__flip=0.5)
    inputs, _ = opened(image_inputs(striped_data, config), striped_data, config, tmp_path)
    asked = striped_data.splits.train
    first, second, other = (entered(inputs, asked, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    (raw,) = inputs.read([asked])
    generator = torch.Generator().manual_seed(1)
    halves = [inputs.enter(half, generator).activations for half in (raw[:19], raw[19:])]
    assert torch.equal(torch.cat(halves), first)  # micro-batches see the same photos


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (config_of(freeze_depth=0.0), "no stage is frozen"),
        (config_of(compute__activation_cache="off"), "compute.activation_cache is off"),
        (config_of(augmentation__crop=0.1), "photos change at random in front of the boundary (crop)"),
    ],
)
def test_what_cannot_be_cached_is_the_photos_themselves_and_says_why(
    config: TrialConfig, reason: str, striped_data: StudyData, tmp_path: Path
) -> None:
    images = image_inputs(striped_data, config)
    inputs, facts = opened(images, striped_data, config, tmp_path)
    assert inputs is images
    assert (facts.outcome, facts.num_bytes, facts.precision) == (CacheOutcome.OFF, 0, "")
    assert facts.reason == f"activations not cached: {reason}"
    assert not list(tmp_path.iterdir())


def test_facts_say_what_was_done(striped_data: StudyData, tmp_path: Path) -> None:
    images = image_inputs(striped_data, POOLED)
    _, computed = opened(images, striped_data, POOLED, tmp_path)
    _, hit = opened(images, striped_data, POOLED, tmp_path)
    assert (computed.outcome, hit.outcome) == (CacheOutcome.COMPUTED, CacheOutcome.HIT)
    assert hit.num_bytes == computed.num_bytes == 57 * 512 * 4
    assert hit.precision == "float32"
    assert min(hit.elapsed_s, computed.elapsed_s) > 0
    assert hit.reason == "activations cached, [512] a photo in float32"


def test_a_disk_that_is_full_costs_the_trial_only_its_neighbours_work(striped_data: StudyData, tmp_path: Path) -> None:
    images = image_inputs(striped_data, POOLED)
    usage = shutil.disk_usage(tmp_path)
    with mock.patch.object(shutil, "disk_usage", return_value=usage._replace(free=0)):
        inputs, facts = opened(images, striped_data, POOLED, tmp_path)
        assert isinstance(inputs, ActivationInputs)
        assert facts.outcome == CacheOutcome.COMPUTED
        assert f"in memory (no room for 0.00 GiB of activations in {tmp_path})" in facts.reason
        with mock.patch.object(activations, "LARGEST_IN_MEMORY_BYTES", 1000):
            inputs, facts = opened(images, striped_data, POOLED, tmp_path)
    assert inputs is images
    assert facts.outcome == CacheOutcome.OFF
    assert facts.reason.endswith("and 0.00 GiB is more than a trial may keep in memory")
    assert not list(tmp_path.glob("*.npy"))


def test_a_folder_that_is_no_folder_is_no_failure_of_the_trial(striped_data: StudyData, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    images = image_inputs(striped_data, POOLED)
    inputs, facts = opened(images, striped_data, POOLED, tmp_path / "file")
    assert isinstance(inputs, ActivationInputs)
    assert "in memory (File exists" in facts.reason


def test_activations_of_random_weights_are_shared_with_nobody(striped_data: StudyData, tmp_path: Path) -> None:
    images = image_inputs(striped_data, POOLED)
    _, facts = opened(images, striped_data, POOLED, tmp_path, weights_digest=RANDOM_DIGEST)
    assert facts.reason.endswith("in memory (random weights)")
    assert not list(tmp_path.iterdir())


def test_a_cost_that_torch_cannot_count_is_no_failure_of_the_trial(striped_data: StudyData, tmp_path: Path) -> None:
    images = image_inputs(striped_data, POOLED)
    problem = NotImplementedError("aten::odd has no rule\nfor meta tensors")
    with mock.patch.object(activations, "costs_of", side_effect=problem):
        inputs, facts = opened(images, striped_data, POOLED, tmp_path)
    assert inputs is images
    assert facts.reason == "activations not cached: what they cost is unknown (aten::odd has no rule)"


def test_costs_are_counted_once_a_process(striped_data: StudyData, tmp_path: Path) -> None:
    cache = ActivationCache(tmp_path)
    images = image_inputs(striped_data, POOLED)
    with mock.patch.object(activations, "costs_of", wraps=costs_of) as count:
        for _ in range(3):
            opened(images, striped_data, POOLED, cache=cache)
    assert count.call_count == 1


def test_a_warm_start_is_a_tenth_of_the_0_15_seconds_that_a_first_step_may_take(
    striped_data: StudyData, tmp_path: Path
) -> None:
    cache = ActivationCache(tmp_path)
    images = image_inputs(striped_data, POOLED)
    opened(images, striped_data, POOLED, cache=cache)
    fastest_s = min(opened(images, striped_data, POOLED, cache=cache)[1].elapsed_s for _ in range(5))
    assert fastest_s < 0.015


def with_two_folds(data: StudyData) -> StudyData:
    """Two folds that swap validation photos for training photos; their global statistics differ."""
    splits = data.splits
    swapped = replace(
        splits,
        train=np.sort(np.concatenate([splits.train[15:], splits.val])),
        val=splits.train[:15],
    )
    return replace(data, folds=tuple(Fold(one, channel_statistics(data.images, one.train)) for one in (splits, swapped)))
