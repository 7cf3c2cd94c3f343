"""What every benchmark says first and how all of them take time."""

import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
from PIL import features


def describe_machine() -> str:
    """Processor, cores, load and versions, one line."""
    processor = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            processor = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), processor)
    return (
        f"{processor}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f} at the start, "
        f"Python {platform.python_version()}, Pillow {PIL.__version__} "
        f"(libjpeg-turbo {features.version_feature('libjpeg_turbo')}), numpy {np.__version__}"
    )


def seconds(action: Callable[[], object]) -> float:
    """How long a call takes."""
    started_s = time.perf_counter()
    action()
    return time.perf_counter() - started_s


@dataclass(frozen=True)
class Taken:
    """What one round cost.

    Attributes:
        wall_s: seconds on the clock.
        cpu_s: seconds of processor time, of this process and its children; other people's load hardly changes it.
    """

    wall_s: float
    cpu_s: float


def race(contestants: dict[str, Callable[[Path], object]], num_rounds: int) -> dict[str, list[Taken]]:
    """What each contestant took in each round, in an empty folder of its own, which is cleared outside the time.

    They take turns, so a busy machine is busy for all.
    """
    taken: dict[str, list[Taken]] = {name: [] for name in contestants}
    for _ in range(num_rounds):
        for name, action in contestants.items():
            with tempfile.TemporaryDirectory() as folder:
                before_s = sum(os.times()[:4])
                wall_s = seconds(lambda action=action, folder=folder: action(Path(folder)))  # type: ignore[misc]
                taken[name].append(Taken(wall_s, sum(os.times()[:4]) - before_s))
    return taken


def median_ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """Median over the rounds of how many times longer `slow` took in the same round."""
    return float(np.median(np.array(slow) / np.array(fast)))
