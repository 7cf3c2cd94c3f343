"""The figures that go on a run: a confusion matrix and learning curves, as PNG beside the numbers they show."""

import json
from collections.abc import Mapping, Sequence
from contextlib import ContextDecorator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from study.trial import ConfusionMatrix

Numbers = npt.NDArray[np.number[Any]]

Curve = Sequence[tuple[int, float]]
# As in the contact sheet (study/data/contact_sheet.py). https://jfly.uni-koeln.de/color/
SPLIT_COLOURS = {"train": "#0072b2", "val": "#e69f00", "test": "#009e73"}
BAR_INCHES = 0.32
LARGEST_INCHES = 30.0  # 3,000 pixels: uncapped, a thousand classes would be 55,000 a side, 12 GB in memory
MAX_NAMED_CLASSES = 60  # past this, their names would lie upon each other
LOG_SPAN = 30  # numbers that differ by more are drawn on logarithmic axes: prices, not years
MAX_CELLS_WITH_COUNTS = 20  # classes; past this, numbers in the cells are too small to read


def plain_text() -> ContextDecorator:
    """Decorates what draws names that people gave: "a$_$b" is a class, and no formula."""
    return mpl.rc_context({"text.parse_math": False})


@plain_text()
def save_confusion(confusion: ConfusionMatrix, classes: Sequence[str], title: str, folder: Path) -> None:
    """Writes confusion.png (shares of the true class, counts written in) and confusion.json.

    Of many classes the picture has their numbers in place of their names, and no counts.
    """
    counts = np.array(confusion.counts, dtype=float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(2.5 + 0.55 * len(classes), LARGEST_INCHES)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.add_subplot()
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(picture, label="share of the true class")
    axes.set(title=title, xlabel="called", ylabel="true")
    if len(classes) <= MAX_NAMED_CLASSES:
        axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
        axes.set_yticks(range(len(classes)), classes)
    if len(classes) <= MAX_CELLS_WITH_COUNTS:
        for (row, column), count in np.ndenumerate(counts):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{count:.0f}", ha="center", va="center", color=color)
    _save(figure, folder / "confusion.png")
    content = {"classes": list(classes), "counts": confusion.counts, "rows": "true class", "columns": "called"}
    (folder / "confusion.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


@plain_text()
def save_scatter(true: Numbers, predicted: Numbers, title: str, folder: Path) -> None:
    """Writes scatter.png: predicted against true numbers, with the line on which both are equal, and scatter.json.

    Args:
        true: [n], in the target's unit.
        predicted: likewise.
    """
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.add_subplot()
    axes.scatter(true, predicted, s=12, alpha=0.5)
    lowest, highest = float(min(true.min(), predicted.min())), float(max(true.max(), predicted.max()))
    axes.plot([lowest, highest], [lowest, highest], color="grey", linestyle=":", label="predicted = true")
    axes.set(title=title, xlabel="true", ylabel="predicted")
    if lowest > 0 and highest > LOG_SPAN * lowest:
        axes.set(xscale="log", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, folder / "scatter.png")
    content = {"true": [float(value) for value in true], "predicted": [float(value) for value in predicted]}
    (folder / "scatter.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


@plain_text()
def save_curves(curves: Mapping[str, Curve], best_epoch: int, title: str, folder: Path) -> None:
    """Writes curves.png: losses above, shares of right answers below, the best epoch marked.

    Args:
        curves: (epoch, value) by metric name.
    """
    figure = Figure(figsize=(7, 7), layout="constrained")
    loss_axes, share_axes = figure.subplots(2, 1, sharex=True)
    for name, curve in curves.items():
        axes = loss_axes if name.endswith("loss") else share_axes
        axes.plot([epoch for epoch, _ in curve], [value for _, value in curve], marker="o", label=name)
    for axes in (loss_axes, share_axes):
        axes.axvline(best_epoch, color="grey", linestyle=":", label=f"best epoch {best_epoch}")
        axes.grid(alpha=0.3)
        axes.legend()
    loss_axes.set(title=title, ylabel="loss")
    # MAE is in the target's unit, and R² may be far below 0: only shares have natural limits.
    limits = {"ylabel": "share", "ylim": (0, 1.02)} if not {"val_mae", "val_r2"} & curves.keys() else {"ylabel": "val"}
    share_axes.set(xlabel="epoch", **limits)
    share_axes.xaxis.get_major_locator().set_params(integer=True)
    _save(figure, folder / "curves.png")


@plain_text()
def save_class_balance(counts: Mapping[str, Mapping[str, int]], folder: Path) -> None:
    """Writes class_balance.png, a bar a class with its splits side by side in it, the largest above, and class_balance.json.

    Args:
        counts: photos by class and split.
    """
    largest_last = sorted(counts, key=lambda name: sum(counts[name].values()))
    splits = list(next(iter(counts.values()), {}))
    height = min(1.5 + BAR_INCHES * len(counts), LARGEST_INCHES)
    figure = Figure(figsize=(8, height), layout="constrained")
    axes = figure.add_subplot()
    left = np.zeros(len(counts))
    for split in splits:
        numbers = np.array([counts[name][split] for name in largest_last])
        axes.barh(range(len(counts)), numbers, left=left, label=split, color=SPLIT_COLOURS.get(split))
        left += numbers
    if height < LARGEST_INCHES:
        axes.set_yticks(range(len(counts)), largest_last)
        for place, total in enumerate(left):
            axes.annotate(f"{total:,.0f}", (total, place), xytext=(4, 0), textcoords="offset points", va="center")
    else:
        axes.set(ylabel="classes, the largest above", yticks=[])
    axes.set(title=f"{left.sum():,.0f} photos by class and split", xlabel="photos", ylim=(-0.6, len(counts) - 0.4))
    axes.margins(x=0.1)
    axes.spines[["top", "right"]].set_visible(False)
    if splits:
        figure.legend(loc="outside lower center", ncols=len(splits), frameon=False)
    _save(figure, folder / "class_balance.png")
    (folder / "class_balance.json").write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure)  # no window, no global state
    figure.savefig(path, format="png")
