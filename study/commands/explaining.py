"""Commands that look into a model: explain, visualize."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from study.commands.shared import as_json
from study.errors import DefinitionError

if TYPE_CHECKING:
    from study.analysis.activation import Unit
    from study.models.exported import ExportedModel

METHODS = ("occlusion", "grad_cam", "integrated_gradients", "all")
FOLDER = click.Path(path_type=Path)


@click.command()
@click.argument("model")
@click.argument("images", nargs=-1, required=True, type=FOLDER)
@click.option("--class", "class_name", help="Explain the probability of this class; default: each photo's likeliest.")
@click.option("--layer", "stage", help="Explain a unit of this stage (name, or number from 1) instead; with --unit.")
@click.option("--unit", "channel", type=int, help="The channel of --layer, from 0.")
@click.option("--method", type=click.Choice(METHODS), default="occlusion", show_default=True)
@click.option("--radius", default=15, show_default=True, help="Of the circles, in pixels of the photo as the model sees it.")
@click.option("--stride", type=int, help="Pixels between the circles' centres; default: half the radius.")
@click.option("--class-map", "is_averaged", is_flag=True, help="One map, averaged over all photos given.")
@click.option("--out", "folder", type=FOLDER, default="explanations", show_default=True, help="Folder of the PNGs.")
@as_json
def explain(model: str, images: tuple[Path, ...], radius: int, stride: int | None, folder: Path, **asked: Any) -> None:
    """Draw what a model looks at in photos. MODEL: models:/NAME@champion, or a folder from `study pull`.

    A white circle hides one place after the other; where the answer changes, the map is bright: about 1,000 forwards a photo.
    """
    from study.analysis.explained_photos import ExplainedFile, Question, explain_photos
    from study.analysis.occlusion import Bubbles

    def announce(explained: ExplainedFile) -> None:
        if not is_json:
            click.echo(f"{explained.file}: {explained.title}. {explained.sentence}")

    is_json = asked.pop("is_json")
    question = Question(bubbles=Bubbles(radius, stride), **asked)
    found = explain_photos(_open(model), images, question, folder, announce)
    if is_json:
        click.echo(json.dumps([explained.as_dict() for explained in found], indent=2))


@click.command()
@click.argument("model")
@click.option("--class", "class_name", help="A class of the model.")
@click.option("--stage", help="A stage of its backbone, by name or number from 1; with --channel.")
@click.option("--channel", type=int, help="Of --stage, from 0.")
@click.option("--images", "num_images", default=3, show_default=True, type=click.IntRange(1, 16))
@click.option("--steps", default=128, show_default=True, type=click.IntRange(1), help="Of gradient ascent.")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", "folder", type=FOLDER, default="visualizations", show_default=True, help="Folder of the PNGs.")
@as_json
def visualize(
    model: str,
    class_name: str | None,
    stage: str | None,
    channel: int | None,
    folder: Path,
    is_json: bool,
    **amount: int,
) -> None:
    """Draw images that excite a class or a channel most. MODEL: models:/NAME@champion, or a folder from `study pull`.

    A model of numbers is shown what makes its number large. 10 to 30 s for three images of SqueezeNet on two cores.
    """
    from study.analysis.activation_maximization import maximize_activation
    from study.analysis.visualization_figures import save_visualization

    loaded = _open(model)
    unit = _unit_of(loaded, class_name, stage, channel)
    made = save_visualization(maximize_activation(loaded, unit, **amount), loaded, folder)
    if is_json:
        click.echo(json.dumps(made.as_dict(), indent=2))
    else:
        click.echo(f"{made.sheet}: {made.sentence}")


def _unit_of(model: "ExportedModel", class_name: str | None, stage: str | None, channel: int | None) -> "Unit":
    from study.analysis.activation import Unit, UnitKind, channel_unit, class_unit

    if (stage is None) != (channel is None) or (stage is not None and class_name is not None):
        raise DefinitionError("give --class NAME, or --stage STAGE and --channel NUMBER together; one of both, not more.")
    if stage is not None and channel is not None:
        return channel_unit(model, stage, channel)
    if class_name is not None:
        return class_unit(model, class_name, UnitKind.SCORE)
    if not model.classes:
        return Unit(UnitKind.NUMBER)
    stages = ", ".join(name for name, _ in model.module.stages.named_children())
    raise DefinitionError(
        f"one unit is visualised, but none was named. Give --class, one of: {', '.join(model.classes)}; "
        f"or --channel and --stage, one of: {stages}."
    )


def _open(model: str) -> "ExportedModel":
    from study.predict import open_exported
    from study.settings import settings_from

    return open_exported(model, settings_from().tracking_uri)
