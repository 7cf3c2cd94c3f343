"""What activations depend on: their photos, and the name under which trials find them."""

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch

from study.data.study_data import StudyData
from study.models.weights import RANDOM_DIGEST
from study.training.activation_plan import CachePlan
from study.training.batches import ImageInputs, Indices
from study.trial import TrialConfig

# The context in which a trial's arithmetic is done: autocast to half precision, or nothing.
Autocast = Callable[[], AbstractContextManager[object]]

# Raise it when the same key would mean other numbers.
CACHE_VERSION = 2


def photos_outside_test(data: StudyData) -> Indices:
    """Positions of the photos that any fold trains on or validates with, rising.

    All folds', so that they share one file (unless the normalisation is of each fold's own training split). The test split is
    read once, elsewhere.
    """
    return np.unique(np.concatenate([part for fold in data.folds for part in (fold.splits.train, fold.splits.val)]))


def activations_key(
    images: ImageInputs,
    data: StudyData,
    config: TrialConfig,
    plan: CachePlan,
    weights_digest: str,
    autocast: Autocast = nullcontext,
) -> str | None:
    """Digest of all that the activations depend on; None for random weights, which no other trial has."""
    if weights_digest == RANDOM_DIGEST:
        return None
    parts = {
        "version": CACHE_VERSION,
        "data": data.digest,
        "packed_size": data.image_size,
        "image_size": images.image_size or data.image_size,
        "photos": _digest(photos_outside_test(data).astype("<i8").tobytes()),
        "backbone": config.backbone,
        # The layers themselves: for a replaced head some backbones pool in their last stage, and an appended one adds a stage.
        "frozen": _digest(repr(images.model.frozen_stages).encode()),
        "weights": weights_digest,
        "normalizer": images.normalizer.model_dump(mode="json"),
        "num_variants": plan.num_variants,
        "stored": str(plan.dtype),
        # What rounds otherwise.
        "device": images.device.type,
        "computed": precision_of(images.device, autocast),
        "channels_last": config.compute.channels_last,
        "torch": torch.__version__,
        # Where it is "rgb" the key stays what it was before there was another.
        **({} if images.colour_mode == "rgb" else {"colour_mode": images.colour_mode}),
    }
    return _digest(json.dumps(parts, sort_keys=True).encode())


def precision_of(device: torch.device, autocast: Autocast) -> str:
    """What products on `device` are computed in: "bfloat16", "float16", or torch's word for its kind of float32."""
    with autocast():
        if torch.is_autocast_enabled(device.type):
            return str(torch.get_autocast_dtype(device.type)).removeprefix("torch.")
    is_short = device.type == "cuda" and torch.backends.cudnn.allow_tf32
    return f"float32, {torch.get_float32_matmul_precision()}{', tf32 convolutions' if is_short else ''}"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
