"""Text has a contrast of 4.5:1 and marks of 3:1 (WCAG 2.2, criteria 1.4.3 and 1.4.11), on light and on dark ground."""

import re

import pytest

from study.analysis.report.charts import VARIABLES
from study.analysis.report.page import TEMPLATE_FOLDER

STYLE = (TEMPLATE_FOLDER / "style.css").read_text("utf-8")
TEXTS = ("ink", "muted", "accent", "orange")
MARKS = ("blue", "orange", "green", "red", "purple", "sky")


def _palettes() -> dict[str, dict[str, str]]:
    """Light, dark, print: the variables of each `:root`."""
    blocks = re.findall(r":root \{(.*?)\}", STYLE, flags=re.DOTALL)
    return {
        name: dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        for name, block in zip(("light", "dark", "print"), blocks, strict=True)
    }


def _luminance(colour: str) -> float:
    shares = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_text_and_marks_stand_out_from_every_ground(theme: str) -> None:
    palette = _palettes()[theme]
    for ground in ("paper", "raised"):
        for text in TEXTS:
            assert contrast(palette[text], palette[ground]) >= 4.5, (text, ground)
        for mark in MARKS:
            assert contrast(palette[mark], palette[ground]) >= 3, (mark, ground)
    assert contrast(palette["ink"], palette["warn"]) >= 4.5


def test_every_theme_has_every_colour_of_the_figures() -> None:
    for palette in _palettes().values():
        assert set(VARIABLES.values()) <= palette.keys()


def test_text_on_every_strength_of_a_heat_table_is_readable() -> None:
    cells = re.findall(r"\.s\d \{ background: (#[0-9a-f]{6}); color: (#[0-9a-f]{6}); \}", STYLE)
    assert len(cells) == 18
    for ground, text in cells:
        assert contrast(ground, text) >= 4.5, (ground, text)
