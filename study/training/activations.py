"""What the frozen stages make of each photo, computed once and shared by every trial on the node.

The price, to be known where stages are frozen: no random augmentation in front of the boundary, mirrored photos excepted.

A deeper boundary's activations are not computed from a shallower one's, although that would save a part of the network, once a
node: the shallower ones may be rounded to float16, and what a file holds must depend on its key alone.
"""

import logging
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import torch
from torch import Tensor

from study.data.examples import Examples
from study.data.study_data import StudyData
from study.training.activation_cache import ActivationCache
from study.training.activation_files import (
    Batches,
    StoredActivations,
    TooLargeForFloat16Error,
    collect_activations,
    packed_batches,
)
from study.training.activation_inputs import ActivationInputs
from study.training.activation_keys import Autocast, activations_key, photos_outside_test, precision_of
from study.training.activation_parts import SharedWork, parts_of
from study.training.activation_plan import CachePlan, costs_of, plan_cache, refusal, speeds_of
from study.training.batches import ImageInputs, Indices, Inputs
from study.trial import TrialConfig

logger = logging.getLogger(__name__)

GIB = 2**30
# Activations that cannot be shared (random weights, a full disk) are kept up to this size by the trial alone; its neighbours on
# the node do the same.
LARGEST_IN_MEMORY_BYTES = 2 * GIB
# Of a GPU's free memory: training needs the most of it, and another trial may share the GPU.
RESIDENT_SHARE = 0.25
# Pixels computed at once: 32 photos of 224 px, of which the widest tensor (VGG's block1) is 0.4 GB. A GPU wants more to do.
PIXELS_AT_ONCE = 32 * 224**2
GPU_PIXELS_AT_ONCE = 4 * PIXELS_AT_ONCE
MOST_PHOTOS_AT_ONCE = 512


class CacheOutcome(StrEnum):
    """Where a trial's activations came from."""

    HIT = "hit"
    COMPUTED = "computed"
    OFF = "off"


@dataclass(frozen=True)
class CacheFacts:
    """What the run records of its activations.

    Attributes:
        reason: one line: what is kept and where, or why nothing is.
        num_bytes: what they take; 0 if off.
        precision: that they are stored in; "" if off.
        elapsed_s: what it took to have them, including a wait for another trial that computes them.
    """

    outcome: CacheOutcome
    reason: str
    num_bytes: int = 0
    precision: str = ""
    elapsed_s: float = 0.0


def open_inputs(
    images: ImageInputs,
    data: StudyData,
    examples: Examples,
    config: TrialConfig,
    *,
    weights_digest: str,
    cache: ActivationCache,
    autocast: Autocast = nullcontext,
) -> tuple[Inputs, CacheFacts]:
    """The cheapest inputs for training and validation: activations at the boundary, or else `images` itself; and which it was.

    Args:
        images: the photos of `data` in front of the model that will be trained.
        weights_digest: of the weights that the frozen stages have.
        cache: kept from trial to trial, it remembers which files it has checked.
        autocast: the precision that the frozen stages compute in.
    """
    started_s = time.perf_counter()
    plan = _plan(images, data, examples, config, cache, autocast)
    inputs: Inputs = images
    facts = CacheFacts(CacheOutcome.OFF, plan.reason)
    if plan.is_cached:
        key = activations_key(images, data, config, plan, weights_digest, autocast)
        stored, facts = _Source(images, photos_outside_test(data), plan, autocast).have(cache, key)
        if stored is not None:
            inputs = _inputs_of(stored, data, examples, config, images.device)
    logger.info("%s: %s", facts.outcome, facts.reason)
    return inputs, replace(facts, elapsed_s=time.perf_counter() - started_s)


@dataclass(frozen=True, eq=False)
class _Source:
    """Activations as planned, to be had from a file, or computed."""

    images: ImageInputs
    photos: Indices
    plan: CachePlan
    autocast: Autocast

    def have(self, cache: ActivationCache, key: str | None) -> tuple[StoredActivations | None, CacheFacts]:
        """The activations, shared if that can be, else in memory; None if there is no room for them."""
        try:
            stored, facts = self._shared_or_alone(cache, key)
        except TooLargeForFloat16Error as error:
            logger.warning("%s: stored in float32", error)
            wider = replace(self.plan, dtype=torch.float32, num_bytes=2 * self.plan.num_bytes)
            stored, facts = replace(self, plan=wider)._shared_or_alone(cache, key)
        if stored is not None and stored.rows.dtype != self.plan.dtype:  # this trial found out, or the one that computed them
            facts = replace(facts, reason=f"{facts.reason}; in float32, since some are too large for float16")
        return stored, facts

    def _shared_or_alone(self, cache: ActivationCache, key: str | None) -> tuple[StoredActivations | None, CacheFacts]:
        if key is None:
            return self._alone("random weights")
        if cache.folder is None:
            return self._alone("no folder for them")
        try:
            stored, is_new = cache.find_or_write(key, self.plan.num_bytes, self._work())
        except OSError as error:
            logger.warning("activations not shared: %s", error)
            return self._alone(f"{error.strerror or error} in {cache.folder}")
        return stored, self._facts(stored, CacheOutcome.COMPUTED if is_new else CacheOutcome.HIT, self.plan.reason)

    def _alone(self, why: str) -> tuple[StoredActivations | None, CacheFacts]:
        if self.plan.num_bytes > LARGEST_IN_MEMORY_BYTES:
            size = f"{self.plan.num_bytes / GIB:.2f} GiB is more than a trial may keep in memory"
            return None, CacheFacts(CacheOutcome.OFF, f"activations not cached: not shared ({why}), and {size}")
        stored = collect_activations(self._work().whole(), len(self.photos))
        return stored, self._facts(stored, CacheOutcome.COMPUTED, f"{self.plan.reason}, in memory ({why})")

    @staticmethod
    def _facts(stored: StoredActivations, outcome: CacheOutcome, reason: str) -> CacheFacts:
        return CacheFacts(outcome, reason, stored.num_bytes, str(stored.rows.dtype).removeprefix("torch."))

    def _work(self) -> SharedWork:
        """All batches of photos, in parts that several trials can share."""
        pixels_at_once = GPU_PIXELS_AT_ONCE if self.images.device.type == "cuda" else PIXELS_AT_ONCE
        size_px = self.images.image_size or self.images.images.shape[1]
        at_once = min(MOST_PHOTOS_AT_ONCE, math.ceil(pixels_at_once / size_px**2))
        batches = [self.photos[start : start + at_once] for start in range(0, len(self.photos), at_once)]
        parts = [[batches[index] for index in part] for part in parts_of(len(batches))]

        def compute(part: int) -> Batches:
            return packed_batches(self._forward(parts[part]), self.plan.dtype)

        num_rows = [sum(map(len, part)) for part in parts]
        return SharedWork(num_rows, compute, str(self.plan.dtype).removeprefix("torch."))

    def _forward(self, batches: Iterable[Indices]) -> Iterator[Sequence[Tensor]]:
        """The frozen stages' output for each batch of photos, and for them mirrored."""
        for photos in batches:
            pixels = torch.from_numpy(self.images.images[photos]).to(self.images.device)
            variants = [pixels, pixels.flip(2)] if self.plan.num_variants == 2 else [pixels]
            with torch.no_grad(), self.autocast():
                activations = [self.images.enter(one, None).activations for one in variants]
            yield activations


def _plan(
    images: ImageInputs,
    data: StudyData,
    examples: Examples,
    config: TrialConfig,
    cache: ActivationCache,
    autocast: Autocast,
) -> CachePlan:
    refused = refusal(config, images.model.num_frozen)
    if refused:
        return CachePlan(False, refused)
    size_px = config.seen_size(data.image_size)
    subject = (config.backbone, config.head, images.model.num_frozen, size_px, examples.num_views)
    if subject not in cache.costs:
        try:
            cache.costs[subject] = costs_of(images.model, size_px)
        except NotImplementedError as error:  # an operation of a timm model without a rule for tensors without memory
            return CachePlan(False, f"activations not cached: what they cost is unknown ({str(error).splitlines()[0]})")
    is_half = precision_of(images.device, autocast) in ("bfloat16", "float16")
    speeds = speeds_of(images.device, _resident_bytes(images.device), is_half=is_half)
    largest_bytes = max(cache.budget_bytes, LARGEST_IN_MEMORY_BYTES)
    return plan_cache(cache.costs[subject], config, len(photos_outside_test(data)), largest_bytes, speeds)


def _inputs_of(
    stored: StoredActivations, data: StudyData, examples: Examples, config: TrialConfig, device: torch.device
) -> ActivationInputs:
    if device.type == "cuda" and stored.num_bytes <= _resident_bytes(device):
        stored = stored.to(device)
    photos = photos_outside_test(data)
    row_of = np.full(len(data.images), -1, dtype=np.int64)
    row_of[photos] = np.arange(len(photos))
    return ActivationInputs(stored, row_of[examples.photos], config.augmentation.flip, device)


def _resident_bytes(device: torch.device) -> float:
    """Activations up to this size are kept on a GPU."""
    return RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
