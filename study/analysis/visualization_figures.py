"""Made images side by side on a sheet, with what they do to the unit."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from study.analysis.activation import UnitKind
from study.analysis.activation_maximization import Visualization
from study.analysis.saliency_figures import png_of
from study.models.exported import ExportedModel
from study.tracking.figures import plain_text

CELL_INCHES = 2.7
LETTERS_PER_INCH = 13  # of 10.5 pt DejaVu Sans


@dataclass(frozen=True)
class VisualizationFiles:
    """What was written.

    Attributes:
        sheet: all images with their activations and a sentence.
        images: each by itself, at the size that the model sees; of several views one after the other.
    """

    visualized: str
    sheet: Path
    images: tuple[Path, ...]
    activations: tuple[float, ...]
    sentence: str

    def as_dict(self) -> dict[str, object]:
        """As JSON has it."""
        return {
            "visualized": self.visualized,
            "sheet": str(self.sheet),
            "images": list(map(str, self.images)),
            "activations": list(self.activations),
            "sentence": self.sentence,
        }


def save_visualization(visualization: Visualization, model: ExportedModel, folder: Path) -> VisualizationFiles:
    """Writes the images and their sheet as PNGs to `folder`, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    unit = visualization.unit
    name = (unit.name or (f"{unit.stage}-{unit.index}" if unit.stage else "number")).replace("/", "_")
    views = model.example_views
    images = []
    for number, example in enumerate(visualization.pixels, start=1):
        for place, pixels in enumerate(example):
            images.append(folder / f"{name}-{number}{f'-{views[place]}' if views else ''}.png")
            Image.fromarray(pixels).save(images[-1])
    sheet = folder / f"{name}.png"
    sheet.write_bytes(draw_visualization(visualization, f"{unit.label}, {model.contract.backbone}", views))
    activations = tuple(float(value) for value in visualization.activations)
    return VisualizationFiles(unit.label, sheet, tuple(images), activations, sentence_of(visualization))


@plain_text()
def draw_visualization(visualization: Visualization, title: str, views: Sequence[str] = ()) -> bytes:
    """The contact sheet as a PNG: a column an image, a row a view; under each its activation.

    Args:
        views: names of the rows, where there are several.
    """
    num_images, num_views = visualization.pixels.shape[:2]
    width = max(CELL_INCHES * num_images + 0.15, 2 * CELL_INCHES)
    lines = textwrap.wrap(sentence_of(visualization), int(width * LETTERS_PER_INCH))
    head, foot, row = 0.55, 0.2 + 0.2 * len(lines), CELL_INCHES + 0.15
    height = head + row * num_views + foot
    figure = Figure(figsize=(width, height), dpi=110, facecolor="white")
    figure.text(0.15 / width, 1 - 0.12 / height, title, size=15, weight="bold", va="top")
    figure.text(0.15 / width, 0.12 / height, "\n".join(lines), size=10.5, va="bottom", linespacing=1.35)
    side = CELL_INCHES - 0.15
    for column, activation in enumerate(visualization.activations):
        for view in range(num_views):
            bottom = foot + (num_views - 1 - view) * row
            place = ((0.15 + column * CELL_INCHES) / width, (bottom + 0.05) / height, side / width, side / height)
            axes = figure.add_axes(place)
            axes.imshow(visualization.pixels[column, view])
            axes.axis("off")
            name = f"{views[view]}: " if num_views > 1 else ""
            axes.set_title(f"{name}activation {activation:.4g}", size=10, loc="left", pad=4)
    return png_of(figure)


def sentence_of(visualization: Visualization) -> str:
    """What the images are, for someone who has never seen any."""
    unit = visualization.unit
    what = {
        UnitKind.CHANNEL: f"excites channel {unit.index} of {unit.stage}",
        UnitKind.NUMBER: "makes the number large",
    }.get(unit.kind, f"speaks for {unit.name}")
    from_mean, to_mean = float(visualization.starts.mean()), float(visualization.activations.mean())
    if to_mean <= from_mean:
        return (
            f"Nothing was found that {what}: the activation stayed at {to_mean:.4g}. A channel that answers to no image has "
            f"no gradient to follow."
        )
    return (
        f"Made from grey noise, step by step, to show what {what} in this network: from {from_mean:.4g} to {to_mean:.4g}. "
        f"Not photos: shapes and textures that recur are what it looks for."
    )
