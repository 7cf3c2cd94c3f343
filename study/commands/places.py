"""The command that tells countries of places: locate."""

import sys
from typing import Any

import click

from study.commands.shared import as_json, print_result


@click.command()
@click.argument("texts", nargs=-1, required=True)
@click.option("--online", is_flag=True, help="Ask OpenStreetMap's Nominatim for what is left, one text a second.")
@as_json
def locate(texts: tuple[str, ...], online: bool, is_json: bool) -> None:
    """Tell the country in which places lie today. TEXT…: free texts, or - for a text a line from standard input."""
    from dataclasses import asdict

    from study.data.locations import locate as locate_places
    from study.settings import settings_from

    given = sys.stdin.read().splitlines() if texts == ("-",) else list(texts)
    locations = locate_places(given, "online" if online else "offline", settings_from().cache_folder)
    print_result([asdict(location) for location in locations], _print_locations, is_json)


def _print_locations(locations: list[dict[str, Any]]) -> None:
    """A line a text: tabs between, for `cut` and spreadsheets."""
    for location in locations:
        found = f"{location['iso_code']}\t{location['country']}" if location["iso_code"] else "?\t"
        click.echo(f"{location['text']}\t{found}\t{location['method']} {location['confidence']:.2f}\t{location['rule']}")
