"""Commands that use a registered model: predict, pull."""

import sys
from pathlib import Path
from typing import Any

import click

from study.commands.shared import FAILED, as_json, print_result
from study.errors import DefinitionError


@click.command()
@click.argument("model")
@click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--csv", "csv_file", type=click.Path(path_type=Path), help="Write a row a photo to this file; - is standard output."
)
@click.option("--abstain-below", default=0.0, metavar="P", help="Name no class that is less likely than this.")
@as_json
def predict(model: str, photos: tuple[Path, ...], csv_file: Path | None, abstain_below: float, is_json: bool) -> None:
    """Tell the class of photos, or of all below a folder. MODEL: models:/NAME@champion, or a folder from `study pull`.

    A photo that cannot be read is listed with the reason, and the command ends with exit code 1. What was left out of a folder
    (HEIC, cameras' raw data, endings that nobody knows) is told on standard error.
    """
    from study.predict import Predictor, find_photos
    from study.printing.predictions import follow, print_predictions, write_csv
    from study.settings import settings_from

    predictor = Predictor.load(model, settings_from().tracking_uri)
    if predictor.example_views and any(path.is_dir() for path in photos):
        raise DefinitionError(
            f"a model of several views takes photos in the order of its views ({', '.join(predictor.example_views)}), but a "
            f"folder has no such order. Name the photos one by one."
        )
    found = find_photos(photos)
    for warning in found.warnings:
        click.echo(warning, err=True)
    files = found.photos
    num_examples = len(files) // max(1, len(predictor.example_views))
    predictions = follow(predictor.predict_files(files, abstain_below), num_examples)
    if csv_file is None:
        results: list[Any] = [prediction.as_dict() for prediction in predictions]
        print_result(results, print_predictions, is_json)
        num_unread = sum("error" in result for result in results)
    else:
        num_unread = write_csv(predictions, predictor.classes, csv_file)
    if num_unread:
        click.echo(f"{num_unread} of {num_examples} could not be read", err=True)
        sys.exit(FAILED)


@click.command()
@click.argument("model")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--onnx", "is_onnx", is_flag=True, help="Write model.onnx beside them (extra: onnx).")
@as_json
def pull(model: str, folder: Path, is_onnx: bool, is_json: bool) -> None:
    """Copy a registered model to FOLDER as plain files: weights.safetensors and contract.json."""
    from study.settings import settings_from
    from study.tracking.registry import download_model

    if is_onnx:
        from study.models.onnx_export import require_exporter

        require_exporter()  # before the folder is filled: the same command must work once it is installed
    written = {"folder": str(download_model(settings_from().tracking_uri, model, folder))}
    if is_onnx:
        from study.models.exported import load_exported
        from study.models.onnx_export import ONNX_FILE, export_onnx

        written["onnx"] = str(export_onnx(load_exported(folder), folder / ONNX_FILE))
    print_result(written, _print_written, is_json)


def _print_written(written: dict[str, str]) -> None:
    for path in written.values():
        click.echo(path)
