"""From a trial's recipe to the end of its first step, in a running process whose data and activations are warm.

python -m tests.benchmarks.bench_warm_start
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from study.data.study_data import StudyData
from study.models.weights import ResolvedWeights
from study.trial import ComputeConfig, TrialConfig
from tests.benchmarks.core import Core, random_weights, step_times, subset
from tests.benchmarks.machine import Taken, describe_machine, describe_torch
from tests.benchmarks.photos import add_photos_argument, pack
from tests.benchmarks.report import Report, Row, add_report_argument, at_most, publish, table

SIZE_PX = 224
COMMAND = "python -m tests.benchmarks.bench_warm_start"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_photos_argument(parser)
    add_report_argument(parser)
    parser.add_argument("--backbones", nargs="+", default=["resnet18", "alexnet", "vgg16"])
    parser.add_argument("--train", type=int, default=128, help="training photos: VGG-16's activations take a second for five")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{describe_machine()}\n{describe_torch()}\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = subset(pack(arguments.photos, SIZE_PX, folder), arguments.train, arguments.train // 2)
        starts: dict[str, Sequence[Taken]] = {
            backbone: measure(Core(folder / "activations"), backbone, data, random_weights(backbone, folder), arguments.rounds)
            for backbone in arguments.backbones
        }
    publish(make_report(starts, data), arguments)


def measure(core: Core, backbone: str, data: StudyData, weights: ResolvedWeights, num_rounds: int) -> list[Taken]:
    """The first of these computes the activations; the others find them."""
    config = TrialConfig(backbone=backbone, freeze_depth=1.0, epochs=1, compute=ComputeConfig(precision="float32"))
    starts = []
    for seed in range(num_rounds + 1):
        started = Taken.now()
        with step_times() as times:
            core.train(config, data, weights, seed=seed)
        starts.append(times[0].since(started))
    return starts


def make_report(starts: dict[str, Sequence[Taken]], data: StudyData) -> Report:
    """A row and a line for each backbone."""
    rows, lines = [], []
    for backbone, (first, *warm) in starts.items():
        walls = [one.wall_s for one in warm]
        goal = at_most(float(np.median(walls)), 0.15, " s")
        rows.append(Row(f"start of a warm trial, {backbone} frozen, to the end of its first step", "—", *goal))
        processor_s = np.median([one.cpu_s for one in warm])
        cells = (np.median(walls), min(walls), max(walls), processor_s)
        lines.append((backbone, f"{first.wall_s:.2f}", *(f"{cell:.3f}" for cell in cells)))
    heading = ("", "cold: activations computed, s", "warm, median s", "best", "worst", "processor time, median s")
    note = f"{len(data.splits.train)} photos for training at {data.image_size} px; random weights from a file."
    return Report("Warm start", COMMAND, rows, f"{note}\n\n{table(heading, lines)}")


if __name__ == "__main__":
    main()
