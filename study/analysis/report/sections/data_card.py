"""The photos: how many of each class in each split, and what became of those that are not there."""

from collections.abc import Mapping

from study.analysis.report.material import Material
from study.analysis.report.parts import Bar, Bars, Column, Facts, Part, Section, Table
from study.analysis.report.words import counted, significant
from study.data.report import DataReport, LeftOut

SPLITS = ("train", "val", "test")
MIB = 2**20
SHOWN_EXAMPLES = 3


def data_section(material: Material) -> Section | None:
    """A card for each data set that is known; None where none is."""
    reports = {one.name: material.extras.data[one.name] for one in material.evidence if one.name in material.extras.data}
    distinct = {report.digest: (name, report) for name, report in reversed(reports.items())}
    if not distinct:
        return None
    several = len(distinct) > 1
    parts: list[Part] = []
    for place, (name, report) in enumerate(reversed(distinct.values())):
        parts += _card(report, f"data-{place}", f" of {name}" if several else "")
    leads = [_lead(report) for _, report in reversed(distinct.values())]
    return Section("data", "The photos", leads, parts)


def _lead(report: DataReport) -> str:
    left_out = report.num_listed - report.num_kept
    told = f"{counted(report.num_kept, 'photo')} of {report.num_listed:,} are used"
    return f"{told}; {left_out:,} were left out." if left_out else f"{told}."


def _card(report: DataReport, name: str, whose: str) -> list[Part]:
    parts: list[Part] = [_facts(report, whose)]
    if report.classes:
        parts.insert(0, _balance(report, name, whose))
    left_out = _left_out(report, whose)
    return [*parts, left_out] if left_out.rows else parts


def _balance(report: DataReport, name: str, whose: str) -> Bars:
    totals = {label: sum(counts.values()) for label, counts in report.classes.items()}
    ordered = sorted(totals, key=lambda label: -totals[label])
    widest = max(*totals.values(), 1)
    bars = [
        Bar(
            label,
            f"{totals[label]:,}",
            [(split, round(100 * report.classes[label].get(split, 0) / widest, 2)) for split in SPLITS],
        )
        for label in ordered
    ]
    most, least = ordered[0], ordered[-1]
    finding = f"{len(ordered)} classes, from {totals[least]:,} photos ({least}) to {totals[most]:,} ({most})."
    rows = [
        (label, *(f"{report.classes[label].get(split, 0):,}" for split in SPLITS), f"{totals[label]:,}") for label in ordered
    ]
    columns = (Column("class"), *(Column(split, True) for split in (*SPLITS, "all")))
    table = Table(f"Photos by class and split{whose}", columns, rows)
    key = [(split, f"{split} ({report.splits.get(split, 0):,})") for split in SPLITS]
    return Bars(name, f"Photos by class and split{whose}", finding, key, bars, table)


def _facts(report: DataReport, whose: str) -> Facts:
    rows = [
        ("source", report.origin or "–"),
        ("side", f"{report.image_size} px"),
        ("packed", f"{report.num_bytes / MIB:,.1f} MiB"),
    ]
    if report.values is not None:
        rows.append(("target", " to ".join(map(significant, (report.values.lowest, report.values.highest)))))
    if report.num_folds > 1:
        rows.append(("folds", f"{report.num_folds}; the first is counted here"))
    if report.regrouped:
        rows.append(("called other, as too small", ", ".join(f"{name} ({count})" for name, count in report.regrouped.items())))
    found = report.duplicates
    if found.num_sets:
        told = f"{found.num_photos:,} photos in {found.num_sets:,} sets; each set is kept in one split"
        rows.append(("duplicates", told))
    if found.num_leaks:
        rows.append(("leaks mended", f"{found.num_leaks:,} sets were on both sides of the source's own split"))
    if found.num_contradictions:
        rows.append(("contradictions", f"{found.num_contradictions:,} sets have different labels"))
    rows.append(("digest", report.digest))
    return Facts(f"Data{whose}", rows)


def _left_out(report: DataReport, whose: str) -> Table:
    kinds: tuple[tuple[str, Mapping[str, LeftOut]], ...] = (("dropped", report.dropped), ("quarantined", report.quarantined))
    rows = [
        (f"{kind}: {reason}", f"{found.num_photos:,}", "; ".join(one.photo for one in found.examples[:SHOWN_EXAMPLES]))
        for kind, reasons in kinds
        for reason, found in reasons.items()
    ]
    return Table(f"Photos that were left out{whose}", (Column("reason"), Column("photos", True), Column("such as")), rows)
