"""Rows that must have photos which are not shown: front, back and both are compared on the same instruments."""

from pathlib import Path

import numpy as np
import pytest

from study.data.folds import fold_splits
from study.data.instruments.catalogue import draw_catalogue
from study.data.records import Reason, Records
from study.data.tables.source import TableSource
from study.data_definition import SplitDefinition
from study.definition import parse_definition
from study.errors import DefinitionError

PROJECT = Path(__file__).parents[3]
SHIPPED = PROJECT / "search_spaces" / "beyond" / "two_views"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_catalogue(tmp_path_factory.mktemp("collection"), 90, seed=0, size_px=16)


def records_of(name: str, table: Path) -> tuple[Records, SplitDefinition]:
    """What a shipped definition makes of the table, whose types are told: countries take seconds to be looked up."""
    text = (SHIPPED / f"{name}.toml").read_text(encoding="utf-8")
    places = 'target = "country"\nplaces = { columns = ["country_made", "city_made"], geocode = "offline" }'
    for shipped, other in {"../../paper/collection/instruments.csv": str(table), places: 'target = "instrument_type"'}.items():
        assert shipped in text
        text = text.replace(shipped, other)
    data = parse_definition(text, Path("/somewhere/two.toml")).data
    return TableSource(table, data, table.parent).records, data.split


def rows_of(name: str, table: Path) -> list[dict[str, set[int]]]:
    records, split = records_of(name, table)
    rows = np.array(records.rows)
    return [{part: set(rows[photos].tolist()) for part, photos in fold.items()} for fold in fold_splits(records, split)]


def test_the_shipped_studies_of_front_back_and_both_have_the_same_instruments_in_every_fold(table: Path) -> None:
    front, back, pair = (rows_of(name, table) for name in ("front", "back", "pair"))
    assert front == back == pair
    assert len(front) == 5


def test_a_row_without_the_other_photo_is_left_out_and_said_so(table: Path) -> None:
    records, _ = records_of("front", table)
    without = [one for one in records.dropped if one.reason is Reason.VIEW_MISSING]
    assert without
    assert "has no usable photo of image_back" in without[0].detail
    assert not any("-back" in photo for photo in records.photos)


def test_a_photo_that_is_shown_needs_no_second_mention() -> None:
    text = 'name = "x"\n[data]\ntable = "t.csv"\nimages = ["a"]\nalso_needs = ["a"]\ntarget = "c"'
    with pytest.raises(DefinitionError, match="`also_needs` is for photos that are not shown, but names 'a'"):
        parse_definition(text, Path("/x.toml"))
