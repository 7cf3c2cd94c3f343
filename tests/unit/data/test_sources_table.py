"""Tables of photos: every cell is a photo or is dropped with a reason, and groups, views and targets are what the rows say."""

import csv
import math
import os
import pickle
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.data.images import UnreadablePhotoError, decode
from study.data.packed import pack_images
from study.data.records import Reason
from study.data.sources import open_source
from study.data.tables.cells import PhotoCell, joined_groups
from study.data.tables.embedded_photos import EmbeddedPhotos
from study.data.tables.source import TableSource
from study.data.views import drop_incomplete_rows, view_names
from study.data_definition import DataDefinition, Geocode
from study.definition import StudyDefinition
from study.errors import DataError
from tests.messy_table import COUNTRY_OF, IMAGES, NUM_CELLS, dropped_counts, photo_bytes, write_messy_table

PLACES = {"columns": ["country_made", "city_made"]}


@dataclass(frozen=True)
class KnownPlace:
    country: str


def locate_known(texts: Sequence[str], geocode: Geocode, cache_folder: Path) -> list[KnownPlace]:
    return [KnownPlace(COUNTRY_OF.get(text, "")) for text in texts]


@pytest.fixture
def source_of(tmp_path: Path) -> Callable[..., TableSource]:
    """The source of a table written from its lines; the photos named "*.jpg" in its first columns exist if asked for."""

    def make(text: str | bytes, photos: Sequence[str] = (), name: str = "table.csv", **keys: Any) -> TableSource:
        for place, photo in enumerate(photos):
            (tmp_path / photo).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / photo).write_bytes(photo_bytes(place))
        (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
        return opened(tmp_path / name, **keys)

    return make


def opened(table: Path, **keys: Any) -> TableSource:
    definition = DataDefinition(**({"table": table.name, "images": "image", "target": "type"} | keys))
    return TableSource(table, definition, table.parent / "cache", locate_known)


def reasons(source: TableSource) -> dict[str, int]:
    return dict(Counter(dropped.reason.value for dropped in source.records.dropped))


TARGETS: Mapping[str, dict[str, Any]] = {
    "type": {"target": "type"},
    "country": {"target": "country", "places": PLACES},
    "price": {"target": "price", "task": "number"},
    "log price": {"target": "price", "task": "number", "log_target": True},
}


@pytest.mark.parametrize("target", TARGETS)
def test_every_cell_of_a_messy_table_is_a_photo_or_dropped_with_its_reason(tmp_path: Path, target: str) -> None:
    source = opened(write_messy_table(tmp_path).path, images=list(IMAGES), **TARGETS[target])
    expected = dropped_counts(target)
    assert reasons(source) == expected
    assert len(source.records.photos) == NUM_CELLS - sum(expected.values())


@pytest.mark.shared_data
def test_a_messy_table_of_real_photos_is_accounted_for_alike(shared_data: Path, tmp_path: Path) -> None:
    real = sorted((shared_data / "clothing10").rglob("*.jpg"))[:NUM_CELLS]
    source = opened(write_messy_table(tmp_path, photos=[file.read_bytes() for file in real]).path, images=list(IMAGES))
    assert reasons(source) == dropped_counts("type")
    assert len(source.records.photos) == NUM_CELLS - sum(dropped_counts("type").values())


def test_a_messy_table_keeps_whole_pairs_only(tmp_path: Path) -> None:
    source = opened(write_messy_table(tmp_path).path, images=list(IMAGES), target="type", views="pair")
    expected = dropped_counts("type", in_pairs=True)
    assert reasons(source) == expected
    assert len(source.records.photos) == NUM_CELLS - sum(expected.values())
    assert source.records.views == ("top", "back") * (len(source.records.photos) // 2)
    assert set(Counter(source.records.rows).values()) == {2}


def test_the_same_table_twice_gives_the_same_records_and_fingerprint(tmp_path: Path) -> None:
    table = write_messy_table(tmp_path).path
    one, other = (opened(table, images=list(IMAGES)) for _ in range(2))
    assert [getattr(one.records, name) for name in vars(one.records)] == [
        getattr(other.records, name) for name in vars(other.records)
    ]
    assert one.fingerprint() == other.fingerprint()
    assert one.digest_of(one.records.photos[0]) == other.digest_of(other.records.photos[0])


@pytest.mark.parametrize("file", ["instruments.csv", "photos/{photo}"])
def test_one_byte_changed_gives_another_fingerprint_though_size_and_time_are_kept(tmp_path: Path, file: str) -> None:
    table = write_messy_table(tmp_path).path
    source = opened(table, images=list(IMAGES))
    before = source.fingerprint()
    changed = table.parent / file.format(photo=Path(source.records.photos[0]).name)
    content, status = bytearray(changed.read_bytes()), changed.stat()
    content[-10] ^= 1
    changed.write_bytes(content)
    os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert opened(table, images=list(IMAGES)).fingerprint() != before


def test_the_secret_beside_the_collection_is_not_in_reach(tmp_path: Path) -> None:
    messy = write_messy_table(tmp_path)
    source = opened(messy.path, images=list(IMAGES))
    outside = [dropped.name for dropped in source.records.dropped if dropped.reason is Reason.OUTSIDE]
    assert sorted(set(outside)) == [str(tmp_path / "secret.jpg"), "photos/../../secret.jpg"]
    assert all((messy.path.parent / photo).resolve().is_relative_to(messy.path.parent) for photo in source.records.photos)


def test_what_else_the_table_knows_is_kept_by_row(tmp_path: Path) -> None:
    source = opened(write_messy_table(tmp_path).path, images=list(IMAGES))
    known = source.metadata(source.records.rows[-1])
    assert known["id"] == f"{source.records.rows[-1]:03d}"
    assert known["maker"] == 'Giuseppe Guarneri "del Gesù", workshop'
    assert set(known) == {"id", "type", "maker", "country_made", "city_made", "year", "price"}


TWO_ROWS = "image,type\na.jpg,violin\nb.jpg,cello\n"
AB = ("a.jpg", "b.jpg")


def test_a_photo_is_read_as_its_file_and_named_by_its_path(source_of: Callable[..., TableSource], tmp_path: Path) -> None:
    source = source_of("image,type\n./deep/a.jpg,violin\ndeep\\b.jpg,cello\n", ("deep/a.jpg", "deep/b.jpg"))
    assert source.records.photos == ("deep/a.jpg", "deep/b.jpg")
    assert source.records.labels == ("violin", "cello")
    assert source.records.classes == ("cello", "violin")
    assert source.records.origin == str(tmp_path / "table.csv")
    assert source.read("deep/a.jpg") == photo_bytes(0)
    assert not source.records.has_own_split


def test_the_row_is_the_group_unless_a_column_says_more(source_of: Callable[..., TableSource]) -> None:
    text = "front,back,type,owner\na.jpg,b.jpg,violin,Ann\nc.jpg,d.jpg,cello,Ann\ne.jpg,f.jpg,cello,\n"
    photos, images = [f"{name}.jpg" for name in "abcdef"], ["front", "back"]
    by_row = source_of(text, photos, images=images).records
    assert by_row.groups == ("row 0", "row 0", "row 1", "row 1", "row 2", "row 2")
    assert by_row.rows == (0, 0, 1, 1, 2, 2)
    assert by_row.views == ("front", "back") * 3
    by_owner = source_of(text, photos, images=images, group="owner").records
    assert by_owner.groups == ("Ann", "Ann", "Ann", "Ann", "row 2", "row 2")


def test_rows_that_share_a_photo_share_a_group(source_of: Callable[..., TableSource]) -> None:
    text = "front,back,type\na.jpg,b.jpg,cello\nc.jpg,d.jpg,cello\nc.jpg,b.jpg,cello\na.jpg,e.jpg,cello\nf.jpg,g.jpg,viola\n"
    records = source_of(text, [f"{name}.jpg" for name in "abcdefg"], images=["front", "back"]).records
    groups = dict(zip(records.photos, records.groups, strict=True))
    assert len({groups[f"{name}.jpg"] for name in "abcde"}) == 1  # the first two rows by way of the third
    assert groups["f.jpg"] == groups["g.jpg"] != groups["a.jpg"]


def test_a_stand_in_for_missing_photos_is_dropped_and_joins_nothing(source_of: Callable[..., TableSource]) -> None:
    rows = "".join(f"none.jpg,{number}.jpg,{'viola' if number % 2 else 'cello'}\n" for number in range(500))
    photos = ["none.jpg", *(f"{number}.jpg" for number in range(500))]
    records = source_of("front,back,type\n" + rows, photos, images=["front", "back"]).records
    assert len(set(records.groups)) == len(records.photos) == len(records.dropped) == 500
    assert records.dropped[7] == (
        "none.jpg",
        Reason.LABELS_CONTRADICT,
        "row 7, front: in 500 cells, such as 'cello' in row 0, front, 'viola' in row 1, front",
    )


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 12), max_size=3), max_size=30))
def test_groups_are_joined_as_a_graph_says(photos_of_rows: list[list[int]]) -> None:
    cells = [PhotoCell(row, "image", "", str(photo)) for row, photos in enumerate(photos_of_rows) for photo in photos]
    groups = joined_groups(cells, [f"row {row}" for row in range(len(photos_of_rows))])
    reached = [{row} for row in range(len(photos_of_rows))]
    for _ in photos_of_rows:  # by brute force: neighbours of neighbours, until nothing is new
        for one in range(len(reached)):
            for other in list(reached[one]):
                reached[one] |= {row for row, photos in enumerate(photos_of_rows) if set(photos) & set(photos_of_rows[other])}
    for one, group in enumerate(groups):
        assert {row for row, found in enumerate(groups) if found == group} == reached[one]


def test_a_repeated_photo_is_kept_once_and_a_contradicted_one_not_at_all(source_of: Callable[..., TableSource]) -> None:
    text = "image,type\na.jpg,violin\nb.jpg,cello\n./a.jpg,violin\nb.jpg,viola\nc.jpg,cello\n"
    records = source_of(text, ("a.jpg", "b.jpg", "c.jpg")).records
    assert records.photos == ("a.jpg", "c.jpg")
    found = "in 2 cells, such as 'cello' in row 1, image, 'viola' in row 3, image"
    assert records.dropped == (
        ("b.jpg", Reason.LABELS_CONTRADICT, f"row 1, image: {found}"),
        ("a.jpg", Reason.ROW_REPEATED, "row 2, image: as row 0, image"),
        ("b.jpg", Reason.LABELS_CONTRADICT, f"row 3, image: {found}"),
    )


def test_an_absolute_path_and_a_link_below_the_folder_are_followed(
    source_of: Callable[..., TableSource], tmp_path: Path
) -> None:
    (tmp_path / "link.jpg").symlink_to(tmp_path / "a.jpg")
    records = source_of(f"image,type\n{tmp_path}/b.jpg,violin\nlink.jpg,cello\n", AB).records
    assert records.photos == ("b.jpg", "link.jpg")


def test_a_folder_whose_name_begins_as_the_data_folder_is_outside(
    tmp_path: Path, source_of: Callable[..., TableSource]
) -> None:
    neighbour = tmp_path.with_name(tmp_path.name + "-more")
    neighbour.mkdir()
    (neighbour / "x.jpg").write_bytes(photo_bytes(9))
    text = TWO_ROWS + f"../{neighbour.name}/x.jpg,cello\n{neighbour}/x.jpg,cello\n..,cello\n.,cello\n"
    assert reasons(source_of(text, AB)) == {"path outside the data folder": 4}


@pytest.mark.parametrize(
    ("columns", "views"),
    [
        (("image_front", "image_back"), ("front", "back")),
        (("image_top", "image_back"), ("top", "back")),
        (("image_back", "image_bottom"), ("back", "bottom")),
        (("front photo", "back photo"), ("front", "back")),
        (("photo.front.url", "photo.back.url"), ("front", "back")),
        (("front", "back"), ("front", "back")),
        (("image", "image_back"), ("image", "image_back")),
        (("image_1_a", "image_1_b_c"), ("a", "b_c")),
        (("image",), ("",)),
    ],
)
def test_views_are_called_by_what_differs_in_their_columns(columns: tuple[str, ...], views: tuple[str, ...]) -> None:
    assert view_names(columns) == views


def test_the_view_can_be_the_target(source_of: Callable[..., TableSource]) -> None:
    text = "image_top,image_back,type\na.jpg,b.jpg,violin\n,c.jpg,\nd.jpg,d.jpg,cello\n"
    source = source_of(text, [f"{name}.jpg" for name in "abcd"], images=["image_top", "image_back"], target="view")
    assert source.records.labels == ("top", "back", "back")
    assert reasons(source) == {"photo missing": 1, "labels contradict": 2}


def test_view_is_a_column_like_any_other_beside_one_column_of_photos(source_of: Callable[..., TableSource]) -> None:
    records = source_of("image,view\na.jpg,front\nb.jpg,back\n", AB, target="view").records
    assert records.labels == ("front", "back")


def test_a_lost_photo_takes_its_partner_along(source_of: Callable[..., TableSource]) -> None:
    text = "front,back,type\na.jpg,b.jpg,violin\nc.jpg,d.jpg,cello\n"
    records = source_of(text, [f"{name}.jpg" for name in "abcd"], images=["front", "back"], views="pair").records
    left = drop_incomplete_rows(records.keep([0, 1, 3]), ("front", "back"))
    assert left.photos == ("a.jpg", "b.jpg")
    assert left.dropped == (("d.jpg", Reason.VIEW_MISSING, "row 1 has no usable photo of front"),)


def test_a_number_is_kept_or_its_natural_logarithm(source_of: Callable[..., TableSource]) -> None:
    text = 'image,price\na.jpg,"$1,200"\nb.jpg,0\nc.jpg,about 300\nd.jpg,\n'
    photos = [f"{name}.jpg" for name in "abcd"]
    plain = source_of(text, photos, target="price", task="number")
    assert (plain.records.values, plain.records.labels, plain.records.classes) == ((1200.0, 0.0), ("", ""), ())
    assert reasons(plain) == {"value not a number": 1, "target missing": 1}
    logarithm = source_of(text, photos, target="price", task="number", log_target=True)
    assert logarithm.records.values == (math.log(1200),)
    details = [dropped.detail for dropped in logarithm.records.dropped]
    assert details[:2] == [
        "row 1, image: price is '0', which has no logarithm",
        "row 2, image: price is 'about 300'",
    ]


def test_the_country_is_that_of_the_first_place_that_says_one(source_of: Callable[..., TableSource]) -> None:
    asked: list[list[str]] = []

    def locate(texts: Sequence[str], geocode: Geocode, cache_folder: Path) -> list[KnownPlace]:
        asked.append(list(texts))
        return locate_known(texts, geocode, cache_folder)

    source = source_of(
        "image,country_made,city_made\na.jpg,Italia,Mirecourt\nb.jpg,nowhere,Mittenwald\nc.jpg,,Cremona\nd.jpg,x,y\ne.jpg,,\n",
        [f"{name}.jpg" for name in "abcde"],
        target="country",
        places=PLACES,
    )
    assert source.records.labels == ("Italy", "Germany", "Italy")
    assert [(dropped.reason, dropped.detail) for dropped in source.records.dropped] == [
        (Reason.PLACE_NOT_RESOLVED, "row 3, image: x; y"),
        (Reason.TARGET_MISSING, "row 4, image: country_made, city_made is empty"),
    ]
    assert [(place.row, place.text, place.found.country) for place in source.places] == [
        (0, "Italia", "Italy"),
        (1, "nowhere", ""),
        (1, "Mittenwald", "Germany"),
        (2, "Cremona", "Italy"),
        (3, "x", ""),
        (3, "y", ""),
    ]
    definition = DataDefinition(table="table.csv", images="image", target="country", places=PLACES)  # type: ignore[arg-type]
    TableSource(source.path, definition, source.path.parent, locate)
    assert asked == [["Italia", "nowhere", "Cremona", "x"], ["Mittenwald", "y"]]  # what is known is not asked again


ENCODED = "image;type;maker\na.jpg;violin;Guarnéri\nb.jpg;cello;Amati\n"


@pytest.mark.parametrize(
    ("name", "content", "maker", "note"),
    [
        ("t.csv", ENCODED.encode(), "Guarnéri", ""),
        ("t.csv", ENCODED.encode("utf-8-sig"), "Guarnéri", ""),
        ("t.csv", ENCODED.encode("utf-16"), "Guarnéri", ""),
        ("t.csv", ENCODED.encode("latin-1"), "Guarnéri", " (not UTF-8, read as Latin-1)"),
        ("t.csv", ENCODED.replace(";", ",").encode(), "Guarnéri", ""),
        ("t.csv", ENCODED.replace(";", "\t").encode(), "Guarnéri", ""),
        ("t.tsv", ENCODED.replace(";", "\t").encode(), "Guarnéri", ""),
        ("T.CSV", ENCODED.replace("\n", "\r\n").encode(), "Guarnéri", ""),
        ("t.csv", ENCODED.replace("a.jpg", ' "a.jpg"'.strip()).replace("\na", "\n\n;;\na").encode(), "Guarnéri", ""),
        ("t.csv", ENCODED.replace("Guarnéri", '"Guar;né\nri, ""del Gesù"""').encode(), 'Guar;né\nri, "del Gesù"', ""),
        ("t.csv", ENCODED.replace("b.jpg;cello;Amati", "b.jpg;cello").encode(), "Guarnéri", ""),
    ],
)
def test_delimiter_and_encoding_are_found(
    source_of: Callable[..., TableSource], tmp_path: Path, name: str, content: bytes, maker: str, note: str
) -> None:
    source = source_of(content, AB, name=name)
    assert source.records.photos == AB
    assert source.records.rows == (0, 1)
    assert source.metadata(0) == {"type": "violin", "maker": maker}
    assert source.records.origin == f"{tmp_path / name}{note}"


@pytest.mark.parametrize("missing", ["", "  ", "nan", "NaN", "null", "N/A"])
def test_a_missing_cell_is_missing_however_it_is_written(source_of: Callable[..., TableSource], missing: str) -> None:
    source = source_of(f"{TWO_ROWS}{missing},cello\na.jpg,{missing}\n", AB)
    assert reasons(source) == {"photo missing": 1, "target missing": 1}


def test_none_may_be_a_class(source_of: Callable[..., TableSource]) -> None:
    assert source_of("image,type\na.jpg,None\nb.jpg,NA\n", AB).records.classes == ("NA", "None")


def test_one_word_in_two_ways_of_writing_accents_is_one_class(source_of: Callable[..., TableSource]) -> None:
    text = "image,type\na.jpg,Gesù\nb.jpg,Gesu\u0300\nc.jpg,cello\n"
    assert source_of(text, ("a.jpg", "b.jpg", "c.jpg")).records.classes == ("Gesù", "cello")


def quarantined(source: TableSource, folder: Path) -> list[str]:
    """The photos that packing leaves out; packed a second time, as photos are that were touched, the array is the same."""
    packed = pack_images(source, 16, folder / "packed")
    assert pack_images(source, 16, folder / "packed", full_check=True).digest == packed.digest
    return [one.photo for one in packed.quarantine]


def parquet_of(folder: Path, columns: Mapping[str, Any], row_group_size: int = 2) -> Path:
    pa.parquet.write_table(pa.table(columns), folder / "table.parquet", row_group_size=row_group_size)
    return folder / "table.parquet"


def test_parquet_says_the_same_as_csv(source_of: Callable[..., TableSource], tmp_path: Path) -> None:
    text = "image,type,year,price\na.jpg,violin,1700,10.5\nb.jpg,cello,,20\n,cello,1800,\n"
    by_csv = source_of(text, AB)
    columns = {
        "image": ["a.jpg", "b.jpg", None],
        "type": pa.array(["violin", "cello", "cello"]).dictionary_encode(),
        "year": [1700.0, None, 1800.0],  # as pandas writes whole numbers with gaps
        "price": [10.5, 20.0, float("nan")],
    }
    by_parquet = opened(parquet_of(tmp_path, columns))
    for name in ("photos", "labels", "groups", "rows", "dropped"):
        assert getattr(by_parquet.records, name) == getattr(by_csv.records, name)
    assert [by_parquet.metadata(row) for row in range(3)] == [by_csv.metadata(row) for row in range(3)]


PIXELS = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)


@pytest.mark.parametrize(
    "cells",
    [
        pa.array([photo_bytes(0), None, photo_bytes(1), photo_bytes(2)]),
        pa.array([photo_bytes(0), None, photo_bytes(1), photo_bytes(2)], pa.large_binary()),
        pa.array([{"bytes": photo_bytes(place), "path": None} if place != 1 else None for place in range(4)]),
        pa.array([(PIXELS + place).tolist() if place != 1 else None for place in range(4)]),
        pa.array([PIXELS[:, :, 0].tolist() if place != 1 else None for place in range(4)], pa.list_(pa.list_(pa.uint8()))),
    ],
    ids=["bytes", "large bytes", "Hugging Face", "lists of numbers", "greyscale"],
)
def test_photos_in_the_cells_of_a_parquet_table_are_read(tmp_path: Path, cells: pa.Array) -> None:
    source = opened(parquet_of(tmp_path, {"image": cells, "type": ["violin", "cello", "cello", "viola"]}))
    assert source.records.photos == ("row 0, image", "row 2, image", "row 3, image")
    assert source.records.dropped == (("row 1, image", Reason.PHOTO_MISSING, "empty"),)
    sizes = {decode(source.read(photo)).size for photo in source.records.photos}
    assert sizes in ({(60, 80)}, {(4, 5)})
    assert len({source.digest_of(photo) for photo in source.records.photos}) in (3, 1)  # the greyscale ones are all the same
    assert source.metadata(2) == {"type": "cello"}
    unpickled = pickle.loads(pickle.dumps(source))
    assert unpickled.digest_of("row 3, image") == source.digest_of("row 3, image")
    assert unpickled.fingerprint() == source.fingerprint()


def csv_of(folder: Path, rows: Sequence[Sequence[str]]) -> Path:
    path = folder / "table.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def test_pixels_in_a_cell_come_out_as_they_went_in(tmp_path: Path) -> None:
    source = opened(parquet_of(tmp_path, {"image": [PIXELS.tolist(), PIXELS[::-1].tolist()], "type": ["violin", "cello"]}))
    assert np.array_equal(np.asarray(source.read("row 1, image")), PIXELS[::-1])


@pytest.mark.parametrize("form", [lambda pixels: str(pixels.tolist()), str], ids=["list", "as numpy prints"])
def test_arrays_in_the_cells_of_a_csv_table_come_out_as_they_went_in(tmp_path: Path, form: Callable[[Any], str]) -> None:
    small = PIXELS[:, :, :] % 7
    rows = [("image", "type"), (form(small), "violin"), ("", "cello"), (form(small[::-1]), "cello")]
    source = opened(csv_of(tmp_path, rows))
    assert source.records.photos == ("row 0, image", "row 2, image")
    assert source.records.dropped == (("row 1, image", Reason.PHOTO_MISSING, "empty"),)
    assert np.array_equal(np.asarray(source.read("row 2, image")), small[::-1])
    assert source.metadata(2) == {"type": "cello"}
    unpickled = pickle.loads(pickle.dumps(source))
    assert unpickled.digest_of("row 2, image") == source.digest_of("row 2, image") != source.digest_of("row 0, image")


def test_an_array_in_a_csv_cell_may_be_as_large_as_a_photo(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    source = opened(csv_of(tmp_path, [("image", "type"), (str(pixels.tolist()), "violin"), (str([[[1, 2, 3]]]), "cello")]))
    assert np.array_equal(np.asarray(source.read("row 0, image")), pixels)


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ("[[[255 255 255]\n  ...\n  [1 2 3]]]", r"shortened to '\.\.\.' when it was written: .*`array.tolist\(\)`"),
        ("[[300, 1]]", "numbers from 1 to 300"),
        ("[[1], [2, 3]]", "lists of unequal lengths"),
        ("[front.jpg]", r"'\[front.jpg\]', which is no array"),
        ("[" * 5000 + "]" * 5000, "lists in lists, too deep to be a photo"),
    ],
)
def test_a_csv_cell_that_holds_no_whole_array_is_one_unreadable_photo(tmp_path: Path, cell: str, told: str) -> None:
    source = opened(csv_of(tmp_path, [("image", "type"), (cell, "violin"), ("[[1]]", "cello")]))
    with pytest.raises(UnreadablePhotoError, match=rf"row 0, image of .*table\.csv is not: .*{told}"):
        source.read("row 0, image")
    assert quarantined(source, tmp_path) == ["row 0, image"]


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ([[300, 1], [2, 3]], "numbers from 1 to 300"),
        ([[0.5, 1.0], [0.0, 0.1]], "list of float64"),
        ([[1], [2, 3]], "lists of unequal lengths"),
        ([], "list of float64"),
    ],
)
def test_a_cell_without_a_photo_is_one_unreadable_photo(tmp_path: Path, cell: Any, found: str) -> None:
    kind = pa.list_(pa.list_(pa.float64() if "float" in found and cell else pa.int64()))
    source = opened(parquet_of(tmp_path, {"image": pa.array([cell, [[1]]], kind), "type": ["violin", "cello"]}))
    with pytest.raises(UnreadablePhotoError, match=rf"row 0, image of .*table\.parquet is not: .*{found}"):
        source.read("row 0, image")


def test_an_array_in_a_column_of_paths_is_told_by_its_place_and_beginning(source_of: Callable[..., TableSource]) -> None:
    """Half a megabyte of numbers is neither a name nor a detail."""
    array = str([[1, 2, 3]] * 5000)
    text = f'image,type\na.jpg,violin\n"{array}",cello\nb.jpg,cello'
    source = source_of(text, photos=["a.jpg", "b.jpg"])
    detail = "no path: 55,000 characters, '[[1, 2, 3], [1, 2, 3…'"
    assert source.records.dropped == (("row 1, image", Reason.FILE_MISSING, detail),)


def test_a_struct_without_bytes_is_one_unreadable_photo(tmp_path: Path) -> None:
    cells = [{"bytes": None, "path": "a.jpg"}, *({"bytes": photo_bytes(place), "path": None} for place in range(3))]
    source = opened(parquet_of(tmp_path, {"image": cells, "type": ["violin", "cello"] * 2}))
    with pytest.raises(UnreadablePhotoError, match=r"its cell holds no photo \(no bytes, only the path 'a\.jpg'\)"):
        source.read("row 0, image")
    assert quarantined(source, tmp_path) == ["row 0, image"]


def test_threads_that_read_in_order_read_each_group_about_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    num_groups, group_rows = 20, 25
    cells = [photo_bytes(place % 3) for place in range(num_groups * group_rows)]
    photos = EmbeddedPhotos(parquet_of(tmp_path, {"image": cells}, row_group_size=group_rows))
    group_of, groups = photos._group, []

    def slow(column: str, group: int) -> Any:
        groups.append(group)
        time.sleep(0.01)  # as a real group takes longer than a thread needs to ask for it, too
        return group_of(column, group)

    def decoded(row: int) -> bool:
        photo = photos.read("image", row)
        time.sleep(0.002)
        return photo == cells[row]

    monkeypatch.setattr(photos, "_group", slow)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(decoded, range(len(cells))))
    assert set(groups) == set(range(num_groups))
    assert len(groups) <= 1.5 * num_groups


def test_the_missing_photos_of_a_hugging_face_table_are_found_without_its_photos(tmp_path: Path) -> None:
    cells = [{"bytes": photo_bytes(place), "path": name} for place, name in enumerate(["a.jpg", None, "c.jpg", "d.jpg"])]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = parquet_of(tmp_path, {"image": pa.array([*cells, None, None], kind), "type": ["violin", "cello"] * 3})
    metadata = pyarrow.parquet.read_metadata(table)
    content = bytearray(table.read_bytes())
    for group in range(metadata.num_row_groups):
        photo_bytes_of_group = metadata.row_group(group).column(0)
        assert photo_bytes_of_group.path_in_schema == "image.bytes"
        start = photo_bytes_of_group.dictionary_page_offset or photo_bytes_of_group.data_page_offset
        content[start : start + photo_bytes_of_group.total_compressed_size] = bytes(photo_bytes_of_group.total_compressed_size)
    table.write_bytes(content)
    source = opened(table)
    assert source.records.photos == tuple(f"row {row}, image" for row in range(4))
    with pytest.raises(DataError, match="must be valid Parquet"):
        source.read("row 0, image")


def test_a_damaged_parquet_file_is_told_as_one_and_no_photos_fault(tmp_path: Path) -> None:
    """Else every photo of the table would be put in quarantine, one after the other."""
    photos = [{"bytes": np.random.default_rng(place).bytes(9000), "path": None} for place in range(4)]
    table = parquet_of(tmp_path, {"image": photos, "type": ["violin", "cello"] * 2})
    source = opened(table)
    content = table.read_bytes()
    table.write_bytes(content[:4] + bytes(40) + content[44:])  # the first column's page header
    with pytest.raises(DataError, match=r"must be valid Parquet, but .*table\.parquet is not: .*Save it anew") as caught:
        source.read("row 0, image")
    assert not isinstance(caught.value, UnreadablePhotoError)
    with pytest.raises(DataError, match="must be valid Parquet"):
        pack_images(source, 16, tmp_path / "cache")


MISTAKES = {
    "no file": (None, {}, "must be a readable file, but .*absent.csv is not: No such file"),
    "no rows": ("image,type\n", {}, "needs rows, but .* has none"),
    "empty file": ("", {}, "needs rows, but .* has none"),
    "no photo column": (TWO_ROWS, {"images": "imgae"}, "`images` in .* must be a column of .*, but 'imgae'.* mean `image`"),
    "no target column": (TWO_ROWS, {"target": "tpye"}, "`target` in .* but 'tpye' is not there. Did you mean `type`"),
    "no group column": (TWO_ROWS, {"group": "owner"}, "`group` in .* but 'owner' is not there. Known: image, type"),
    "no place column": (TWO_ROWS, {"target": "country", "places": {"columns": "city"}}, "`places.columns` in .* 'city'"),
    "two columns of one name": ("image,type,type\n", {}, "has 'type' twice. Rename"),
    "open quotation mark": ('image,type\n"a.jpg,violin\nb.jpg,cello\n', {}, "is not: line 3: unexpected end of data. Close"),
    "one class": (TWO_ROWS.replace("cello", "violin"), {}, "has only 'violin'"),
    "nothing left": (TWO_ROWS.replace("a.jpg", "x.jpg").replace("b.jpg", ""), {}, r"file missing \(1\), photo missing \(1\)"),
    "column and views both called view": (
        "front,back,view\na.jpg,b.jpg,x\n",
        {"images": ["front", "back"], "target": "view"},
        "has a column of that name",
    ),
}


@pytest.mark.parametrize(("text", "keys", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_in_the_table_gets_one_line(
    source_of: Callable[..., TableSource], text: str | None, keys: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=expected) as caught:
        source_of(text, AB, **keys) if text is not None else opened(tmp_path / "absent.csv")
    assert "\n" not in str(caught.value)


def test_a_parquet_file_that_is_none_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "table.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(DataError, match="must be valid Parquet, but .*table.parquet is not"):
        opened(tmp_path / "table.parquet")


def test_a_definition_opens_the_table_beside_it(
    source_of: Callable[..., TableSource], definition_of: Callable[[str], StudyDefinition]
) -> None:
    expected = source_of(TWO_ROWS, AB)
    found = open_source(definition_of('table = "table.csv"\nimages = "image"\ntarget = "type"'))
    assert found.records.photos == expected.records.photos
    assert found.fingerprint() == expected.fingerprint()


cells = st.sampled_from(["a.jpg", "b.jpg", "./b.jpg", "x.jpg", "../a.jpg", "", "nan", "/etc/passwd", "a.jpg/..", "\0"])
kinds = st.sampled_from(["violin", "cello", ""])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(cells, cells, kinds), max_size=8), st.sampled_from(["each", "pair"]))
def test_no_cell_is_ever_lost(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]], views: str) -> None:
    folder = tmp_path_factory.mktemp("table")
    for place, photo in enumerate(["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg", "f.jpg"]):
        (folder / photo).write_bytes(photo_bytes(place))
    lines = ["c.jpg,d.jpg,violin", "e.jpg,f.jpg,cello", *(",".join(row) for row in rows)]
    (folder / "table.csv").write_text("front,back,type\n" + "\n".join(lines) + "\n")
    records = opened(folder / "table.csv", images=["front", "back"], views=views).records
    num_blank = sum(not "".join(row) for row in rows)  # a line without any text is no row
    assert len(records.photos) + len(records.dropped) == 2 * (len(lines) - num_blank)
    assert set(records.photos) <= {"a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg", "f.jpg"}
