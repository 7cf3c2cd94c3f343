"""Commands that use a registered model: predict, pull."""

from pathlib import Path

import click

from study.commands.shared import as_json, print_result


@click.command()
@click.argument("model")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@as_json
def predict(model: str, images: tuple[Path, ...], is_json: bool) -> None:
    """Tell the class of photos. MODEL: models:/NAME@champion, or a folder from `study pull`."""
    from study.predict import Predictor
    from study.printing.listing import print_predictions
    from study.settings import settings_from

    predictor = Predictor.load(model, settings_from().tracking_uri)
    print_result([prediction.as_dict() for prediction in predictor.predict(images)], print_predictions, is_json)


@click.command()
@click.argument("model")
@click.argument("folder", type=click.Path(path_type=Path))
def pull(model: str, folder: Path) -> None:
    """Copy a registered model to FOLDER as plain files: weights.safetensors and contract.json."""
    from study.settings import settings_from
    from study.tracking.registry import download_model

    click.echo(download_model(settings_from().tracking_uri, model, folder))
