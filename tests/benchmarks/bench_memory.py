"""What a study of a whole collection holds in memory: `search_spaces/paper/type.toml`, driver, Ray and trials together.

    study draw COLLECTION --instruments 5400
    python -m tests.benchmarks.bench_memory COLLECTION [--epochs 1] [--trials 2] [--confirm] [--weights none]

Memory is the sum of every process's PSS: of a page that k processes share, each has 1/k, so that nothing is counted twice
(Source: proc(5), smaps). Files that are mapped, as the packed photos are, count as far as they are in memory.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from tests.benchmarks.machine import describe_machine, describe_torch
from tests.benchmarks.report import Report, Row, goal_table, table

SHIPPED = Path(__file__).parents[2] / "search_spaces" / "paper" / "type.toml"
INTERVAL_S = 1.0
GIB = 2**30
GOAL_GIB = 6.0
DRIVER, TRIAL, IDLE_WORKER, RAY, OTHER = "driver", "trial", "idle Ray worker", "Ray itself", "other"
RAY_WORKERS = {"ray::StudyTrainable": TRIAL, "ray::IDLE": IDLE_WORKER}
RAY_PROGRAMS = ("ray::", "gcs_server", "raylet", "/ray/")  # agents are called as workers are


@dataclass(frozen=True)
class Sample:
    """One moment: bytes by kind of process, and how many of each kind there were."""

    at_s: float
    pss: Counter[str]
    rss: Counter[str]
    processes: Counter[str]


@dataclass
class Peak:
    """The samples of one run, and its largest."""

    samples: list[Sample] = field(default_factory=list)

    @property
    def largest(self) -> Sample:
        """The moment with the most memory, shared pages counted once."""
        return max(self.samples, key=lambda one: one.pss.total())

    def largest_of(self, kind: str) -> float:
        """The most that processes of a kind held together, at whatever moment; bytes."""
        return max(one.pss[kind] for one in self.samples)


def kind_of(process: psutil.Process, driver: int) -> str:
    """What the process is for, by its command line: Ray renames its workers."""
    if process.pid == driver:
        return DRIVER
    command = " ".join(process.cmdline())
    found = next((kind for beginning, kind in RAY_WORKERS.items() if command.startswith(beginning)), None)
    return found or (RAY if any(name in command for name in RAY_PROGRAMS) else OTHER)


def sample(driver: psutil.Process, started_s: float) -> Sample:
    """The driver and all that descend from it; processes that end meanwhile are left out."""
    pss, rss, processes = Counter[str](), Counter[str](), Counter[str]()
    for process in (driver, *driver.children(recursive=True)):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied, FileNotFoundError):
            held, kind = process.memory_full_info(), kind_of(process, driver.pid)
            pss[kind] += held.pss
            rss[kind] += held.rss
            processes[kind] += 1
    return Sample(time.monotonic() - started_s, pss, rss, processes)


def watch(command: Sequence[str], folder: Path) -> Peak:
    """Runs the command in `folder` to its end.

    Raises:
        subprocess.CalledProcessError: if it fails.
    """
    places = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "STUDY_STORAGE": str(folder / "study.journal")}
    places |= {"STUDY_CACHE": str(folder / "cache"), "STUDY_OUTPUT": str(folder / "studies")}
    peak, started_s = Peak(), time.monotonic()
    with subprocess.Popen(command, cwd=folder, env=os.environ | places) as running:
        driver = psutil.Process(running.pid)
        while running.poll() is None:
            with suppress(psutil.NoSuchProcess):
                peak.samples.append(sample(driver, started_s))
            time.sleep(INTERVAL_S)
    if running.returncode:
        raise subprocess.CalledProcessError(running.returncode, command)
    return peak


def definition_of(collection: Path, options: argparse.Namespace) -> str:
    """The shipped definition, on this collection and shorter; every change is one that `changes` tells."""
    text = SHIPPED.read_text(encoding="utf-8")
    for shipped, other in changes(collection, options):
        assert shipped in text, f"{SHIPPED} has no {shipped!r} any more"
        text = text.replace(shipped, other)
    return text if options.confirm else text.replace("[confirm]\ntop = 1\nseeds = 2\n", "")


def changes(collection: Path, options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """What the shipped file says, and what is run in its place."""
    yield '"collection/instruments.csv"', f'"{collection.resolve()}/instruments.csv"'
    yield "epochs = 20", f"epochs = {options.epochs}"
    yield 'weights = "imagenet"', f'weights = "{options.weights}"'
    yield "choices = [0, 1, 2, 3, 4]", f"choices = {list(range(options.trials))}"
    yield "cpus = 2", f"cpus = {options.cpus}"


def report_of(peak: Peak, num_photos: int, options: argparse.Namespace, machine: str) -> Report:
    """The table by kind of process, and the line for the table of goals."""
    largest = peak.largest
    kinds = [kind for kind in (DRIVER, TRIAL, IDLE_WORKER, RAY, OTHER) if any(one.pss[kind] for one in peak.samples)]
    lines = [
        (
            kind,
            largest.processes[kind],
            *(f"{held / GIB:.2f}" for held in (largest.pss[kind], largest.rss[kind], peak.largest_of(kind))),
        )
        for kind in kinds
    ]
    total = (largest.processes.total(), *(f"{held.total() / GIB:.2f}" for held in (largest.pss, largest.rss)))
    heading = ("processes", "number", "PSS at the peak, GiB", "RSS at the peak, GiB", "most PSS at any moment, GiB")
    found = largest.pss.total() / GIB
    length = f"{options.epochs} epoch{'s' * (options.epochs > 1)}, {options.trials} folds"
    row = Row(
        f"`type.toml` on {num_photos:,} drawn photos at 224 px, memory of all processes",
        f"{length}, {largest.processes[TRIAL]} trials at once",
        f"≤ {GOAL_GIB:.0f} GiB",
        f"{found:.2f} GiB",
        found <= GOAL_GIB,
    )
    details = "\n\n".join(
        [
            table(heading, [*lines, ("**together**", *total, "")]),
            f"The peak came {largest.at_s:.0f} s after the start, of {peak.samples[-1].at_s:.0f} s in all; {len(peak.samples)} "
            f"samples, one every {peak.samples[-1].at_s / len(peak.samples):.1f} s. Weights: {options.weights}; [confirm] "
            f"{'as shipped' if options.confirm else 'left out'}.",
            f"{machine}. {describe_torch()}.",
        ]
    )
    return Report("Memory of a whole collection", "python -m tests.benchmarks.bench_memory COLLECTION", [row], details)


def main() -> None:
    """Runs it and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("collection", type=Path, help="as `study draw` left it")
    parser.add_argument("--epochs", type=int, default=1, help="shipped: 20")
    parser.add_argument("--trials", type=int, default=2, help="shipped: 5, one a fold")
    parser.add_argument("--cpus", type=int, default=1, help="of one trial; shipped: 2. On two cores 1 lets two run at once")
    parser.add_argument("--weights", default="none", help="shipped: imagenet; as many bytes")
    parser.add_argument("--confirm", action="store_true", help="with the repetitions, as shipped")
    parser.add_argument("--folder", type=Path, help="where everything is kept; default: a folder that is deleted")
    options = parser.parse_args()
    machine = describe_machine()  # before the study is this machine's load
    num_photos = sum(1 for _ in (options.collection / "photos").iterdir())
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "type.toml"
        file.write_text(definition_of(options.collection, options), encoding="utf-8")
        peak = watch([sys.executable, "-m", "study.cli", "run", str(file)], folder)
    report = report_of(peak, num_photos, options, machine)
    print(f"{goal_table(report.rows)}\n\n{report.details}")


if __name__ == "__main__":
    main()
