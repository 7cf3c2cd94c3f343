"""Explanations as pictures: the photo, each method's map over it with its scale, and a sentence."""

import io
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.text import Text

from study.analysis.activation import UnitKind
from study.analysis.explanation import Explanation, Method
from study.data.images import Pixels
from study.tracking.figures import plain_text

Maps = npt.NDArray[np.float32]

PANEL_INCHES = 3.3
ROW_GAP_INCHES = 0.1
DPI = 110
SUBTITLE_LETTERS_PER_INCH = 11.5  # of 9.5 pt; of a longer one the end is shown: a path ends with its name
LETTERS_PER_INCH = 13  # of 10.5 pt DejaVu Sans, so that a sentence ends where the picture does
RIGHT_COLOUR, WRONG_COLOUR = "#00795a", "#b34700"  # Okabe and Ito's green and vermilion, darkened to be read as text
TITLES = {
    Method.OCCLUSION: "occlusion",
    Method.GRAD_CAM: "Grad-CAM",
    Method.INTEGRATED_GRADIENTS: "integrated gradients",
}


@plain_text()
def draw_explanation(
    explanation: Explanation,
    title: str,
    subtitle: str = "",
    *,
    views: Sequence[str] = (),
    is_right: bool | None = None,
    sentence: str | None = None,
) -> bytes:
    """The picture as a PNG: a row a view, the photo first, then a map over it for each method.

    Args:
        title: what the model says.
        subtitle: of which photo.
        views: names of the rows, where there are several.
        is_right: colours the title; None where nobody knows.
        sentence: below; default: the explanation's own.
    """
    num_views = len(explanation.pixels)
    num_columns = 1 + len(explanation.maps)
    width = PANEL_INCHES * num_columns + 0.9 * len(explanation.maps)
    lines = textwrap.wrap(explanation.sentence if sentence is None else sentence, int(width * LETTERS_PER_INCH))
    head, foot = 0.7, 0.2 + 0.2 * len(lines)
    height = head + (PANEL_INCHES + ROW_GAP_INCHES) * num_views + foot
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    colour = {None: "black", True: RIGHT_COLOUR, False: WRONG_COLOUR}[is_right]
    room = int(SUBTITLE_LETTERS_PER_INCH * width)
    subtitle = subtitle if len(subtitle) <= room else f"…{subtitle[1 - room :]}"
    _fit(figure.text(0.15 / width, 1 - 0.12 / height, title, size=15, weight="bold", va="top", color=colour))
    _fit(figure.text(0.15 / width, 1 - 0.45 / height, subtitle, size=9.5, va="top", color="#555555"))
    figure.text(0.15 / width, 0.12 / height, "\n".join(lines), size=10.5, va="bottom", linespacing=1.35)
    for view in range(num_views):
        bottom = foot + (num_views - 1 - view) * (PANEL_INCHES + ROW_GAP_INCHES)
        _draw_row(figure, explanation, view, bottom, views[view] if num_views > 1 else "")
    return png_of(figure)


def png_of(figure: Figure) -> bytes:
    """The figure's bytes; no window, no global state."""
    FigureCanvasAgg(figure)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _fit(text: Text) -> None:
    """Writes a line smaller that would leave the picture."""
    figure = text.get_figure(root=True)
    assert figure is not None
    room_px = figure.bbox.width - 2 * 0.15 * DPI
    text.set_fontsize(float(text.get_fontsize()) * min(1, room_px / max(1, text.get_window_extent().width)))


def _draw_row(figure: Figure, explanation: Explanation, view: int, bottom: float, name: str) -> None:
    width, height = (float(side) for side in figure.get_size_inches())
    side = PANEL_INCHES - 0.3

    def panel(left: float, wide: float = side) -> Axes:
        return figure.add_axes((left / width, (bottom + 0.05) / height, wide / width, side / height))

    seen = "mean photo" if explanation.num_examples > 1 else "photo, as the model sees it"
    axes = panel(0.15)
    axes.imshow(explanation.pixels[view])
    _label(axes, f"{name}: {seen}" if name else seen)
    left = 0.15 + PANEL_INCHES
    for method, maps in explanation.maps.items():
        axes = panel(left)
        # One scale for all views: a view that does not matter stays dark.
        scale = Normalize(0, float(maps.max()) or 1.0)
        axes.imshow(_laid_over(explanation.pixels[view], scale(maps[view])))
        _label(axes, TITLES[method])
        bar = figure.colorbar(ScalarMappable(scale, _bar_colours()), cax=panel(left + side + 0.08, 0.13))
        bar.ax.tick_params(labelsize=8)
        bar.ax.yaxis.set_major_formatter(_tick_format(explanation, method))
        bar.set_label(_unit_of(explanation, method), size=8.5)
        left += PANEL_INCHES + 0.9


def _laid_over(photo: Pixels, shares: Any) -> npt.NDArray[np.float64]:
    """The heat over the greyed photo: where nothing matters the photo shows, where much does the colour."""
    grey = photo.astype(np.float64) @ (0.299, 0.587, 0.114) / 255
    return _blended(0.15 + 0.7 * grey[:, :, None], np.asarray(shares))


def _blended(grey: Any, shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    opacity = (0.8 * np.sqrt(shares))[..., None]
    blended: npt.NDArray[np.float64] = opacity * mpl.colormaps["inferno"](0.15 + 0.85 * shares)[..., :3] + (1 - opacity) * grey
    return blended


def _bar_colours() -> ListedColormap:
    """As the colours look over a middle grey."""
    return ListedColormap(_blended(0.5, np.linspace(0, 1, 256)))


def _label(axes: Axes, text: str) -> None:
    axes.set_title(text, size=10, loc="left", pad=4)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _tick_format(explanation: Explanation, method: Method) -> Any:
    is_share = method is Method.OCCLUSION and explanation.unit.kind is UnitKind.PROBABILITY
    return (lambda value, _: f"{value * 100:.3g}") if is_share else (lambda value, _: f"{value:.2g}")


def _unit_of(explanation: Explanation, method: Method) -> str:
    match method:
        case Method.OCCLUSION if explanation.unit.kind is UnitKind.PROBABILITY:
            return "change of probability when hidden, points"
        case Method.OCCLUSION:
            return "change when hidden, |Δa|"
        case Method.GRAD_CAM:
            return "evidence for it (no unit)"
        case Method.INTEGRATED_GRADIENTS:
            return "effect on the score, per pixel"
