"""Which classes are taken for which, and how well each is found."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from study.analysis.report.material import Material
from study.analysis.report.parts import Cell, Column, HeatTable, Part, Section, Sentences, Table
from study.analysis.report.shares import wilson
from study.analysis.report.words import percent

Counts = npt.NDArray[np.int64]

MOST_CONFUSIONS = 5  # that are told in words
SHARES_UP_TO = 12  # classes; past this, cells hold counts only, and shares have a table of their own
MATRIX_UP_TO = 60  # classes; their square is the cells of a page
STRENGTHS = 9


def confusion_section(material: Material) -> Section | None:
    """Confusion matrices in counts and shares, and a line a class; None where no matrix is known or it counts nothing.

    Of more than 60 classes only the lines are shown: 400 would be 320,000 cells.
    """
    confusion = material.extras.confusion
    if confusion is None or not np.sum(confusion.counts):
        return None
    counts = np.array(confusion.counts, dtype=np.int64)
    worst = _most_frequent(counts, confusion.classes)
    told = f"{_right(counts)} were called what they are."
    finding = f"{told} Most often mistaken: {worst[0]}." if worst else told
    parts: list[Part] = [Sentences("Most frequent mistakes", worst)] if worst else []
    parts.append(_per_class(counts, confusion.classes))
    lead = [f"Of {confusion.whose}."] if confusion.whose else []
    lead.append(told)
    if len(counts) <= MATRIX_UP_TO:
        parts += _heat_tables(counts, confusion.classes, finding)
    else:
        lead.append(f"Of more than {MATRIX_UP_TO} classes no matrix is drawn.")
    return Section("classes", "What is taken for what", lead, parts)


def _right(counts: Counts) -> str:
    num_right, num_all = int(np.trace(counts)), int(counts.sum())
    return f"{num_right:,} of {num_all:,} examples ({percent(num_right / num_all)})"


def _shares(counts: Counts) -> npt.NDArray[np.float64]:
    """Of each row; a class without an example has none."""
    shares: npt.NDArray[np.float64] = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return shares


def _most_frequent(counts: Counts, classes: Sequence[str]) -> list[str]:
    wrong = counts * (1 - np.eye(len(counts), dtype=np.int64))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSIONS]
    pairs = [divmod(int(place), len(counts)) for place in order]
    shares = _shares(counts)
    return [
        f"{classes[true]} called {classes[called]}: {counts[true, called]:,} of {counts[true].sum():,} "
        f"({percent(float(shares[true, called]))})"
        for true, called in pairs
        if wrong[true, called]
    ]


def _heat_tables(counts: Counts, classes: Sequence[str], finding: str) -> list[Part]:
    shares = _shares(counts)
    if len(classes) <= SHARES_UP_TO:
        texts = [
            [f"{count:,} · {100 * share:.0f} %" if count else "" for count, share in zip(*rows, strict=True)]
            for rows in zip(counts.tolist(), shares.tolist(), strict=True)
        ]
        return [_heat("confusion", "Counts, and shares of the true class", finding, classes, texts, shares)]
    as_counts = [[f"{count:,}" if count else "" for count in row] for row in counts.tolist()]
    as_shares = [[f"{100 * share:.0f}" if share else "" for share in row] for row in shares.tolist()]
    return [
        _heat("confusion", "Counts", finding, classes, as_counts, shares),
        _heat("confusion-shares", "Shares of the true class, %", finding, classes, as_shares, shares),
    ]


def _heat(
    name: str, title: str, finding: str, classes: Sequence[str], texts: Sequence[Sequence[str]], shares: npt.NDArray[np.float64]
) -> HeatTable:
    rows = [
        [
            Cell(text, math.ceil(STRENGTHS * float(shares[row, column]) - 1e-9), row == column)
            for column, text in enumerate(line)
        ]
        for row, line in enumerate(texts)
    ]
    return HeatTable(name, title, finding, "true ↓ · called →", classes, rows)


def _per_class(counts: Counts, classes: Sequence[str]) -> Table:
    """Recall with its interval, precision and F1, the worst class first."""
    correct, actual, called = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    recalls = correct / np.maximum(actual, 1)
    rows = []
    for place in np.argsort(recalls, kind="stable").tolist():
        true, right, told = int(actual[place]), int(correct[place]), int(called[place])
        mistakes = counts[place].copy()
        mistakes[place] = 0
        likest = classes[int(mistakes.argmax())] if mistakes.any() else "–"
        low, high = wilson(right, true)
        recall = f"{percent(right / true)} ({100 * low:.0f} to {100 * high:.0f})" if true else "–"
        f1 = f"{2 * right / (true + told):.2f}" if true + told else "–"
        rows.append((classes[place], f"{true:,}", recall, percent(right / told) if told else "–", f1, likest))
    columns = (
        Column("class"),
        Column("examples", True),
        Column("recall (95 % interval)", True),
        Column("precision", True),
        Column("F1", True),
        Column("most often taken for"),
    )
    return Table("Each class, the worst recall first", columns, rows, is_sortable=True)
