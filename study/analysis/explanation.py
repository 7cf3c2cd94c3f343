"""One explanation of one example: maps by each method asked for, and what they say in a sentence."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from study.analysis.activation import Activation, Unit, UnitKind, device_of, network_input
from study.analysis.attribution import grad_cam, integrated_gradients, last_map
from study.analysis.occlusion import Bubbles, occlude
from study.data.images import Photo, Pixels
from study.errors import DataError, ModelError
from study.models.exported import ExportedModel

Maps = npt.NDArray[np.float32]

# Attributions of single pixels are dust to the eye: they are averaged over this square.
SMOOTHED_PX = 9
# Below it a change of a probability is said to be none: 1 point.
SMALLEST_CHANGE = 0.01


class Method(StrEnum):
    """How a map is made."""

    OCCLUSION = "occlusion"
    GRAD_CAM = "grad_cam"
    INTEGRATED_GRADIENTS = "integrated_gradients"


def percent(probability: float) -> str:
    """A probability for people: neither 0% nor 100% where it is not."""
    if 0 < probability < 0.005:
        return "under 1%"
    return "over 99%" if 0.995 <= probability < 1 else f"{probability:.0%}"


@dataclass(frozen=True, eq=False)
class Explanation:
    """Where a network looked.

    Attributes:
        unit: what is explained.
        pixels: the photos as the model sees them, uint8 [num_views, size, size, 3]; of several examples their mean.
        activation: of the unit; of several examples the mean.
        maps: by method, ≥ 0, float32 [num_views, size, size]; bright matters.
        strongest: the change of the circle that changed most, with its sign; None without occlusion, or of several examples.
        radius_px: of the circles.
        num_examples: over how many the maps are averaged.
    """

    unit: Unit
    pixels: Pixels
    activation: float
    maps: dict[Method, Maps]
    strongest: float | None = None
    radius_px: int = 0
    num_examples: int = 1

    @property
    def sentence(self) -> str:
        """What the maps say, for someone who has never seen one."""
        if self.num_examples > 1:
            return f"Mean of {self.num_examples} examples. Bright: {_bright(next(iter(self.maps)), self)}"
        if self.strongest is None:
            return f"Bright: {_bright(next(iter(self.maps)), self)}"
        circle = f"a white circle (radius {self.radius_px} px)"
        if self._is_probability and abs(self.strongest) < SMALLEST_CHANGE:
            return (
                f"No place matters alone: {circle} changes the {self.unit.label} by {abs(self.strongest) * 100:.1g} points at "
                f"most. A larger --radius may show more."
            )
        verb = "lowers" if self.strongest < 0 else "raises"
        before, after = (self.told(value) for value in (self.activation, self.activation + self.strongest))
        return (
            f"Bright: {circle} that hides this place changes {_the(self.unit)}. The circle that matters most {verb} it "
            f"from {before} to {after}."
        )

    def told(self, activation: float) -> str:
        """An activation of the unit, for people."""
        return percent(activation) if self._is_probability else f"{activation:.4g}"

    @property
    def _is_probability(self) -> bool:
        return self.unit.kind is UnitKind.PROBABILITY


def explain(
    model: ExportedModel, pixels: Pixels, unit: Unit, methods: Sequence[Method], bubbles: Bubbles | None = None
) -> Explanation:
    """The explanation of one example.

    Gradients of a probability vanish where the model is sure, so Grad-CAM and integrated gradients explain the class's score
    in front of the softmax, as their authors do; occlusion explains the unit itself.

    Args:
        pixels: as the model sees it, uint8 [num_views, size, size, 3].
        methods: at least one.
        bubbles: for occlusion; None: circles of 15 px.
    Raises:
        DefinitionError: if the circles do not fit.
        ModelError: if Grad-CAM is asked of a network without feature maps.
    """
    bubbles = Bubbles() if bubbles is None else bubbles
    of_gradients = Unit(UnitKind.SCORE, unit.index, name=unit.name) if unit.kind is UnitKind.PROBABILITY else unit
    maps: dict[Method, Maps] = {}
    strongest = None
    for method in methods:
        match method:
            case Method.OCCLUSION:
                occlusion = occlude(model, pixels, unit, bubbles)
                maps[method], strongest = occlusion.maps, occlusion.strongest
            case Method.GRAD_CAM:
                maps[method] = grad_cam(model, pixels, of_gradients)
            case Method.INTEGRATED_GRADIENTS:
                maps[method] = _smoothed(np.abs(integrated_gradients(model, pixels, of_gradients)))
    return Explanation(unit, pixels, activation_of(model, pixels, unit), maps, strongest, bubbles.radius_px)


def averaged(explanations: Sequence[Explanation]) -> Explanation:
    """The mean map of several examples, all of one unit and by the same methods: where the class is seen, not one photo's.

    Args:
        explanations: at least one.
    """
    first = explanations[0]
    maps = {method: np.mean([explanation.maps[method] for explanation in explanations], axis=0) for method in first.maps}
    pixels = np.mean([explanation.pixels for explanation in explanations], axis=0).round().astype(np.uint8)
    activation = float(np.mean([explanation.activation for explanation in explanations]))
    strongest = first.strongest if len(explanations) == 1 else None
    return Explanation(first.unit, pixels, activation, maps, strongest, first.radius_px, len(explanations))


def applicable_methods(model: ExportedModel, pixels: Pixels, unit: Unit) -> tuple[Method, ...]:
    """All methods that the network allows."""
    try:
        last_map(model, network_input(model.contract, pixels, device_of(model)), unit)
    except ModelError:
        return tuple(method for method in Method if method is not Method.GRAD_CAM)
    return tuple(Method)


def activation_of(model: ExportedModel, pixels: Pixels, unit: Unit) -> float:
    """a(X), of one example as the model sees it."""
    with torch.no_grad():
        return float(Activation(model, unit)(network_input(model.contract, pixels, device_of(model))))


def examples_of(model: ExportedModel, photos: Sequence[Photo]) -> list[tuple[Photo, ...]]:
    """The photos of each example; of a model of several views, they come one after the other.

    Raises:
        DataError: if the number of photos is no multiple of the number of views.
    """
    views = model.example_views
    num_views = max(1, len(views))
    if len(photos) % num_views:
        raise DataError(
            f"this model takes {num_views} photos an example ({', '.join(views)}), but {len(photos)} were given. "
            f"Give a multiple of {num_views}, the views of each example in this order."
        )
    return [tuple(photos[start : start + num_views]) for start in range(0, len(photos), num_views)]


def pixels_of(model: ExportedModel, photos: Sequence[Photo]) -> Pixels:
    """One example as the model sees it, uint8 [num_views, size, size, 3].

    Raises:
        DataError: naming the photo that cannot be read.
    """
    return model.contract.pixels_of(photos)


def _smoothed(maps: Maps) -> Maps:
    """Each pixel the mean of a square around it; at the edge, of what lies in the photo."""
    padded = torch.from_numpy(maps)[:, None]
    smooth = functional.avg_pool2d(padded, SMOOTHED_PX, stride=1, padding=SMOOTHED_PX // 2, count_include_pad=False)
    side = maps.shape[-1]  # smaller than the square, it is kept as it is
    return smooth[:, 0].numpy() if side >= SMOOTHED_PX else maps


def _bright(method: Method, explanation: Explanation) -> str:
    told = _the(explanation.unit)
    match method:
        case Method.OCCLUSION:
            return f"hidden under a white circle (radius {explanation.radius_px} px), this place changes {told} most."
        case Method.GRAD_CAM:
            return f"what the network found here, in its last feature maps, speaks for {told}."
        case Method.INTEGRATED_GRADIENTS:
            return f"the colours here moved {told} most, compared with an empty photo."


def _the(unit: Unit) -> str:
    return {UnitKind.NUMBER: "the number", UnitKind.CHANNEL: f"channel {unit.index} of {unit.stage}"}.get(
        unit.kind, f"the {unit.label}"
    )
