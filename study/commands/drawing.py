"""The command that draws a collection to try things on: draw."""

from pathlib import Path

import click

from study.commands.shared import as_json, print_result


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--instruments", default=120, show_default=True, type=click.IntRange(min=1), help="About 1.8 photos each.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Which collection.")
@click.option("--size", default=256, show_default=True, type=click.IntRange(16, 4096), help="Longest side of a photo, pixels.")
@as_json
def draw(folder: Path, instruments: int, seed: int, size: int, is_json: bool) -> None:
    """Draw stringed instruments as a collection: FOLDER/instruments.csv and its photos.

    Where the table is there and its photos are not, as in search_spaces/paper/example, the photos alone are drawn. They say
    nothing about real instruments.
    """
    from study.data.instruments.catalogue import TABLE_FILE, draw_catalogue, draw_photos_of

    table = folder / TABLE_FILE
    if table.exists():
        draw_photos_of(table, seed, size)
    else:
        draw_catalogue(folder, instruments, seed, size)
    print_result({"table": str(table)}, lambda result: click.echo(f"table: {result['table']}"), is_json)
