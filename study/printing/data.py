"""What became of every photo: the result of `study data`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from study.printing.console import Result, make_console

if TYPE_CHECKING:
    from study.tuning.data_card import DataCard

SHOWN_EXAMPLES = 3  # of each reason; report.json has up to twenty
MIB = 2**20


def report_of(card: DataCard) -> Result:
    """The report as plain data, and where its pictures are."""
    return card.data.report.model_dump(mode="json") | {"card": str(card.folder)}


def print_report(report: Result) -> None:
    """Counts first, then what was left out and why, then what looks suspicious."""
    console = make_console()
    left_out = report["num_listed"] - report["num_kept"]
    console.print(
        f"{report['origin']}: {report['num_listed']:,} photos listed, {report['num_kept']:,} kept, {left_out:,} left out",
        markup=False,
    )
    for kind in ("dropped", "quarantined"):
        _print_left_out(console, kind, report[kind])
    if report["regrouped"]:
        told = ", ".join(f"{name} ({count})" for name, count in report["regrouped"].items())
        console.print(f"called 'other', as too small: {told}", markup=False)
    _print_duplicates(console, report["duplicates"])
    if report["places"]:
        console.print(f"places: {report['places']['num_resolved']:,} resolved, {report['places']['num_unresolved']:,} not")
    if report["values"]:
        values = report["values"]
        console.print(f"target: {values['lowest']:.4g} to {values['highest']:.4g}, median {values['median']:.4g}")
    console.print(_class_table(report["classes"], report["splits"]))
    folds = f" · {report['num_folds']} folds, of which the first is counted here" if report["num_folds"] > 1 else ""
    size = f"{report['image_size']} px, {report['num_bytes'] / MIB:,.1f} MiB packed"
    console.print(f"{size} · digest {report['digest'][:16]}{folds}", markup=False)
    console.print(f"look at: {report['card']}/contact_sheet.png", markup=False)


def _print_left_out(console: Console, kind: str, reasons: Mapping[str, Result]) -> None:
    for reason, left_out in reasons.items():
        examples = left_out["examples"][:SHOWN_EXAMPLES]
        shown = "; ".join(
            f"{example['photo']}: {example['detail']}" if example["detail"] else example["photo"] for example in examples
        )
        console.print(f"  {kind}, {reason}: {left_out['num_photos']:,} ({shown})", markup=False)


def _print_duplicates(console: Console, duplicates: Result) -> None:
    if not duplicates["num_sets"]:
        return
    console.print(
        f"duplicates: {duplicates['num_photos']:,} photos in {duplicates['num_sets']:,} sets, "
        f"{duplicates['num_exact_sets']:,} of them exact; each set is kept in one split"
    )
    for kind, told in (("leaks", "across the source's own splits"), ("contradictions", "under different labels")):
        if duplicates[f"num_{kind}"]:
            example = " = ".join(duplicates[kind][0])
            console.print(f"  {kind}: {duplicates[f'num_{kind}']:,} sets {told} (such as {example})", markup=False)


def _class_table(classes: Mapping[str, Mapping[str, int]], splits: Mapping[str, int]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("class")
    for split in splits:
        table.add_column(split, justify="right")
    for name, counts in classes.items():
        table.add_row(name, *(f"{counts[split]:,}" for split in splits))
    table.add_row("all", *(f"{count:,}" for count in splits.values()), style="bold")
    return table
