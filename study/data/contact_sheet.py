"""One picture of the whole data set: some photos of each class, framed in the colour of their split.

For eyes: wrong labels, duplicates, bad crops and unfair splits show here sooner than in any number.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from study.data.study_data import StudyData

WIDTH_PX = 1600
CELL_PX = 128  # a photo's square, frame included
FRAME_PX = 5
GAP_PX = 5
MARGIN_PX = 24
NAME_WIDTH_PX = 220
LEGEND_HEIGHT_PX = 92
MOST_PHOTOS = (WIDTH_PX - 2 * MARGIN_PX - NAME_WIDTH_PX + GAP_PX) // (CELL_PX + GAP_PX)  # in a row: 10
MOST_ROWS = 100  # classes, the largest ones: a sheet of 13,000 px that can still be opened

PAPER, INK, FAINT = (255, 255, 255), (32, 32, 32), (118, 118, 118)
# Okabe and Ito's blue, orange and green, which colour-blind readers tell apart. https://jfly.uni-koeln.de/color/
SPLIT_COLOURS = {"train": (0, 114, 178), "val": (230, 159, 0), "test": (0, 158, 115)}
QUARANTINE_COLOUR = (213, 94, 0)


@dataclass(frozen=True)
class _Row:
    """One line of the sheet: a name, what is said of it, and its photos with their splits."""

    name: str
    notes: tuple[str, ...]
    cells: tuple[tuple[int, str], ...]


def save_contact_sheet(data: StudyData, file: Path, photos_per_class: int = MOST_PHOTOS, seed: int = 0) -> None:
    """Writes the contact sheet as a PNG, making its folder; see `draw_contact_sheet`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draw_contact_sheet(data, photos_per_class, seed).save(file, format="PNG")


def draw_contact_sheet(data: StudyData, photos_per_class: int = MOST_PHOTOS, seed: int = 0) -> Image.Image:
    """A sheet 1,600 px wide: a row a class with its name and counts, and at the end photos that could not be read, if any.

    The photos are drawn by chance, from each split about as many as its share of the class, and at least one. The same data and
    seed give the same sheet. Where the target is a number, rows are fifths of the photos, from low to high.

    Args:
        photos_per_class: at most, up to the 10 that fit in a row.
    """
    rows = _rows(data, min(photos_per_class, MOST_PHOTOS), seed)
    unreadable = [
        (example.photo, example.detail) for left_out in data.report.quarantined.values() for example in left_out.examples
    ]
    num_rows = len(rows) + bool(unreadable)
    height = LEGEND_HEIGHT_PX + num_rows * (CELL_PX + GAP_PX) + MARGIN_PX
    sheet = Image.new("RGB", (WIDTH_PX, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    _write_legend(pen, data)
    for place, row in enumerate(rows):
        top = LEGEND_HEIGHT_PX + place * (CELL_PX + GAP_PX)
        _write_name(pen, top, row.name, row.notes)
        for column, (index, split) in enumerate(row.cells):
            sheet.paste(_framed(data.images[index], SPLIT_COLOURS[split]), (_left_of(column), top))
    if unreadable:
        _draw_unreadable(pen, LEGEND_HEIGHT_PX + len(rows) * (CELL_PX + GAP_PX), data, unreadable)
    return sheet


def _rows(data: StudyData, most_photos: int, seed: int) -> list[_Row]:
    generator = np.random.default_rng(seed)
    rows = []
    for name, members in _kinds(data)[:MOST_ROWS]:
        counts = {split: np.intersect1d(members, indices) for split, indices in data.splits.items()}
        notes = tuple(f"{len(indices):,} {split}" for split, indices in counts.items())
        rows.append(_Row(name, (f"{len(members):,} photos", ", ".join(notes)), _chosen(counts, most_photos, generator)))
    return rows


def _kinds(data: StudyData) -> list[tuple[str, npt.NDArray[np.int64]]]:
    """What the rows are: classes, the largest first, or parts of a range of values."""
    used = np.sort(np.concatenate([indices for _, indices in data.splits.items()]))
    if data.values is not None:
        parts = np.array_split(used[np.argsort(data.values[used], kind="stable")], min(5, len(used)))
        return [(f"{data.values[part[0]]:.4g} to {data.values[part[-1]]:.4g}", np.sort(part)) for part in parts]
    kinds = [(name, used[data.labels[used] == label]) for label, name in enumerate(data.classes)]
    return sorted(kinds, key=lambda kind: -len(kind[1]))


def _chosen(
    counts: dict[str, npt.NDArray[np.int64]], most_photos: int, generator: np.random.Generator
) -> tuple[tuple[int, str], ...]:
    """Photos of each split in proportion, at least one of each that has any; training first."""
    sizes = {split: len(indices) for split, indices in counts.items() if len(indices)}
    shares = dict.fromkeys(sizes, 1)
    for _ in range(min(most_photos, sum(sizes.values())) - len(sizes)):
        open_splits = [split for split in sizes if shares[split] < sizes[split]]
        shares[max(open_splits, key=lambda split: sizes[split] / (shares[split] + 0.5))] += 1  # Webster's rule
    return tuple(
        (int(index), split)
        for split, number in shares.items()
        for index in np.sort(generator.choice(counts[split], number, replace=False))
    )


def _left_of(column: int) -> int:
    return MARGIN_PX + NAME_WIDTH_PX + column * (CELL_PX + GAP_PX)


def _framed(pixels: npt.NDArray[np.uint8], colour: tuple[int, int, int]) -> Image.Image:
    side = CELL_PX - 2 * FRAME_PX
    cell = Image.new("RGB", (CELL_PX, CELL_PX), colour)
    cell.paste(Image.fromarray(np.asarray(pixels)).resize((side, side), Image.Resampling.LANCZOS), (FRAME_PX, FRAME_PX))
    return cell


def _write_legend(pen: ImageDraw.ImageDraw, data: StudyData) -> None:
    report = data.report
    title = f"{report.num_kept:,} photos" + (f", {data.num_classes:,} classes" if data.classes else "")
    title += f", the {MOST_ROWS} largest of which are shown" if data.num_classes > MOST_ROWS else ""
    pen.text((MARGIN_PX, 18), title, INK, _font(28))
    num_dropped = sum(left_out.num_photos for left_out in report.dropped.values())
    num_unreadable = sum(left_out.num_photos for left_out in report.quarantined.values())
    said = f"{report.num_listed:,} listed, {num_dropped:,} dropped, {num_unreadable:,} unreadable, "
    said += f"{report.duplicates.num_photos:,} in {report.duplicates.num_sets:,} sets of duplicates · {report.digest[:12]}"
    pen.text((MARGIN_PX, 56), said, FAINT, _font(16))
    left = WIDTH_PX - MARGIN_PX
    for split, indices in reversed(data.splits.items()):
        text = f"{split} {len(indices):,}"
        left -= int(pen.textlength(text, _font(20)))
        pen.text((left, 24), text, INK, _font(20))
        pen.rectangle((left - 28, 26, left - 8, 46), fill=SPLIT_COLOURS[split])
        left -= 28 + MARGIN_PX


def _write_name(pen: ImageDraw.ImageDraw, top: int, name: str, notes: Iterable[str]) -> None:
    width = NAME_WIDTH_PX - 12
    pen.text((MARGIN_PX, top + 26), _shortened(pen, name, width, _font(22)), INK, _font(22))
    for line, note in enumerate(notes):
        pen.text((MARGIN_PX, top + 56 + 20 * line), _shortened(pen, note, width, _font(15)), FAINT, _font(15))


def _draw_unreadable(pen: ImageDraw.ImageDraw, top: int, data: StudyData, unreadable: Sequence[tuple[str, str]]) -> None:
    """Empty frames that say which photo is not there, and why."""
    number = sum(left_out.num_photos for left_out in data.report.quarantined.values())
    _write_name(pen, top, "unreadable", (f"{number:,} photos, in quarantine",))
    for column, (photo, reason) in enumerate(unreadable[:MOST_PHOTOS]):
        left = _left_of(column)
        pen.rectangle((left, top, left + CELL_PX - 1, top + CELL_PX - 1), outline=QUARANTINE_COLOUR, width=FRAME_PX)
        room = CELL_PX - 2 * FRAME_PX - 8
        pen.text((left + 9, top + 9), _shortened(pen, photo.rpartition("/")[2], room, _font(13)), INK, _font(13))
        for line, words in enumerate(_lines(pen, reason, room, _font(12))[:6]):
            pen.text((left + 9, top + 28 + 14 * line), words, FAINT, _font(12))


def _lines(pen: ImageDraw.ImageDraw, text: str, width: int, font: ImageFont.FreeTypeFont) -> list[str]:
    """The text in lines that fit; a word that does not is cut."""
    lines = [""]
    for word in text.split():
        together = f"{lines[-1]} {word}".strip()
        if pen.textlength(together, font) <= width:
            lines[-1] = together
        else:
            lines.append(_shortened(pen, word, width, font))
    return [line for line in lines if line]


def _shortened(pen: ImageDraw.ImageDraw, text: str, width: int, font: ImageFont.FreeTypeFont) -> str:
    """The text on one line, or as much of its beginning as fits, with an ellipsis."""
    text = " ".join(text.split())
    if pen.textlength(text, font) <= width:
        return text
    while text and pen.textlength(text + "…", font) > width:
        text = text[:-1]
    return text + "…"


def _font(size_px: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size_px)
    assert isinstance(font, ImageFont.FreeTypeFont)  # Pillow's wheels bring FreeType; without it, sizes would not be kept
    return font
