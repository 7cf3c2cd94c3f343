from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from study.data.contact_sheet import (
    CELL_PX,
    MOST_PHOTOS,
    MOST_ROWS,
    QUARANTINE_COLOUR,
    SPLIT_COLOURS,
    WIDTH_PX,
    draw_contact_sheet,
    save_contact_sheet,
)
from study.data.folds import Fold
from study.data.report import DataReport, Omission, by_reason
from study.data.splits import Splits
from study.data.statistics import channel_statistics
from study.data.study_data import StudyData


def data_of(num_of: dict[str, int], report: DataReport | None = None) -> StudyData:
    """A data set whose photos are plain; of each class the first three tenths are held out."""
    labels = np.repeat(np.arange(len(num_of)), list(num_of.values()))
    places = np.concatenate([np.arange(number) / number for number in num_of.values()])
    parts = (places >= 0.3, (places >= 0.2) & (places < 0.3), places < 0.2)
    splits = Splits(*(np.flatnonzero(part) for part in parts))
    images = np.full((len(labels), 8, 8, 3), 17, dtype=np.uint8)
    return StudyData(
        folder=Path("unused"),
        images=images,
        labels=labels,
        classes=tuple(num_of),
        photos=tuple(map(str, range(len(labels)))),
        views=np.full(len(labels), ""),
        rows=np.arange(len(labels)),
        folds=(Fold(splits, channel_statistics(images, splits.train)),),
        report=report or DataReport(num_kept=len(labels)),
        digest="plain",
    )


def cells_of(sheet: Image.Image) -> list[int]:
    """About how many photos each split's frames are around, by the area of their colour."""
    pixels = np.asarray(sheet)
    frame = CELL_PX**2 - (CELL_PX - 10) ** 2
    legend = 21 * 21
    return [round(((pixels == colour).all(axis=2).sum() - legend) / frame) for colour in SPLIT_COLOURS.values()]


def test_a_sheet_has_a_row_a_class_and_photos_of_each_split_in_proportion() -> None:
    assert cells_of(draw_contact_sheet(data_of({"cat": 100, "dog": 50}))) == [14, 2, 4]


def test_a_sheet_shows_all_photos_of_a_small_class() -> None:
    assert sum(cells_of(draw_contact_sheet(data_of({"cat": 4, "dog": 3})))) == 7


@pytest.mark.parametrize("num_photos", [3, 5, MOST_PHOTOS, 500])
def test_a_row_has_as_many_photos_as_asked_for_and_fit(num_photos: int) -> None:
    assert sum(cells_of(draw_contact_sheet(data_of({"cat": 600}), num_photos))) == min(num_photos, MOST_PHOTOS)


def test_the_same_seed_gives_the_same_sheet_and_another_one_another() -> None:
    data = data_of({"cat": 100})
    data = replace(data, images=np.random.default_rng(0).integers(0, 256, data.images.shape, dtype=np.uint8))
    first, again, other = (draw_contact_sheet(data, seed=seed).tobytes() for seed in (0, 0, 1))
    assert first == again != other


def test_photos_that_cannot_be_read_are_empty_frames_with_their_reason() -> None:
    omissions = [Omission(f"folder/photo-{place}.jpg", "truncated", "it ends in the middle " * 20) for place in range(30)]
    report = DataReport(num_kept=100, quarantined=by_reason(omissions))
    with_them, without = draw_contact_sheet(data_of({"cat": 100}, report)), draw_contact_sheet(data_of({"cat": 100}))
    assert with_them.height == without.height + CELL_PX + 5
    num_coloured = (np.asarray(with_them) == QUARANTINE_COLOUR).all(axis=2).sum()
    assert round(num_coloured / (CELL_PX**2 - (CELL_PX - 10) ** 2)) == MOST_PHOTOS


def test_numbers_are_shown_in_fifths_from_low_to_high() -> None:
    data = replace(data_of({"all": 50}), classes=(), values=np.linspace(1, 9, 50, dtype=np.float32))
    assert draw_contact_sheet(data).height > 5 * CELL_PX


def test_of_very_many_classes_the_largest_are_shown() -> None:
    sheet = draw_contact_sheet(data_of({f"class {place}": 10 for place in range(MOST_ROWS + 20)}), photos_per_class=3)
    assert sheet.height < (MOST_ROWS + 2) * (CELL_PX + 5)


def test_a_class_may_have_any_name() -> None:
    draw_contact_sheet(data_of({"": 10, "a very long name of a class " * 5: 10, "Žižkov 東京 \n": 10}))


def test_the_sheet_is_a_png_of_a_fixed_width(tmp_path: Path) -> None:
    save_contact_sheet(data_of({"cat": 10}), tmp_path / "new" / "sheet.png")
    with Image.open(tmp_path / "new" / "sheet.png") as sheet:
        assert (sheet.format, sheet.width) == ("PNG", WIDTH_PX)
