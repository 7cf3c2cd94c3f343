"""What every benchmark says first and how all of them take time."""

import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import PIL
import torch
import torchvision
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


def describe_torch() -> str:
    """torch's version, threads, and what bf16 costs here: AMX and AVX512-BF16 have it in hardware. One line."""
    flags = {"AVX512-BF16": torch.cpu._is_avx512_bf16_supported(), "AMX": torch.cpu._is_amx_tile_supported()}
    units = ", ".join(f"{'with' if is_there else 'no'} {name}" for name, is_there in flags.items())
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    return f"{versions}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}, {units}"


def seconds(action: Callable[[], object]) -> float:
    """How long a call takes."""
    started_s = time.perf_counter()
    action()
    return time.perf_counter() - started_s


Result = TypeVar("Result")


@dataclass(frozen=True)
class Taken:
    """What one round cost.

    Attributes:
        wall_s: seconds on the clock.
        cpu_s: seconds of processor time, of this process and its children; other people's load hardly changes it.
    """

    wall_s: float
    cpu_s: float

    @staticmethod
    def now() -> "Taken":
        """Both clocks. The children's ticks are of 10 ms."""
        return Taken(time.perf_counter(), time.process_time() + sum(os.times()[2:4]))

    def since(self, start: "Taken") -> "Taken":
        """What went by between two calls of `now`."""
        return Taken(self.wall_s - start.wall_s, self.cpu_s - start.cpu_s)


def taken(action: Callable[[], object]) -> Taken:
    """What a call takes."""
    started = Taken.now()
    action()
    return Taken.now().since(started)


def race(contestants: dict[str, Callable[[Path], object]], num_rounds: int) -> dict[str, list[Taken]]:
    """What each contestant took in each round, in an empty folder of its own, which is cleared outside the time.

    They take turns, so a busy machine is busy for all.
    """
    found: dict[str, list[Taken]] = {name: [] for name in contestants}
    for _ in range(num_rounds):
        for name, action in contestants.items():
            with tempfile.TemporaryDirectory() as folder:
                found[name].append(taken(lambda action=action, folder=folder: action(Path(folder))))  # type: ignore[misc]
    return found


def alternate(contestants: dict[str, Callable[[], Result]], num_rounds: int) -> dict[str, list[Result]]:
    """What each contestant returned in each round; every second round in reverse, so that a drift of the machine cancels."""
    results: dict[str, list[Result]] = {name: [] for name in contestants}
    for number in range(num_rounds):
        for name in list(contestants)[:: 1 if number % 2 == 0 else -1]:
            results[name].append(contestants[name]())
    return results


def median_ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """Median over the rounds of how many times longer `slow` took in the same round."""
    return float(np.median(np.array(slow) / np.array(fast)))
