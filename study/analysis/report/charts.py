"""Figures drawn by matplotlib as SVG inside the page: text stays text, and colours are the page's, light or dark."""

import re
from collections.abc import Callable, Sequence
from io import StringIO
from typing import Any

from markupsafe import Markup, escape
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from study.analysis.report.parts import Chart, Table
from study.analysis.report.words import significant

# matplotlib knows no CSS variables: it draws with colours that nothing else has, and each is replaced by its variable.
INK, MUTED, GRID, PAPER = "#010101", "#010102", "#010103", "#010104"
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#010105", "#010106", "#010107", "#010108", "#010109", "#01010a"
VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "line",
    PAPER: "paper",
    BLUE: "blue",
    ORANGE: "orange",
    GREEN: "green",
    RED: "red",
    PURPLE: "purple",
    SKY: "sky",
}
# Told apart without colour as well: each has a dash and a marker of its own.
SERIES = (
    (BLUE, "-", "o"),
    (ORANGE, "--", "s"),
    (GREEN, "-.", "^"),
    (PURPLE, ":", "D"),
    (RED, (0, (6, 2)), "v"),
    (SKY, (0, (1, 1)), "P"),
)
PX_PER_INCH = 72  # of matplotlib's SVG: one unit of its viewBox is one point
WIDE_PX, NARROW_PX = 760, 340
LOG_SPAN = 30  # numbers that differ by more are drawn on a logarithmic axis, as on the runs' own figures

Draw = Callable[[Figure, bool], None]


def chart(
    name: str, title: str, finding: str, data: Table, draw: Draw, *, height_px: int = 380, narrow_height_px: int | None = None
) -> Chart:
    """A figure in both widths.

    Args:
        draw: fills a figure; told whether it is the narrow one.
    """
    wide = _svg(f"{name}-wide", finding, draw, (WIDE_PX, height_px), is_narrow=False)
    narrow = _svg(f"{name}-narrow", finding, draw, (NARROW_PX, narrow_height_px or height_px), is_narrow=True)
    return Chart(name, title, finding, wide, narrow, data)


def frame(axes: Axes) -> None:
    """Quiet axes: a light grid, no box."""
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def stretch(axis: Axis) -> None:
    """Makes an axis logarithmic, its numbers written out: no power of ten is typeset here."""
    axis.axes.set(**{"xscale" if axis is axis.axes.xaxis else "yscale": "log"})
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: significant(value)))
    axis.set_minor_locator(NullLocator())


def is_logarithmic(values: Sequence[float], span: float = LOG_SPAN) -> bool:
    """Whether positive numbers lie so far apart that a linear axis would hide most of them."""
    return bool(values) and min(values) > 0 and max(values) > span * min(values)


def _svg(name: str, finding: str, draw: Draw, size_px: tuple[int, int], *, is_narrow: bool) -> Markup:
    width, height = (side / PX_PER_INCH for side in size_px)
    with style.context(["default", _style(name, is_narrow)]):  # whatever the user's own settings say
        figure = Figure(figsize=(width, height), layout="constrained", facecolor="none")
        draw(figure, is_narrow)
        written = StringIO()
        save: Callable[..., None] = FigureCanvasSVG(figure).print_svg  # not `savefig`, which draws twice
        save(written, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return _embedded(written.getvalue(), name, finding, size_px)


def _style(name: str, is_narrow: bool) -> dict[str, Any]:
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.size": 11 if is_narrow else 12,
        "axes.facecolor": "none",
        "axes.labelcolor": INK,
        "axes.edgecolor": MUTED,
        "xtick.color": INK,
        "ytick.color": INK,
        "text.color": INK,
        "legend.frameon": False,
        "text.parse_math": False,  # a class may be called "$5"
    }


def _embedded(svg: str, name: str, finding: str, size_px: tuple[int, int]) -> Markup:
    """As an element of a page: no prologue, ids unlike any other figure's, the page's font and colours."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"\s*<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r"<[^>]*>", lambda tag: _themed(tag[0], name), body)  # tags only: no text of the user's is touched
    body = re.sub(r"\n\s*", "\n", body)
    width, height = size_px
    opening = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(finding)}" focusable="false">'
    return Markup(re.sub(r"<svg[^>]*>", lambda _: opening, body, count=1))


def _themed(tag: str, name: str) -> str:
    tag = re.sub(r'(\bid=")', rf"\1{name}-", tag)
    tag = re.sub(r'(url\(#|href="#)', rf"\1{name}-", tag).replace("xlink:href", "href")
    tag = re.sub(r"font: (?:[\w ]* )?([\d.]+px) [^;\"]*", r"font-size: \1", tag)
    tag = re.sub(r"font-family: [^;\"]*;? ?", "", tag)
    return re.sub("|".join(VARIABLES), lambda colour: f"var(--{VARIABLES[colour[0]]})", tag)
