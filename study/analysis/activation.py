"""What an explanation is of: one number that a network computes of an example, as a function with gradients."""

from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
from torch import Tensor

from study.data.images import Pixels
from study.errors import DefinitionError, nearest
from study.models.contract import ModelContract
from study.models.exported import ExportedModel
from study.models.normalization import SMALLEST_STD, Normalizer


class UnitKind(Enum):
    """What kind of number."""

    PROBABILITY = "probability"  # of a class
    SCORE = "score"  # of a class before the softmax: does not saturate where the model is sure
    NUMBER = "number"  # what a model of numbers says, in the target's unit
    CHANNEL = "channel"  # mean over the places of one channel of a stage; a flat stage has one place


@dataclass(frozen=True)
class Unit:
    """One number that a network computes of an example.

    Attributes:
        index: of the class or the channel; 0 for a number.
        stage: whose channel it is; "" otherwise.
        name: of the class, for people; "" where there is none.
    """

    kind: UnitKind
    index: int = 0
    stage: str = ""
    name: str = ""

    @property
    def label(self) -> str:
        """As a figure calls it."""
        match self.kind:
            case UnitKind.NUMBER:
                return "the number"
            case UnitKind.CHANNEL:
                return f"{self.stage}, channel {self.index}"
            case _:
                return f"{self.kind.value} of {self.name}"


class Activation:
    """Normalised images → what the unit does on each example; differentiable, whichever stages are frozen.

    `Classifier.forward` runs its frozen stages without gradient, for training; an explanation needs it all the way down.
    """

    def __init__(self, model: ExportedModel, unit: Unit) -> None:
        stages = dict(model.module.stages.named_children())
        names = list(stages)
        self._layers = [stages[name] for name in names[: names.index(unit.stage) + 1]] if unit.stage else [*stages.values()]
        self._head = None if unit.stage else model.module.head
        self._contract = model.contract
        self._unit = unit

    def __call__(self, images: Tensor) -> Tensor:
        """Float [n * num_views, 3, size, size] → float [n].

        A stage sees each view by itself: of several views the sum of their activations is told, so that a change in one view
        counts in full.
        """
        for layer in self._layers:
            images = layer(images)
        if self._head is None:
            return _by_channel(images)[:, self._unit.index].view(-1, self._contract.num_views).sum(dim=1)
        return self._of_outputs(self._head(images))

    def _of_outputs(self, outputs: Tensor) -> Tensor:
        if self._unit.kind is UnitKind.PROBABILITY:
            outputs = (outputs / self._contract.temperature).softmax(dim=1)
        told = outputs[:, self._unit.index]
        target = self._contract.target
        if target is None:
            return told
        numbers = told * target.std + target.mean
        return numbers.exp() if target.is_log else numbers


def output_unit(model: ExportedModel, pixels: Pixels) -> Unit:
    """What is explained where nobody says what: the probability of the likeliest class of one example, or the number.

    Args:
        pixels: uint8 [num_views, size, size, 3].
    """
    if not model.classes:
        return Unit(UnitKind.NUMBER)
    index = int(model.predict_pixels(pixels)[0].argmax())
    return Unit(UnitKind.PROBABILITY, index, name=model.classes[index])


def class_unit(model: ExportedModel, name: str, kind: UnitKind = UnitKind.PROBABILITY) -> Unit:
    """The probability or score of the class `name`.

    Raises:
        DefinitionError: if the model knows no such class.
    """
    if not model.classes:
        raise DefinitionError(f"--class names a class, but this model gives a number, and got {name!r}. Leave --class out.")
    if name not in model.classes:
        raise DefinitionError(f"--class must be a class of the model, but is `{name}`. {nearest(name, model.classes)}")
    return Unit(kind, model.classes.index(name), name=name)


def channel_unit(model: ExportedModel, stage: str, index: int) -> Unit:
    """One channel of a stage.

    Args:
        stage: its name, or its place from 1.
        index: of the channel, from 0.
    Raises:
        DefinitionError: if there is no such stage, or it has no such channel.
    """
    names = [name for name, _ in model.module.stages.named_children()]
    if stage.isdecimal() and 1 <= int(stage) <= len(names):
        stage = names[int(stage) - 1]
    if stage not in names:
        raise DefinitionError(
            f"a stage must be a name or a number from 1 to {len(names)}, but is `{stage}` for `{model.contract.backbone}`. "
            f"{nearest(stage, names)}"
        )
    num_channels = _num_channels(model, names.index(stage) + 1)
    if not 0 <= index < num_channels:
        raise DefinitionError(
            f"`{stage}` of `{model.contract.backbone}` has channels 0 to {num_channels - 1}, but {index} was asked for. "
            f"Choose one of these."
        )
    return Unit(UnitKind.CHANNEL, index, stage)


def with_fixed_statistics(normalizer: Normalizer, pixels: Pixels) -> Normalizer:
    """The normaliser with this photo's statistics, whatever is painted on the photo later.

    A photo's own mean and deviation would follow a white circle: every pixel of the photo would then change with every circle,
    and |Δa| would tell of contrast and not of the place. So `local` keeps the statistics of the photo as it was; the others
    have fixed ones anyway.

    Args:
        pixels: uint8 [size, size, 3].
    """
    if normalizer.kind != "local":
        return normalizer
    flat = pixels.reshape(-1, 3).astype(np.float64) / 255
    mean, std = (tuple(map(float, values)) for values in (flat.mean(axis=0), flat.std(axis=0)))
    return Normalizer.model_validate({"kind": "global", "mean": mean, "std": std})


def normalized(images: Tensor, normalizer: Normalizer) -> Tensor:
    """As the normaliser, with gradients: float [n, 3, height, width] in [0, 1] → the same shape.

    `Normalizer` itself writes into memory that it is given, which autograd cannot follow.
    """
    if normalizer.mean is None or normalizer.std is None:
        std, mean = torch.std_mean(images, dim=(2, 3), correction=0, keepdim=True)
        return (images - mean) / std.clamp(min=SMALLEST_STD)
    mean = torch.tensor(normalizer.mean, device=images.device).view(3, 1, 1)
    std = torch.tensor(normalizer.std, device=images.device).clamp(min=SMALLEST_STD).view(3, 1, 1)
    return (images - mean) / std


def network_input(contract: ModelContract, pixels: Pixels, device: torch.device) -> Tensor:
    """One example as its network sees it: uint8 [num_views, size, size, 3] → float32 [num_views, 3, size, size]."""
    return contract.network_input(torch.tensor(pixels, device=device))


def device_of(model: ExportedModel) -> torch.device:
    """Where the network is."""
    return next(model.module.parameters()).device


def _num_channels(model: ExportedModel, num_stages: int) -> int:
    size_px = model.contract.image_size
    activations = torch.zeros(1, 3, size_px, size_px, device=device_of(model))
    with torch.no_grad():
        for layer in list(model.module.stages)[:num_stages]:
            activations = layer(activations)
    return _by_channel(activations).shape[1]


def _by_channel(activations: Tensor) -> Tensor:
    """[n, channels], the mean over places, of features [n, channels], tokens [n, places, channels], or maps.

    Photos are squares, and so are maps: the side that differs from two equal ones is the channels' (Swin has them last).
    """
    if activations.ndim == 3:
        return activations.mean(dim=1)
    if activations.ndim == 4:
        is_channels_first = activations.shape[2] == activations.shape[3]
        return activations.mean(dim=(2, 3) if is_channels_first else (1, 2))
    return activations
