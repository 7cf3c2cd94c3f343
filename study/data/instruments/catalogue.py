"""Drawn instruments as a collection that somebody kept: a table in the paper's columns, with gaps, and a folder of photos."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from types import MappingProxyType

import numpy as np

from study.data.instruments.anatomy import Country, InstrumentType
from study.data.instruments.collection import InstrumentPhoto, draw, plan_collection
from study.data.instruments.drawing import View
from study.errors import DataError

TABLE_FILE = "instruments.csv"
PHOTO_FOLDER = "photos"
COLUMNS = (
    *("country_made", "city_made", "maker_name", "year_made", "instrument_type", "year_sold", "sale_price_USD"),
    *("image_top", "image_back"),
)
COLUMN_OF: Mapping[View, str] = MappingProxyType({"front": "image_top", "back": "image_back"})
MOST_PHOTOS_OF_ONE = 4  # as `collection` plans them

# As catalogues write them: a country, a city, both, in several languages.
PLACES: Mapping[Country, Sequence[tuple[str, str]]] = MappingProxyType(
    {
        "Italy": (("Italy", "Cremona"), ("Italia", ""), ("", "Cremona"), ("Italy", "Milano")),
        "France": (("France", "Mirecourt"), ("", "Mirecourt"), ("France", "Paris"), ("Frankreich", "")),
        "Germany": (("Germany", "Mittenwald"), ("Deutschland", ""), ("", "Markneukirchen"), ("Germany", "")),
        "England": (("England", "London"), ("England", ""), ("Great Britain", ""), ("England", "Manchester")),
    }
)
# Of the price of a plain German violin: made up, so that `price.toml` has something to find.
COUNTRY_FACTOR: Mapping[Country, float] = MappingProxyType({"Italy": 3.0, "France": 1.8, "Germany": 1.0, "England": 1.4})
TYPE_FACTOR: Mapping[InstrumentType, float] = MappingProxyType({"violin": 1.0, "viola": 0.9, "cello": 2.0})
PLAIN_PRICE_USD = 6000.0
PRICE_SPREAD = 0.5  # standard deviation of the logarithm
MISSING = MappingProxyType(
    {"place": 0.06, "maker_name": 0.2, "year_made": 0.15, "instrument_type": 0.02, "sale_price_USD": 0.1}
)
NUM_MAKERS = 40  # of a country
_DRAWS = 4  # numpy's `spawn_key`, apart from the streams of `collection`

Row = Mapping[str, str]


def draw_catalogue(folder: Path, num_instruments: int, seed: int, size_px: int) -> Path:
    """Draws a collection into `folder`: its table, and front and back of each instrument as JPEG; the table's path.

    A row is an instrument, with one photo of each side that was photographed. The same arguments give the same table.

    Args:
        size_px: longest side of a photo.
    Raises:
        DataError: if there is such a table already.
    """
    table = folder / TABLE_FILE
    if table.exists():
        raise DataError(f"a drawn collection must not take the place of another, but there is {table}. Name another folder.")
    rows = []
    for number, photos in enumerate(instruments(num_instruments, seed)):
        paths = {COLUMN_OF[photo.view]: f"{PHOTO_FOLDER}/{photo.instrument_id}-{photo.view}.jpg" for photo in photos}
        for photo, path in zip(photos, paths.values(), strict=True):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            draw(photo, size_px).save(folder / path, quality=90)
        rows.append(row_of(photos[0], paths, np.random.default_rng([seed, _DRAWS, number])))
    write_table(table, rows)  # last: a table says that its photos are there
    return table


def draw_photos_of(table: Path, seed: int, size_px: int) -> int:
    """Draws the photos that a table of `draw_catalogue` names, where only the table is at hand; how many.

    Raises:
        DataError: if the table is not what `seed` gives.
    """
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    drawn = 0
    for row, photos in zip(rows, instruments(len(rows), seed), strict=True):
        for photo in photos:
            path = row.get(COLUMN_OF[photo.view]) or ""
            if path != f"{PHOTO_FOLDER}/{photo.instrument_id}-{photo.view}.jpg":
                raise DataError(
                    f"photos can be drawn for a table of drawn instruments only, but {table} has {path!r}, and seed {seed} "
                    f"has {photo.photo_id}. Name a folder without a table, or the seed that it was drawn with."
                )
            (table.parent / path).parent.mkdir(parents=True, exist_ok=True)
            draw(photo, size_px).save(table.parent / path, quality=90)
            drawn += 1
    return drawn


def instruments(num_instruments: int, seed: int) -> Iterator[list[InstrumentPhoto]]:
    """The first photo of each side of each instrument."""
    plan = plan_collection(num_instruments * MOST_PHOTOS_OF_ONE, seed)
    for number, (_, photos) in enumerate(groupby(plan, key=lambda photo: photo.instrument_id)):
        if number == num_instruments:
            return
        yield list({photo.view: photo for photo in reversed(list(photos))}.values())[::-1]


def row_of(photo: InstrumentPhoto, paths: Mapping[str, str], rng: np.random.Generator) -> Row:
    """What the catalogue says of an instrument; some of it is missing."""
    places = PLACES[photo.country]
    country, city = places[int(rng.integers(len(places)))]
    year_made = int(rng.integers(1720, 1950))
    price = PLAIN_PRICE_USD * COUNTRY_FACTOR[photo.country] * TYPE_FACTOR[photo.type] * np.exp(rng.normal(0, PRICE_SPREAD))
    said = {
        "country_made": country,
        "city_made": city,
        "maker_name": f"{photo.country} maker {rng.integers(1, NUM_MAKERS + 1):02d}",
        "year_made": str(year_made),
        "instrument_type": str(photo.type),
        "year_sold": str(int(rng.integers(1985, 2022))),
        "sale_price_USD": f"{round(float(price), -2):.0f}",
    }
    missing = {name for name, share in MISSING.items() if rng.random() < share}
    missing |= {"country_made", "city_made"} if "place" in missing else set()
    return {name: "" if name in missing else {**said, **paths}.get(name, "") for name in COLUMNS}


def write_table(table: Path, rows: Sequence[Row]) -> None:
    """As CSV, with the columns in the paper's order."""
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
