"""A table of 300 instruments with every fault that a scraped one has, and what must become of each of its 600 photo cells.

The photos are blurred noise of 60 × 80 px: small, quick to make, no two alike: duplicates are those made on purpose.
"""

import csv
import io
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

IMAGES = ("image_top", "image_back")  # the views "top" and "back"
COLUMNS = ("id", *IMAGES, "type", "maker", "country_made", "city_made", "year", "price")
NUM_ROWS = 300
NUM_CELLS = NUM_ROWS * len(IMAGES)

# Rows of each kind; a kind spoils a row in one way only, so that the counts below can be added up by hand.
NUM_OF_KIND = {
    "back is empty": 20,
    "both are empty": 3,
    "top has no file": 8,
    "top climbs out": 4,
    "top is an absolute path": 1,
    "top is truncated": 5,
    "top is a bomb": 1,
    "top is a PNG called .jpg": 4,
    "top is a copy": 6,  # byte for byte another row's top, under a name of its own
    "repeats a row": 3,  # the same two paths and values as another row
    "contradicts a row": 2,  # another row's top with another type, place and price
    "has no type": 7,
    "has too many cells": 2,
    "price is words": 5,
    "price is 0": 2,
    "price is empty": 4,
    "place is unknown": 6,
    "place is empty": 5,
    "is rare": 2,  # a type that no other row has
}
RARE_TYPE = "viola d'amore"
# Photos that decoding must put into quarantine, by what is wrong with them; both are in the column image_top.
NUM_QUARANTINED = {"truncated": 5, "bomb": 1}
NUM_EXACT_DUPLICATES = 6  # pairs of photos

# Cells dropped before decoding, whatever the target.
DROPPED_ALWAYS = {
    "row malformed": 2 * 2,
    "photo missing": 20 + 2 * 3,
    "path outside the data folder": 4 + 1,
    "file missing": 8,
    "labels contradict": 2 * 2,  # both rows' tops
    "row repeated": 2 * 3,
}
DROPPED_BY_TARGET = {
    "type": {"target missing": 2 * 7},
    "country": {"target missing": 2 * 5, "place not resolved": 2 * 6},
    "price": {"target missing": 2 * 4, "value not a number": 2 * 5},
    "log price": {"target missing": 2 * 4, "value not a number": 2 * (5 + 2)},
}
# With views = "pair" and target = "type": partners of the empty backs, of the tops without a file or outside, and of both rows
# that contradict each other; the others that are dropped are dropped in pairs.
DROPPED_FOR_PAIRS = {"view missing": 20 + 8 + 4 + 1 + 2 * 2}

COUNTRY_OF = {
    "Italy": "Italy",
    "Italia": "Italy",
    "Cremona": "Italy",
    "Deutschland": "Germany",
    "Mittenwald": "Germany",
    "France": "France",
    "Mirecourt": "France",
}
UNKNOWN_PLACE = "Xyzzyq on the Qwrt"
# (country, city) as tables have them: a country, a city in its column or in the wrong one, in several languages.
_PLACES = [
    ("Italy", "Cremona"),
    ("Italia", ""),
    ("", "Cremona"),
    ("Deutschland", "Mittenwald"),
    ("Mittenwald", ""),
    (UNKNOWN_PLACE, "Mirecourt"),
    ("France", ""),
]
_PRICES = ["1200", "$1,250", "€ 900.50", "1 300"]

Row = dict[str, str]


def dropped_counts(target: str, *, in_pairs: bool = False) -> dict[str, int]:
    """Cells dropped before decoding by reason, for a target of `DROPPED_BY_TARGET`."""
    return DROPPED_ALWAYS | DROPPED_BY_TARGET[target] | (DROPPED_FOR_PAIRS if in_pairs else {})


@dataclass(frozen=True)
class MessyTable:
    """The table's file, and the kind of each of its rows."""

    path: Path
    kinds: tuple[str, ...]

    def rows_of(self, kind: str) -> list[int]:
        """The rows of a kind, counted from 0."""
        return [row for row, found in enumerate(self.kinds) if found == kind]


def write_messy_table(folder: Path, seed: int = 0, photos: Sequence[bytes] | None = None) -> MessyTable:
    """Writes the table, `folder`/collection/instruments.csv, its photos, and one beside the collection that it must not reach.

    Args:
        seed: decides the order of the rows' kinds.
        photos: 600 different photos to use, as files' bytes; default: noise.
    """
    photos = [photo_bytes(number) for number in range(NUM_CELLS)] if photos is None else photos
    collection = folder / "collection"
    (collection / "photos").mkdir(parents=True)
    (folder / "secret.jpg").write_bytes(photo_bytes(10**6))
    generator = np.random.default_rng(seed)
    clean = ["clean"] * (NUM_ROWS - sum(NUM_OF_KIND.values()))
    kinds = [*clean, *(kind for kind, number in NUM_OF_KIND.items() for _ in range(number))]
    kinds = [kinds[place] for place in generator.permutation(NUM_ROWS)]
    rows = [_clean_row(row, kind) for row, kind in enumerate(kinds)]
    for row in rows:
        for column in IMAGES:
            (collection / row[column]).write_bytes(photos[int(row["id"]) * 2 + IMAGES.index(column)])
    models = iter([row for row, kind in zip(rows, kinds, strict=True) if kind == "clean"])
    for row, kind in zip(rows, kinds, strict=True):
        if kind in ("top is a copy", "repeats a row", "contradicts a row"):
            _LIKE_ANOTHER[kind](row, next(models), collection)
        elif kind in _SPOILT:
            _SPOILT[kind](row, collection)
    path = collection / "instruments.csv"
    path.write_text(_as_csv(rows, kinds), encoding="utf-8-sig", newline="")
    return MessyTable(path, tuple(kinds))


def photo_bytes(seed: int) -> bytes:
    """A photo of 60 × 80 px as a file's bytes: noise of 8 × 8 cells, blurred."""
    cells = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(cells).resize((60, 80), Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


def bomb_bytes() -> bytes:
    """A PNG of a few bytes that says it has 40,000 × 40,000 pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def _clean_row(row: int, kind: str) -> Row:
    country, city = _PLACES[row % len(_PLACES)]
    return {
        "id": f"{row:03d}",
        "image_top": f"photos/{row:03d}_top.jpg",
        "image_back": f"photos/{row:03d}_back.jpg",
        "type": RARE_TYPE if kind == "is rare" else ("violin", "violin", "violin", "viola", "cello")[row % 5],
        "maker": 'Giuseppe Guarneri "del Gesù", workshop',
        "country_made": country,
        "city_made": city,
        "year": "" if row % 3 else str(1700 + row),
        "price": _PRICES[row % len(_PRICES)],
    }


def _as_png(row: Row, collection: Path) -> None:
    Image.open(collection / row["image_top"]).save(collection / row["image_top"], "PNG")


def _truncate(row: Row, collection: Path) -> None:
    file = collection / row["image_top"]
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


_SPOILT: Mapping[str, Callable[[Row, Path], None]] = {
    "back is empty": lambda row, _: row.update(image_back=""),
    "both are empty": lambda row, _: row.update(image_top="", image_back="  "),
    "top has no file": lambda row, collection: (collection / row["image_top"]).unlink(),
    "top climbs out": lambda row, _: row.update(image_top="photos/../../secret.jpg"),
    "top is an absolute path": lambda row, collection: row.update(image_top=str(collection.parent / "secret.jpg")),
    "top is truncated": _truncate,
    "top is a bomb": lambda row, collection: _write(collection / row["image_top"], bomb_bytes()),
    "top is a PNG called .jpg": _as_png,
    "has no type": lambda row, _: row.update(type=""),
    "price is words": lambda row, _: row.update(price="on request"),
    "price is 0": lambda row, _: row.update(price="0"),
    "price is empty": lambda row, _: row.update(price=""),
    "place is unknown": lambda row, _: row.update(country_made=UNKNOWN_PLACE, city_made=""),
    "place is empty": lambda row, _: row.update(country_made="", city_made=" "),
}


def _copy_top(row: Row, model: Row, collection: Path) -> None:
    _write(collection / row["image_top"], (collection / model["image_top"]).read_bytes())


def _repeat(row: Row, model: Row, collection: Path) -> None:
    row.update(model | {"id": row["id"], "maker": "written down twice"})


def _contradict(row: Row, model: Row, collection: Path) -> None:
    country = "France" if COUNTRY_OF.get(model["country_made"] or model["city_made"]) == "Italy" else "Italy"
    other_type = "cello" if model["type"] != "cello" else "violin"
    row.update(image_top=model["image_top"], type=other_type, country_made=country, city_made="", price="77")


_LIKE_ANOTHER: Mapping[str, Callable[[Row, Row, Path], None]] = {
    "top is a copy": _copy_top,
    "repeats a row": _repeat,
    "contradicts a row": _contradict,
}


def _write(file: Path, content: bytes) -> None:
    file.write_bytes(content)


def _as_csv(rows: list[Row], kinds: list[str]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row, kind in zip(rows, kinds, strict=True):
        writer.writerow([*row.values(), *(["left over"] if kind == "has too many cells" else [])])
    return text.getvalue()
