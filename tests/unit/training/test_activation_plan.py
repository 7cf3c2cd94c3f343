"""Which boundaries are cached: pinned for photos of 224 px, where reading and computing were measured."""

import functools
import math

import pytest
import torch

from study.models.backbones import cut, make_network
from study.models.classifier import Classifier, attach_head
from study.models.heads import HeadPlan
from study.training.activation_plan import (
    CPU_BYTES_PER_S,
    CPU_FLOPS_PER_S,
    DISK_BYTES_PER_S,
    GPU_BYTES_PER_S,
    GPU_HALF_FLOPS_PER_S,
    HOST_TO_GPU_BYTES_PER_S,
    CachePlan,
    PrefixCosts,
    Speed,
    costs_of,
    plan_cache,
    refusal,
    speeds_of,
)
from study.trial import AugmentationConfig, TrialConfig, with_values

CORE = Speed(CPU_FLOPS_PER_S, CPU_BYTES_PER_S)
ON_DISK = Speed(CPU_FLOPS_PER_S, DISK_BYTES_PER_S)
GPU = Speed(GPU_HALF_FLOPS_PER_S, GPU_BYTES_PER_S)
GPU_FROM_HOST = Speed(GPU_HALF_FLOPS_PER_S, HOST_TO_GPU_BYTES_PER_S)

BACKBONES = {
    "alexnet": ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7"],
    "resnet18": ["stem", "layer1", "layer2", "layer3", "layer4"],
    "resnet50": ["stem", "layer1", "layer2", "layer3", "layer4"],
    "vgg16": ["block1", "block2", "block3", "block4", "block5", "fc6", "fc7"],
}


def classifier(backbone: str, num_frozen: int) -> Classifier:
    """Without memory: nothing is computed."""
    with torch.device("meta"):
        parts = cut(backbone, make_network(backbone))
        return attach_head(parts, HeadPlan("replace", 10), num_frozen / len(parts.stages))


@functools.cache
def costs_behind(backbone: str, num_frozen: int) -> PrefixCosts:
    return costs_of(classifier(backbone, num_frozen), 224)


def planned(
    costs: PrefixCosts, speed: Speed = CORE, *, num_photos: int = 10_000, largest_gib: float = 20, **values: object
) -> CachePlan:
    config = with_values(TrialConfig(), {name.replace("__", "."): value for name, value in values.items()})
    return plan_cache(costs, config, num_photos, int(largest_gib * 2**30), [(math.inf, speed)])


def cached_boundaries(backbone: str, speed: Speed) -> list[str]:
    stages = BACKBONES[backbone]
    return [name for number, name in enumerate(stages, start=1) if planned(costs_behind(backbone, number), speed).is_cached]


@pytest.mark.parametrize(
    ("backbone", "not_cached"),
    [("alexnet", ["conv1"]), ("resnet18", ["stem"]), ("resnet50", ["stem", "layer1"]), ("vgg16", ["block1"])],
)
@pytest.mark.parametrize("speed", [CORE, GPU])
def test_from_memory_all_boundaries_are_read_but_the_first(backbone: str, not_cached: list[str], speed: Speed) -> None:
    assert cached_boundaries(backbone, speed) == [name for name in BACKBONES[backbone] if name not in not_cached]


@pytest.mark.parametrize(
    ("backbone", "cached"),
    [
        ("alexnet", ["conv5", "fc6", "fc7"]),
        ("resnet18", ["layer4"]),
        ("resnet50", ["layer4"]),
        ("vgg16", ["block3", "block4", "block5", "fc6", "fc7"]),
    ],
)
def test_a_gpu_that_must_fetch_them_from_the_host_computes_wide_maps_faster(backbone: str, cached: list[str]) -> None:
    assert cached_boundaries(backbone, GPU_FROM_HOST) == cached


# How many times as fast a training of 10,000 photos became with activations, on two cores.
@pytest.mark.parametrize(
    ("backbone", "behind", "measured"),
    [
        ("resnet18", "layer2", 1.4),
        ("resnet18", "layer3", 2.1),
        ("alexnet", "conv4", 2.2),
        ("alexnet", "conv5", 4.7),
        ("vgg16", "block3", 1.5),
        ("vgg16", "block4", 4.0),
        ("vgg16", "block5", 42.0),
    ],
)
def test_the_estimated_gain_is_what_was_measured(backbone: str, behind: str, measured: float) -> None:
    costs = costs_behind(backbone, BACKBONES[backbone].index(behind) + 1)
    assert costs.gain(2 * math.prod(costs.shape), CORE) == pytest.approx(measured, rel=0.07)


def test_operations_are_those_of_the_papers() -> None:
    costs = costs_behind("resnet50", 5)
    # 4.09 billion multiplications and additions in all. Source: torchvision's metadata of resnet50's weights ("_ops").
    assert (costs.prefix_flops + costs.suffix_flops) / 2 == pytest.approx(4.09e9, rel=0.01)
    assert costs.suffix_flops == 2 * 2048 * 10
    assert costs.shape == (2048,)


def test_counting_leaves_the_model_as_it_is() -> None:
    parts = cut("squeezenet1_1", make_network("squeezenet1_1"))
    model = attach_head(parts, HeadPlan("replace", 3), 0.5)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    costs_of(model, 64)
    assert model.training
    assert not any(stage.training for stage in model.frozen_stages)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_pooled_features_are_kept_in_float32_and_maps_in_float16_unless_the_recipe_says_which() -> None:
    pooled, maps = PrefixCosts(1e9, 1e6, (512,)), PrefixCosts(1e9, 1e6, (64, 7, 7))
    assert planned(pooled).dtype == torch.float32
    assert planned(maps).dtype == torch.float16
    assert planned(maps, compute__activation_cache="float32").dtype == torch.float32
    assert planned(pooled, compute__activation_cache="float16").dtype == torch.float16


def test_mirrored_photos_take_as_much_again() -> None:
    costs = PrefixCosts(1e9, 1e6, (64, 7, 7))
    plain, flipped = planned(costs), planned(costs, augmentation__flip=0.5)
    assert (plain.num_variants, plain.num_bytes) == (1, 10_000 * 64 * 7 * 7 * 2)
    assert (flipped.num_variants, flipped.num_bytes) == (2, 2 * plain.num_bytes)


def test_what_is_larger_than_the_room_is_not_cached_and_says_so() -> None:
    plan = planned(PrefixCosts(1e9, 1e6, (512,)), largest_gib=0.01)
    assert not plan.is_cached
    sizes = "0.02 GiB, more than the 0.01 GiB there is room for"
    assert plan.reason == f"activations not cached: [512] a photo in float32 are {sizes}"


def test_what_gains_too_little_is_not_cached_and_says_so() -> None:
    plan = planned(costs_behind("vgg16", 1))
    assert plan.reason == (
        "activations not cached: reading [64, 112, 112] a photo in float16 would make a step 1.05 times as fast, less than 1.1"
    )


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"crop": 0.2}, "crop"),
        ({"flip": 0.5, "rotation": 10.0, "cutout": 0.3}, "rotation, cutout"),
        ({"mixing": "mixup"}, "mixup"),
        ({"color_jitter": 0.1, "mixing": "cutmix"}, "color_jitter, cutmix"),
    ],
)
def test_photos_that_change_at_random_are_not_cached_and_the_changes_are_named(changes: dict[str, object], named: str) -> None:
    config = TrialConfig(augmentation=AugmentationConfig.model_validate(changes))
    assert refusal(config, 3) == f"activations not cached: photos change at random in front of the boundary ({named})"


def test_a_recipe_may_switch_the_cache_off_and_needs_a_frozen_stage() -> None:
    off = with_values(TrialConfig(), {"compute.activation_cache": "off"})
    assert refusal(off, 3) == "activations not cached: compute.activation_cache is off"
    assert refusal(TrialConfig(), 0) == "activations not cached: no stage is frozen"
    assert refusal(TrialConfig(augmentation=AugmentationConfig(flip=0.5)), 3) is None


def test_files_that_do_not_stay_in_memory_are_read_at_the_disks_speed() -> None:
    (small_bytes, small), (all_bytes, large) = speeds_of(torch.device("cpu"), 0, is_half=False)
    assert (small.bytes_per_s, large.bytes_per_s) == (CPU_BYTES_PER_S, DISK_BYTES_PER_S)
    assert 0 < small_bytes < all_bytes == math.inf
    widest = PrefixCosts(0.48e9, 0.98e9, (128, 54, 54))  # SqueezeNet 1.0 behind fire3
    assert planned(widest, CORE).is_cached
    assert not planned(widest, ON_DISK).is_cached
