"""A few right and wrong answers with what the network looked at: for a report."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from study.analysis.activation import Unit, UnitKind
from study.analysis.explanation import Method, applicable_methods, explain, percent, pixels_of
from study.analysis.occlusion import Bubbles
from study.analysis.saliency_figures import draw_explanation
from study.data.images import Pixels
from study.models.exported import Example, ExportedModel

Numbers = npt.NDArray[np.number]
Indices = npt.NDArray[np.int64]

# Circles of a sixteenth of the side, half a diameter apart, 256 of them at most: a quarter of what `study explain` takes.
COARSE_SHARE = 16


@dataclass(frozen=True)
class _Answer:
    """What the model said of one example, and whether it was so.

    Attributes:
        told: as a title.
        truth: as the caption goes on, "" where the answer is right.
        is_right: None of a number, which is never quite.
    """

    unit: Unit
    told: str
    truth: str
    is_right: bool | None


def saliency_examples(
    model: ExportedModel,
    photos: Sequence[Example] | Pixels,
    labels: Numbers,
    predictions: Numbers,
    num_right: int = 4,
    num_wrong: int = 4,
    method: Method | None = None,
) -> list[tuple[bytes, str]]:
    """A few right answers, the surest of different classes first, then the surest wrong ones; each drawn and told.

    Of numbers, the nearest to the truth, then the farthest.

    Args:
        photos: [n], of which only the chosen are read: files, or squares as the model sees them; of several views, tuples.
        labels: true class indices, or true numbers in the target's unit, [n].
        predictions: as `model.predict` gave them: probabilities [n, num_classes] or numbers [n].
        num_right: at most.
        num_wrong: at most.
        method: None: Grad-CAM, which takes as long as a few forwards; where a network has no feature maps, occlusion.
    Returns:
        (PNG, caption) by example; fewer than asked for where there are not as many.
    """
    choose = _choose_classes if model.classes else _choose_numbers
    return [
        _explained(model, photos[index], _answer(model, labels[index], predictions[index]), method)
        for index in choose(labels, predictions, num_right, num_wrong)
    ]


def _choose_classes(labels: Numbers, probabilities: Numbers, num_right: int, num_wrong: int) -> list[int]:
    surest_first = np.argsort(-probabilities.max(axis=1), kind="stable")
    is_right = (probabilities.argmax(axis=1) == labels)[surest_first]
    rights, wrongs = surest_first[is_right], surest_first[~is_right]
    _, first_of_class = np.unique(labels[rights], return_index=True)
    of_different_classes = rights[np.sort(first_of_class)]
    others = rights[~np.isin(rights, of_different_classes)]
    return [*map(int, [*of_different_classes, *others][:num_right]), *map(int, wrongs[:num_wrong])]


def _choose_numbers(labels: Numbers, numbers: Numbers, num_right: int, num_wrong: int) -> list[int]:
    nearest_first = [int(index) for index in np.argsort(np.abs(numbers - labels), kind="stable")]
    return nearest_first[:num_right] + nearest_first[num_right:][::-1][:num_wrong]


def _answer(model: ExportedModel, label: Numbers, prediction: Numbers) -> _Answer:
    if not model.classes:
        told = f"{float(prediction):.4g}, truly {float(label):.4g}"
        return _Answer(Unit(UnitKind.NUMBER), told, "", None)
    called, true = int(prediction.argmax()), int(label)
    name = model.classes[called]
    truth = "" if called == true else f"but it is {model.classes[true]} ({percent(prediction[true])})"
    unit = Unit(UnitKind.PROBABILITY, called, name=name)
    return _Answer(unit, f"{name}, probability {percent(prediction[called])}", truth, called == true)


def _explained(model: ExportedModel, example: Example, answer: _Answer, method: Method | None) -> tuple[bytes, str]:
    pixels = pixels_of(model, example if isinstance(example, list | tuple) else (example,))
    if method is None:
        allowed = applicable_methods(model, pixels, answer.unit)
        method = Method.GRAD_CAM if Method.GRAD_CAM in allowed else Method.OCCLUSION
    radius_px = max(1, model.contract.image_size // COARSE_SHARE)
    explanation = explain(model, pixels, answer.unit, [method], Bubbles(radius_px, radius_px))
    mark = {True: "right: ", False: "wrong: ", None: ""}[answer.is_right]
    title = f"{mark}{answer.told}"
    views = model.example_views
    picture = draw_explanation(explanation, title, answer.truth, views=views, is_right=answer.is_right)
    return picture, f"{', '.join(filter(None, (title, answer.truth)))}. {explanation.sentence}"
