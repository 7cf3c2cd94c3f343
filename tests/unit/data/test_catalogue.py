"""A drawn collection in the paper's table format, and the small one that is shipped."""

import csv
import shutil
from pathlib import Path

import pytest
from PIL import Image

from study.data.instruments.catalogue import COLUMNS, draw_catalogue, draw_photos_of
from study.data.tables.source import TableSource
from study.data_definition import DataDefinition
from study.errors import DataError

SHIPPED = Path(__file__).parents[3] / "search_spaces" / "paper" / "example" / "instruments.csv"
SEED, SIZE_PX = 0, 32
PHOTOS = ["image_top", "image_back"]


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def source(table: Path, **asked: object) -> TableSource:
    definition = DataDefinition.model_validate({"table": str(table), "images": PHOTOS, **asked})
    return TableSource(table, definition, table.parent / "cache")


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The shipped table with its photos."""
    table = Path(shutil.copy(SHIPPED, tmp_path))
    draw_photos_of(table, SEED, SIZE_PX)
    return table


def test_the_shipped_table_is_what_the_command_draws(tmp_path: Path) -> None:
    num_instruments = len(rows_of(SHIPPED))
    assert draw_catalogue(tmp_path, num_instruments, SEED, SIZE_PX).read_bytes() == SHIPPED.read_bytes()


def test_the_shipped_table_has_the_papers_columns_and_gaps_in_most_of_them() -> None:
    rows = rows_of(SHIPPED)
    assert tuple(rows[0]) == COLUMNS
    gaps = {name for name in COLUMNS for row in rows if not row[name]}
    assert gaps >= {"country_made", "city_made", "maker_name", "year_made", "sale_price_USD", "image_back"}


def test_front_and_back_of_an_instrument_are_one_group(example: Path) -> None:
    records = source(example, target="view").records
    groups = dict(zip(records.photos, records.groups, strict=True))
    assert groups["photos/instrument-00000-front.jpg"] == groups["photos/instrument-00000-back.jpg"]
    assert groups["photos/instrument-00000-front.jpg"] != groups["photos/instrument-00001-front.jpg"]


def test_photos_are_drawn_in_the_size_asked(example: Path) -> None:
    with Image.open(example.parent / "photos" / "instrument-00003-front.jpg") as photo:
        assert max(photo.size) == SIZE_PX


def test_a_table_of_somebody_elses_is_never_drawn_over(tmp_path: Path) -> None:
    table = tmp_path / "instruments.csv"
    table.write_text(f"{','.join(COLUMNS)}\nItaly,,,,violin,,,mine.jpg,\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"drawn instruments only, but .* has 'mine.jpg'"):
        draw_photos_of(table, SEED, SIZE_PX)
    with pytest.raises(DataError, match="must not take the place of another"):
        draw_catalogue(tmp_path, 2, SEED, SIZE_PX)
    assert [path.name for path in tmp_path.iterdir()] == ["instruments.csv"]
