"""Files of explanations: what is asked of a model and some photos, answered with a picture each or one of all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path

from study.analysis.activation import Unit, UnitKind, channel_unit, class_unit, output_unit
from study.analysis.explanation import (
    Explanation,
    Method,
    applicable_methods,
    averaged,
    examples_of,
    explain,
    percent,
    pixels_of,
)
from study.analysis.occlusion import Bubbles
from study.analysis.saliency_figures import draw_explanation
from study.data.images import Pixels
from study.errors import DefinitionError
from study.models.exported import ExportedModel

ALL = "all"


@dataclass(frozen=True)
class Question:
    """What is to be explained, and how.

    Attributes:
        class_name: None: the likeliest of each photo.
        stage: with `channel`, a channel of it instead of a class: name or number from 1.
        method: a `Method`'s value, or "all" that the network allows.
        is_averaged: one map over all examples.
    """

    class_name: str | None = None
    stage: str | None = None
    channel: int | None = None
    method: str = Method.OCCLUSION.value
    bubbles: Bubbles = field(default_factory=Bubbles)
    is_averaged: bool = False


@dataclass(frozen=True, eq=False)
class ExplainedFile:
    """One picture.

    Attributes:
        names: the photos in it.
        title: what the model says of them.
        activation: of the unit explained.
    """

    file: Path
    names: tuple[str, ...]
    title: str
    unit: Unit
    activation: float
    methods: tuple[Method, ...]
    sentence: str

    def as_dict(self) -> dict[str, object]:
        """As JSON has it."""
        return {
            "images": list(self.names),
            "file": str(self.file),
            "title": self.title,
            "explained": self.unit.label,
            "activation": self.activation,
            "methods": [method.value for method in self.methods],
            "sentence": self.sentence,
        }


def explain_photos(
    model: ExportedModel,
    photos: Sequence[Path],
    question: Question,
    folder: Path,
    announce: Callable[[ExplainedFile], None] = lambda file: None,
) -> list[ExplainedFile]:
    """Draws where the model looks in each example, or in all of them on average, into `folder`.

    Everything that can be wrong with the question or a photo is found before the first map, which may take a minute.

    Args:
        photos: of a model of several views, the views of an example one after the other.
        announce: is told of each picture when it is there.
    Raises:
        DefinitionError: if the question does not fit the model, or a picture would be written over one of the photos.
        DataError: naming the photo that cannot be read; if there are not enough photos for an example's views.
        ModelError: if Grad-CAM is asked of a network without feature maps.
    """
    asked = _unit_asked(model, question)
    if question.method in (Method.OCCLUSION, ALL):
        question.bubbles.check(model.contract.image_size)
    examples = [tuple(map(str, example)) for example in examples_of(model, photos)]
    pixels = [pixels_of(model, example) for example in examples]
    units = [asked or output_unit(model, views) for views in pixels]
    files = [_target_of_average(folder, units[0])] if question.is_averaged else _targets(folder, examples)
    _require_no_photo(files, examples)
    methods = applicable_methods(model, pixels[0], units[0]) if question.method == ALL else (Method(question.method),)
    explained = (explain(model, views, unit, methods, question.bubbles) for views, unit in zip(pixels, units, strict=True))
    folder.mkdir(parents=True, exist_ok=True)
    if question.is_averaged:
        drawn = iter([_save_averaged(model, averaged(list(explained)), examples, files[0])])
    else:
        drawn = (_save(model, *one) for one in zip(explained, examples, files, strict=True))
    found = []
    for file in drawn:
        announce(file)
        found.append(file)
    return found


def _unit_asked(model: ExportedModel, question: Question) -> Unit | None:
    """None where each example's own answer is to be explained."""
    if (question.stage is None) != (question.channel is None):
        raise DefinitionError("--layer and --unit go together, but one was given alone. Give --layer STAGE --unit CHANNEL.")
    if question.stage is not None and question.channel is not None:
        if question.class_name is not None:
            raise DefinitionError("a class or a unit is explained, but both --class and --layer were given. Leave one out.")
        return channel_unit(model, question.stage, question.channel)
    if question.class_name is not None:
        return class_unit(model, question.class_name)
    if question.is_averaged and model.classes:
        classes = ", ".join(model.classes)
        raise DefinitionError(f"--class-map averages maps of one class, but none was named. Give --class, one of: {classes}.")
    return Unit(UnitKind.NUMBER) if not model.classes else None


def _targets(folder: Path, examples: Sequence[tuple[str, ...]]) -> list[Path]:
    """A file for each example, named as its first photo; numbered where an earlier one has that name."""
    files = list[Path]()
    taken = set[Path]()
    for stem in (Path(names[0]).stem for names in examples):
        numbered = (folder / f"{stem}-{number}.png" for number in count(2))
        file = next(file for file in chain([folder / f"{stem}.png"], numbered) if file not in taken)
        files.append(file)
        taken.add(file)
    return files


def _target_of_average(folder: Path, unit: Unit) -> Path:
    return folder / f"class_map_{(unit.name or unit.stage or 'number').replace('/', '_')}.png"


def _require_no_photo(files: Sequence[Path], examples: Sequence[tuple[str, ...]]) -> None:
    """Asked of the file system: a link to a photo, or another spelling of its path, is that photo."""
    photo_of = {_identity(Path(name)): name for names in examples for name in names}
    for file in files:
        if file.exists() and (photo := photo_of.get(_identity(file))) is not None:
            raise DefinitionError(
                f"an explanation must not replace a photo that is explained, but --out {file.parent} would write over {photo}. "
                f"Give another folder."
            )


def _identity(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_dev, found.st_ino


def _save(model: ExportedModel, explanation: Explanation, names: tuple[str, ...], file: Path) -> ExplainedFile:
    said = _said(model, explanation.pixels)
    is_output = explanation.unit.kind is UnitKind.NUMBER or said.startswith(f"{explanation.unit.name}, ")
    title = said if is_output else f"{explanation.unit.label}: {explanation.told(explanation.activation)}"
    subtitle = ", ".join(names) + ("" if is_output else f"  ·  the model says {said}")
    return _drawn(model, explanation, title, subtitle, names, file)


def _save_averaged(
    model: ExportedModel,
    explanation: Explanation,
    examples: Sequence[tuple[str, ...]],
    file: Path,
) -> ExplainedFile:
    unit = explanation.unit
    title = f"{unit.label}: {explanation.told(explanation.activation)} on average"
    subtitle = f"{len(examples)} examples, from {examples[0][0]}"
    names = tuple(name for example in examples for name in example)
    return _drawn(model, explanation, title, subtitle, names, file)


def _drawn(
    model: ExportedModel,
    explanation: Explanation,
    title: str,
    subtitle: str,
    names: tuple[str, ...],
    file: Path,
) -> ExplainedFile:
    """The picture and what is told of it."""
    file.write_bytes(draw_explanation(explanation, title, subtitle, views=model.example_views))
    return ExplainedFile(
        file, names, title, explanation.unit, explanation.activation, tuple(explanation.maps), explanation.sentence
    )


def _said(model: ExportedModel, pixels: Pixels) -> str:
    """What the model says of one example, as a title."""
    outputs = model.predict_pixels(pixels)
    if not model.classes:
        return f"{float(outputs[0]):.4g}"
    index = int(outputs[0].argmax())
    return f"{model.classes[index]}, probability {percent(outputs[0, index])}"
