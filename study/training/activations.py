"""What the frozen stages make of each photo, computed once and shared by every trial on the node.

The price, to be known where stages are frozen: no random augmentation in front of the boundary.
"""

import hashlib
import json
import logging
import math
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from filelock import FileLock
from torch import Tensor

from study.data.study_data import StudyData
from study.models.weights import RANDOM_DIGEST
from study.training.batches import ImageInputs, Indices, Inputs
from study.trial import TrialConfig

logger = logging.getLogger(__name__)

Features = npt.NDArray[np.float32]

GIB = 2**30
# The activations of 10,000 photos of 224 px are 20 MB (ResNet-18's last stage), 1 GB (VGG-16's block5), 2 GB (ResNet-18's
# layer3): every boundary at which a trial gains much fits, and a machine that trains has that disk.
DEFAULT_BUDGET_BYTES = 8 * GIB
# A GPU keeps features up to this size whole: reading them from the host at each step would be the slowest part of it.
RESIDENT_BYTES = 1 * GIB
# The widest tensor of 32 photos of 224 px is 0.4 GB (VGG's block1), and no gradient is kept.
PHOTOS_A_BATCH = 32
# Raise it when the same key would mean other numbers.
CACHE_VERSION = 1


@dataclass(frozen=True, eq=False)
class ActivationInputs:
    """Activations at the boundary, one row a photo.

    Attributes:
        features: float32 [num_rows, …]; a memory-mapped file is shared with the node's other trials.
        row_of: the row of each photo, int64 [num_photos]; -1 where it has none.
        device: where batches go.
    """

    features: Tensor
    row_of: Indices
    device: torch.device

    def batch(self, indices: Indices) -> Tensor:
        """See `Inputs.batch`."""
        rows = torch.from_numpy(self.row_of[indices])
        return self.features.index_select(0, rows.to(self.features.device)).to(self.device)


@dataclass(frozen=True)
class CachePlan:
    """Whether activations are computed once, and why.

    Attributes:
        shape: of the features, [num_photos, …].
        reason: for the run's record.
    """

    is_cached: bool
    shape: tuple[int, ...]
    reason: str

    @property
    def num_bytes(self) -> int:
        """Size of the features as float32."""
        return 4 * math.prod(self.shape)


def open_inputs(
    images: ImageInputs,
    indices: Indices,
    *,
    key: str | None,
    folder: Path | None,
    budget_bytes: int = DEFAULT_BUDGET_BYTES,
) -> Inputs:
    """The cheapest inputs for the photos at `indices`: their activations at the boundary, or else `images` itself.

    Args:
        indices: all photos that will be asked for.
        key: `activations_key`; None keeps the activations in memory, for this trial alone.
        folder: where activations are shared; None likewise.
        budget_bytes: larger activations are not kept.
    """
    plan = plan_cache(images, len(indices), budget_bytes)
    logger.info("%s", plan.reason)
    if not plan.is_cached:
        return images
    if folder is None or key is None or not _has_space(folder, key, plan.num_bytes):
        features = _in_memory(images, indices, plan.shape)
    else:
        features = _shared(folder / f"{key}.npy", images, indices, plan.shape)
    row_of = np.full(len(images.images), -1, dtype=np.int64)
    row_of[indices] = np.arange(len(indices))
    tensor = torch.from_numpy(features)
    is_resident = features.nbytes <= RESIDENT_BYTES
    return ActivationInputs(tensor.to(images.device) if is_resident else tensor, row_of, images.device)


def plan_cache(images: ImageInputs, num_photos: int, budget_bytes: int = DEFAULT_BUDGET_BYTES) -> CachePlan:
    """Whether the activations of `num_photos` photos at the model's boundary are worth keeping.

    They are if stages are frozen, if they fit the budget, and if one photo's are no larger than the normalised photo: beyond
    that, reading them costs more than it saves (every network's first stages widen the photo).
    """
    num_frozen = images.model.num_frozen
    if num_frozen == 0:
        return CachePlan(False, (num_photos,), "activations not cached: no stage is frozen")
    shape = (num_photos, *images.batch(np.zeros(1, dtype=np.int64)).shape[1:])
    plan = CachePlan(True, shape, f"activations of {num_frozen} frozen stages cached, {[*shape]}")
    photo_bytes = 4 * images.images[0].size
    if plan.num_bytes > photo_bytes * num_photos:
        return CachePlan(False, shape, f"activations not cached: {[*shape[1:]]} a photo is larger than the photo")
    if plan.num_bytes > budget_bytes:
        sizes = f"{plan.num_bytes / GIB:.1f} GiB is over the budget of {budget_bytes / GIB:.1f} GiB"
        return CachePlan(False, shape, f"activations not cached: {sizes}")
    return plan


def activations_key(
    data: StudyData, indices: Indices, config: TrialConfig, weights_digest: str, images: ImageInputs
) -> str | None:
    """Digest of all that the activations depend on; None for random weights, which no other trial has."""
    if weights_digest == RANDOM_DIGEST:
        return None
    parts = {
        "version": CACHE_VERSION,
        "data": data.digest,
        "photos": hashlib.sha256(indices.astype("<i8").tobytes()).hexdigest(),
        "backbone": config.backbone,
        "head": config.head,  # some backbones pool for a replaced head, and an appended one has a stage more
        "weights": weights_digest,
        "normalizer": images.normalizer.model_dump(mode="json"),
        "num_frozen": images.model.num_frozen,
        "device": images.device.type,  # a GPU rounds otherwise
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _in_memory(images: ImageInputs, indices: Indices, shape: tuple[int, ...]) -> Features:
    features = np.empty(shape, dtype=np.float32)
    start = 0
    for computed in _compute(images, indices):
        features[start : start + len(computed)] = computed
        start += len(computed)
    return features


def _compute(images: ImageInputs, indices: Indices) -> Iterator[Features]:
    for start in range(0, len(indices), PHOTOS_A_BATCH):
        yield images.batch(indices[start : start + PHOTOS_A_BATCH]).contiguous().cpu().numpy()


def _has_space(folder: Path, key: str, num_bytes: int) -> bool:
    folder.mkdir(parents=True, exist_ok=True)
    return (folder / f"{key}.npy").exists() or shutil.disk_usage(folder).free > num_bytes


def _shared(path: Path, images: ImageInputs, indices: Indices, shape: tuple[int, ...]) -> Features:
    """The features in `path`, written by whichever trial comes first; the others wait for it."""
    features = _opened(path, shape)
    if features is None:
        with FileLock(path.with_suffix(".lock")):
            features = _opened(path, shape)
            if features is None:
                _write(path, images, indices, shape)
                features = _opened(path, shape)
    assert features is not None, f"{path} was just written"
    return features


def _opened(path: Path, shape: tuple[int, ...]) -> Features | None:
    """The mapped file; None if it is not there, or not whole."""
    try:
        # Copy-on-write: nothing is ever written, but torch warns of arrays that it must not write to.
        features: Features = np.load(path, mmap_mode="c")
    except (OSError, EOFError, ValueError):
        return None
    return features if features.shape == shape and features.dtype == np.float32 else None


def _write(path: Path, images: ImageInputs, indices: Indices, shape: tuple[int, ...]) -> None:
    partial = path.with_suffix(".partial")
    # By write() and not through a memory map: on a full disk that is an error, and not a SIGBUS that kills the process.
    with partial.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for features in _compute(images, indices):
            file.write(features.tobytes())
    os.replace(partial, path)
