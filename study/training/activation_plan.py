"""Whether the frozen stages' output is worth keeping: what a step costs without it, and what reading it costs instead."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from study.models.classifier import Classifier
from study.trial import AugmentationConfig, CachePrecision, TrialConfig

GIB = 2**30
# Less than a tenth off a step is not worth gigabytes of disk, from which they would push activations that gain more.
# It leaves out what the first stages widen a photo of 224 px to: VGG-16's block1 (1.05×, 1.6 MB a photo), ResNet-50's stem and
# layer1 (1.01× and 1.07×, 1.6 MB), ResNet-18's stem, AlexNet's conv1.
SMALLEST_GAIN = 1.1
# A training step computes what a forward pass does three times: backward are two products for each of forward's.
STEP_PASSES = 3.0


@dataclass(frozen=True)
class Speed:
    """What a device computes and reads in a second.

    Attributes:
        flops_per_s: floating-point operations; an addition and a multiplication are two.
        bytes_per_s: stored activations, to where the trainable stages read them.
    """

    flops_per_s: float
    bytes_per_s: float


# One core of a 2024 EPYC, float32 and channels last, at 224 px (measured): the convolutions of AlexNet reach 290, ResNet-18
# 110 to 290, VGG-16 175 to 295, ResNet-50 90 to 255 GFLOP/s; 64 rows of float16 are gathered from the page cache and
# made float32 at 1.5 to 6.5 GB/s.
CPU_FLOPS_PER_S = 200e9
CPU_BYTES_PER_S = 2e9
# Rows of 100 KB at random places, nothing of the file in memory: 0.77 GB/s from this machine's virtual disk (measured).
DISK_BYTES_PER_S = 0.5e9
# Files above it do not stay in the page cache beside the packed photos and the processes.
MEMORY_SHARE = 0.5
# Not measured: a tenth of the peak of an H100, which small convolutional networks reach, and a tenth of that of TF32.
# Source: NVIDIA H100 datasheet (SXM, dense: bfloat16 989, TF32 495 TFLOP/s; 3.35 TB/s).
GPU_HALF_FLOPS_PER_S = 100e12
GPU_FLOPS_PER_S = 50e12
GPU_BYTES_PER_S = 1e12
# Gathered by one thread into pinned memory at 5 to 12 GB/s (measured on the CPU above), then through PCIe at 25.
HOST_TO_GPU_BYTES_PER_S = 4e9


@dataclass(frozen=True)
class PrefixCosts:
    """What a photo costs in the two parts of a classifier.

    Attributes:
        prefix_flops: of a forward pass through the frozen stages.
        suffix_flops: of a forward pass through all that follows.
        shape: of the frozen stages' output for one photo.
    """

    prefix_flops: float
    suffix_flops: float
    shape: tuple[int, ...]

    def gain(self, bytes_per_photo: int, speed: Speed) -> float:
        """How many times as fast a step becomes when activations are read instead of computed.

        Measured for 10,000 photos of 224 px on two cores, and as this estimates it: ResNet-18 behind layer2 1.4 and 1.4,
        behind layer3 2.1 and 2.1; AlexNet behind conv4 2.2 and 2.2, behind conv5 4.7 and 5.0; VGG-16 behind block3 1.5 and 1.5,
        block4 4 and 4.1, block5 42 and 43. Reading the photo, and normalising it, is not counted.
        """
        train_s = STEP_PASSES * self.suffix_flops / speed.flops_per_s
        return (self.prefix_flops / speed.flops_per_s + train_s) / (bytes_per_photo / speed.bytes_per_s + train_s)


@dataclass(frozen=True)
class CachePlan:
    """Whether activations are computed once, and how they are kept.

    Attributes:
        reason: why not, or what it gains; for the run's record.
        dtype: float32 or float16.
        num_variants: 2 where the mirrored photo's are kept too.
        num_bytes: of all photos' together.
    """

    is_cached: bool
    reason: str
    dtype: torch.dtype = torch.float32
    num_variants: int = 1
    num_bytes: int = 0


def costs_of(model: Classifier, image_size: int) -> PrefixCosts:
    """Counts the operations of one photo, on tensors without memory: 5 to 110 ms of Python, and nothing is computed.

    Raises:
        NotImplementedError: if torch does not know the result's shape of one of the model's operations.
    """
    # Two examples, since batch norm refuses a single value.
    num_photos = 2 * getattr(model, "num_views", 1)
    photos = torch.empty(num_photos, 3, image_size, image_size, device="meta")
    prefix = nn.Sequential(*model.frozen_stages)
    with torch.no_grad(), FlopCounterMode(display=False) as in_prefix:
        activations = functional_call(prefix, _without_memory(prefix), (photos,))
    with torch.no_grad(), FlopCounterMode(display=False) as in_all:
        functional_call(model, _without_memory(model), (photos,))
    prefix_flops = in_prefix.get_total_flops() / num_photos
    all_flops = in_all.get_total_flops() / num_photos
    return PrefixCosts(prefix_flops, all_flops - prefix_flops, tuple(activations.shape[1:]))


def refusal(config: TrialConfig, num_frozen: int) -> str | None:
    """Why this recipe has nothing that could be computed once; None if it has."""
    if config.compute.activation_cache == "off":
        return "activations not cached: compute.activation_cache is off"
    if num_frozen == 0:
        return "activations not cached: no stage is frozen"
    if config.augmentation.changes_pixels:
        changes = ", ".join(_changes(config.augmentation))
        return f"activations not cached: photos change at random in front of the boundary ({changes})"
    return None


def plan_cache(
    costs: PrefixCosts, config: TrialConfig, num_photos: int, largest_bytes: int, speeds: Sequence[tuple[float, Speed]]
) -> CachePlan:
    """Whether activations of these costs are worth keeping for a recipe that has no `refusal`.

    Args:
        largest_bytes: what there is room for.
        speeds: sizes in bytes, rising to infinity, and how fast activations up to that size are computed and read.
    """
    dtype = stored_dtype(config.compute.activation_cache, costs.shape)
    num_variants = 2 if config.augmentation.flip > 0 else 1
    # Both variants are read, since which one a step takes is drawn after that.
    bytes_per_photo = num_variants * dtype.itemsize * math.prod(costs.shape)
    num_bytes = num_photos * bytes_per_photo
    gain = costs.gain(bytes_per_photo, next(speed for limit, speed in speeds if num_bytes <= limit))
    what = f"{[*costs.shape]} a photo in {str(dtype).removeprefix('torch.')}{', mirrored too' if num_variants == 2 else ''}"
    if gain < SMALLEST_GAIN:
        reason = f"activations not cached: reading {what} would make a step {gain:.2f} times as fast, less than {SMALLEST_GAIN}"
        return CachePlan(False, reason)
    if num_bytes > largest_bytes:
        sizes = f"{num_bytes / GIB:.2f} GiB, more than the {largest_bytes / GIB:.2f} GiB there is room for"
        return CachePlan(False, f"activations not cached: {what} are {sizes}")
    return CachePlan(True, f"activations cached, {what}", dtype, num_variants, num_bytes)


def stored_dtype(precision: CachePrecision, shape: tuple[int, ...]) -> torch.dtype:
    """float32 for pooled features [num_features], which are small, float16 for maps, unless the recipe says which."""
    match precision:
        case "float32" | "float16":
            return getattr(torch, precision)  # type: ignore[no-any-return]
        case _:
            return torch.float32 if len(shape) == 1 else torch.float16


def speeds_of(device: torch.device, resident_bytes: float, *, is_half: bool) -> list[tuple[float, Speed]]:
    """For `plan_cache`, of this machine.

    Args:
        resident_bytes: up to this size, activations are kept on a GPU.
        is_half: whether it computes in bfloat16 or float16.
    """
    if device.type == "cuda":
        flops_per_s = GPU_HALF_FLOPS_PER_S if is_half else GPU_FLOPS_PER_S
        in_memory, elsewhere = Speed(flops_per_s, GPU_BYTES_PER_S), Speed(flops_per_s, HOST_TO_GPU_BYTES_PER_S)
        return [(resident_bytes, in_memory), (math.inf, elsewhere)]
    num_threads = torch.get_num_threads()
    in_memory = Speed(num_threads * CPU_FLOPS_PER_S, num_threads * CPU_BYTES_PER_S)
    on_disk = Speed(num_threads * CPU_FLOPS_PER_S, DISK_BYTES_PER_S)
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return [(MEMORY_SHARE * memory_bytes, in_memory), (math.inf, on_disk)]


def _without_memory(module: nn.Module) -> dict[str, torch.Tensor]:
    tensors = [*module.named_parameters(), *module.named_buffers()]
    return {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors}


def _changes(augmentation: AugmentationConfig) -> list[str]:
    names = [name for name in ("crop", "rotation", "color_jitter", "cutout") if getattr(augmentation, name)]
    return names if augmentation.mixing == "none" else [*names, augmentation.mixing]
