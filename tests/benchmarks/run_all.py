"""All benchmarks of training with one command: one table, which is also written into RESULTS.md.

    python -m tests.benchmarks.run_all                # about half an hour on two idle cores
    python -m tests.benchmarks.run_all --with-accuracy        # and bf16's accuracy over five seeds: half an hour more
    python -m tests.benchmarks.run_all --quick        # fewer photos and rounds: minutes; says so in the table

Each benchmark runs in a process of its own, so that none finds the caches, threads and memory of another.
"""

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from tests.benchmarks.machine import describe_machine, describe_torch
from tests.benchmarks.photos import CLOTHING
from tests.benchmarks.report import Report, Row, at_least, at_most, goal_table, read_report

RESULTS = Path(__file__).parent / "RESULTS.md"
BEGIN = "<!-- written by `python -m tests.benchmarks.run_all`: begin -->"
END = "<!-- written by run_all: end -->"


@dataclass(frozen=True)
class Benchmark:
    """One process.

    Attributes:
        module: below `tests.benchmarks`.
        options: of the real run.
        quick_options: of a run that only shows that all of it works.
        read_printed: makes a report of what is printed, where the benchmark writes none.
    """

    module: str
    options: Sequence[str] = ()
    quick_options: Sequence[str] = ()
    read_printed: Callable[[str], Report] | None = None


def read_input(printed: str) -> Report:
    """Of `bench_input`: a row for each size, one for the share of a step."""
    rows = []
    for size_px, ratio in re.findall(r" (\d+) px, batches.*?documented: .*?\*\*([\d.]+)×\*\*", printed, re.DOTALL):
        rows.append(
            Row(
                f"input: normalised batches of 64, identical pixels, {size_px} px",
                "Pillow chain in a `DataLoader` with 2 workers",
                *at_least(float(ratio), 4),
            )
        )
    for share in re.findall(r"input [\d.]+ ms of \d+ ms, \*\*([\d.]+)%", printed):
        rows.append(Row("input, share of a training step of ResNet-18", "—", *at_most(float(share), 3, " %")))
    _, _, details = printed.partition("\n")  # the first line is the machine
    return Report("Input", f"python -m tests.benchmarks.bench_input {TRAINING_PHOTOS}", rows, details.strip())


TRAINING_PHOTOS = str(CLOTHING / "train")
BENCHMARKS = (
    Benchmark("bench_fine_tune", (), ("--train", "192", "--rounds", "2")),
    Benchmark("bench_fine_tune", ("--part", "bfloat16"), ("--part", "bfloat16", "--train", "192", "--rounds", "2")),
    Benchmark("bench_input", (TRAINING_PHOTOS,), (TRAINING_PHOTOS, "--rounds", "1"), read_input),
    Benchmark("bench_head_study"),
    Benchmark("bench_freeze_depth", (), ("--backbones", "resnet18", "--epochs", "1")),
    Benchmark("bench_warm_start", (), ("--train", "32", "--rounds", "3")),
)
ACCURACY = Benchmark("bench_fine_tune", ("--part", "accuracy"), ("--part", "accuracy", "--train", "64", "--epochs", "2"))
GPU = Benchmark("bench_gpu")


def main() -> None:
    """Prints the table, and writes it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--with-accuracy", action="store_true")
    parser.add_argument("--only", nargs="+", help="modules, e.g. bench_warm_start")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file that is written into")
    arguments = parser.parse_args()
    chosen = [*BENCHMARKS, *([ACCURACY] if arguments.with_accuracy else []), *([GPU] if torch.cuda.is_available() else [])]
    if arguments.only:
        chosen = [one for one in chosen if one.module in arguments.only]
    machine = f"{describe_machine()}; {describe_torch()}"
    is_here = {one.module: importlib.util.find_spec(name_of(one.module)) is not None for one in chosen}
    reports = [run(one, is_quick=arguments.quick) for one in chosen if is_here[one.module]]
    section = make_section(reports, machine, is_quick=arguments.quick)
    print(section)
    write_section(arguments.results, section)


def name_of(module: str) -> str:
    """As `python -m` wants it."""
    return f"tests.benchmarks.{module}"


def run(benchmark: Benchmark, *, is_quick: bool) -> Report:
    """What it found, with how busy the machine was before."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.json"
        options = benchmark.quick_options if is_quick else benchmark.options
        print(f"… {benchmark.module} {' '.join(options)} (load {load:.1f})", file=sys.stderr, flush=True)
        where = ["--report", str(file)] if benchmark.read_printed is None else []
        command = [sys.executable, "-m", name_of(benchmark.module), *options, *where]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        report = read_report(file) if benchmark.read_printed is None else benchmark.read_printed(printed)
    return replace(report, details=f"Load before it: {load:.1f}. {report.details}")


def make_section(reports: Sequence[Report], machine: str, *, is_quick: bool) -> str:
    """Markdown: the table of goals, then each benchmark's details with the command to redo it."""
    date = datetime.now(UTC).date().isoformat()
    warning = "\n\n**A quick run: fewer photos and rounds. These are not the figures to quote.**" if is_quick else ""
    rows = [row for report in reports for row in report.rows]
    head = (
        f"## Training\n\nMachine: {machine}. {date}.{warning}\n\n```\npython -m tests.benchmarks.run_all\n```\n\n"
        f"A ratio is how many times as fast ours is.\n\n{goal_table(rows)}"
    )
    return "\n\n".join([head, *(f"### {one.title}\n\n```\n{one.command}\n```\n\n{one.details}" for one in reports)])


def write_section(file: Path, section: str) -> None:
    """Puts the section in the place of the last one, or at the end; all that was written by hand stays."""
    text = file.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    file.write_text(f"{before.rstrip()}\n\n{BEGIN}\n{section}\n{END}\n{after.lstrip()}", encoding="utf-8")


if __name__ == "__main__":
    main()
