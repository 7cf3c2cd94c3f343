"""What an exported model takes and gives, as plain data beside its weights."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, ValidationError, model_validator
from torch import Tensor

from study.data.images import PADDING, Photo, Pixels, square_of
from study.data_definition import Task
from study.errors import ModelError
from study.models.colour_modes import as_seen
from study.models.heads import HeadPlan
from study.models.normalization import Normalizer
from study.models.resizing import resized
from study.trial import ColourMode, Head, Plain

# Raise it when a field changes its meaning: an older `study` then refuses the folder and does not misread it.
CONTRACT_VERSION = 5
# 2 has no temperature: its probabilities are the softmax as it is. 3 has no packed_size: photos are seen as they are packed. 4
# has no colour_mode: photos are seen in colour.
READABLE_VERSIONS = (2, 3, 4, CONTRACT_VERSION)
CONTRACT_FILE = "contract.json"
# What a model's answers depend on, beside its weights.
ANSWER_FIELDS = (
    *("task", "classes", "target", "example_views", "image_size", "packed_size", "padding", "normalization", "backbone"),
    *("head", "temperature", "weights_digest", "colour_mode"),
)


class TargetScale(Plain):
    """What a model of numbers was trained on: (number − mean) / std, where number is the target or its natural logarithm."""

    mean: float
    std: float = Field(gt=0)
    is_log: bool = False

    def in_unit(self, outputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Numbers in the target's own unit from a model's outputs, float32 [n]."""
        numbers = outputs.astype(np.float64) * self.std + self.mean
        return (np.exp(numbers) if self.is_log else numbers).astype(np.float32)


class ModelContract(Plain):
    """What goes in, what comes out, and where the model came from.

    Attributes:
        task: "class" gives a probability for each of `classes`, "number" a number in the target's unit.
        classes: in the order of the probabilities; none for numbers.
        target: for numbers only.
        example_views: the photos that make an example, in order; none: every photo is an example.
        image_size: pixels; side of the photos that the network is built for and sees.
        packed_size: pixels; photos are fitted into this square, padded with the colour `padding`, and then resized. None:
            `image_size`, nothing is resized. Both steps are those of training: fitted into the small square at once, a photo
            would come out as another (it was decoded at another scale) than those that the model learnt from.
        colour_mode: what is left of the photos' colour; of "greyscale" luma alone, whatever colours a photo comes in.
        temperature: what scores are divided by before the softmax, fitted on the validation split; 1 changes nothing.
        weights_digest: SHA-256 of weights.safetensors; `save_exported` fills it in.
        metrics: what the model reached, by the names of a `Measurement` or `test_…`.
        versions: of the libraries that it was trained with.
    """

    contract_version: int = CONTRACT_VERSION
    task: Task = "class"
    classes: tuple[str, ...] = ()
    target: TargetScale | None = None
    example_views: tuple[str, ...] = ()
    image_size: int = Field(ge=1)
    packed_size: int | None = Field(default=None, ge=1)
    padding: tuple[int, int, int] = PADDING
    colour_mode: ColourMode = "rgb"
    normalization: Normalizer
    backbone: str
    head: Head
    freeze_depth: float = Field(ge=0, le=1)
    temperature: float = Field(default=1.0, gt=0)
    weights_digest: str = ""
    data_digest: str
    study: str
    trial_number: int = Field(ge=0)
    metrics: Mapping[str, float] = Field(default_factory=dict)
    versions: Mapping[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _says_what_comes_out(self) -> Self:
        is_number = self.task == "number"
        if is_number == bool(self.classes) or is_number != (self.target is not None):
            raise ValueError(
                f'task "class" needs classes and no target, "number" a target and no classes, '
                f"but task={self.task}, classes={list(self.classes)}, target={self.target}"
            )
        if is_number and self.temperature != 1:
            raise ValueError(f'task "number" has no probabilities to soften, but temperature={self.temperature}')
        return self

    @property
    def content_digest(self) -> str:
        """SHA-256 of what the answers depend on: models of one digest answer alike, whatever study they came from."""
        answering = self.model_dump(mode="json", include=set(ANSWER_FIELDS))
        if self.packed_size is None:  # as those have it that were registered before there was one
            del answering["packed_size"]
        if self.colour_mode == "rgb":  # likewise
            del answering["colour_mode"]
        return hashlib.sha256(json.dumps(answering, sort_keys=True).encode()).hexdigest()

    def pixels_of(self, photos: Sequence[Photo]) -> Pixels:
        """What the network sees of photos before they are normalised, uint8 [len(photos), image_size, image_size, 3].

        In its colour mode: of "greyscale" the three channels are equal.

        Raises:
            UnreadablePhotoError: naming the photo that cannot be read.
        """
        packed = np.stack([square_of(photo, self.packed_size or self.image_size) for photo in photos])
        sized = resized(torch.from_numpy(packed), self.image_size)
        pixels: Pixels = as_seen(sized, self.colour_mode).numpy()
        return pixels

    def network_input(self, pixels: Tensor) -> Tensor:
        """What the network takes, float32 [n, 3, image_size, image_size], on the pixels' device.

        Args:
            pixels: as `pixels_of` gives them, or in colour: what the network does not see is taken from them here.
        """
        return self.normalization(as_seen(pixels, self.colour_mode))

    @property
    def num_views(self) -> int:
        """Photos of an example."""
        return max(1, len(self.example_views))

    @property
    def head_plan(self) -> HeadPlan:
        """The head that the weights are for. Its dropout matters in training only."""
        return HeadPlan(self.head, len(self.classes) or 1, self.num_views)


def read_contract(folder: Path) -> ModelContract:
    """The contract in an exported model's folder.

    Raises:
        ModelError: if there is none, or it cannot be kept by this version.
    """
    path = folder / CONTRACT_FILE
    try:
        text = path.read_text(encoding="utf-8")
        _check_version(json.loads(text), path)
        contract = ModelContract.model_validate_json(text)
    except FileNotFoundError:
        raise ModelError(
            f"an exported model must hold {CONTRACT_FILE}, but there is none in {folder}. Check the path."
        ) from None
    except ValidationError as error:
        finding = error.errors()[0]
        where = ".".join(map(str, finding["loc"])) or "task"
        raise ModelError(f"`{where}` in {path} breaks the contract: {finding['msg']}. Export or pull the model anew.") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as a JSON contract: {error}. Export or pull the model anew.") from error
    if contract.padding != PADDING:
        raise ModelError(
            f"photos are padded with {PADDING} here, but {path} asks for {contract.padding}. Export the model anew."
        )
    return contract


def _check_version(table: Any, path: Path) -> None:
    """Before anything else is read: another version may have other fields."""
    version = table.get("contract_version") if isinstance(table, dict) else None
    if version not in READABLE_VERSIONS:
        readable = f"{min(READABLE_VERSIONS)} to {max(READABLE_VERSIONS)}"
        raise ModelError(
            f"this version of study reads model contracts of versions {readable}, but {path} has {version}. "
            f"Use the version of study that wrote it, or export the model anew."
        )
