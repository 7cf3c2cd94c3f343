"""What a benchmark found, as lines of one table and as details below it; printed, and handed to `run_all` as a file."""

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One line of the table of goals.

    Attributes:
        goal: as it was asked for, "≥ 0.97×"; "" where nothing was asked.
        is_reached: None where nothing was asked, or it could not be measured here.
    """

    work: str
    peer: str
    goal: str
    found: str
    is_reached: bool | None = None


@dataclass(frozen=True)
class Report:
    """What one benchmark found.

    Attributes:
        command: to redo it.
        details: Markdown: its own tables, and how it was measured.
    """

    title: str
    command: str
    rows: Sequence[Row]
    details: str


def goal_table(rows: Sequence[Row]) -> str:
    """Markdown."""
    mark = {True: "yes", False: "**no**", None: "—"}
    lines = ["| work | peer | goal | found | reached |", "|---|---|---|---|---|"]
    lines += [f"| {row.work} | {row.peer} | {row.goal or '—'} | **{row.found}** | {mark[row.is_reached]} |" for row in rows]
    return "\n".join(lines)


def table(heading: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    """Markdown."""
    cells = [heading, ["---"] * len(heading), *lines]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in cells)


def at_least(found: float, goal: float, unit: str = "×") -> tuple[str, str, bool]:
    """Goal, what was found, and whether it was reached, as a `Row` wants them."""
    return (
        f"≥ {goal:g}{unit}",
        f"{found:.3f}{unit}" if found < 2 else f"{found:.3g}{unit}" if found < 100 else f"{found:.0f}{unit}",
        found >= goal,
    )


def at_most(found: float, goal: float, unit: str) -> tuple[str, str, bool]:
    """The same where less is better."""
    return f"≤ {goal:g}{unit}", f"{found:.3g}{unit}", found <= goal


def add_report_argument(parser: ArgumentParser) -> None:
    """`--report FILE`, which `run_all` sets."""
    parser.add_argument("--report", type=Path, help="also write what was found to this JSON file")


def publish(report: Report, arguments: Namespace) -> None:
    """Prints the report, and writes it where `--report` says."""
    print(f"{goal_table(report.rows)}\n\n{report.details}")
    if arguments.report:
        arguments.report.write_text(json.dumps(asdict(report)), encoding="utf-8")


def read_report(file: Path) -> Report:
    """What `publish` wrote."""
    stored = json.loads(file.read_text(encoding="utf-8"))
    return Report(**stored | {"rows": [Row(**row) for row in stored["rows"]]})
