"""1,024 occlusions of one photo, against as many bare forwards of the same network in batches of the same size.

python -m tests.benchmarks.bench_occlusion

What is fair: the bare forwards are given one batch that is ready in memory, again and again, so they are the floor of anything
that runs the network so often: nothing is read, painted, or kept. Ours starts from the photo's bytes and ends with the map.
Both run in inference mode, channels last, on as many threads. The contestants take turns, every second round in reverse.
The ratio is of processor time, which other people's load hardly changes; that of the clock stands beside it.
"""

import argparse
from collections.abc import Callable

import numpy as np
import torch

from study.analysis.activation import Unit, output_unit
from study.analysis.occlusion import Bubbles, occlude
from study.data.images import Pixels
from study.models.exported import ExportedModel
from tests.benchmarks.machine import Taken, alternate, describe_machine, describe_torch, median_ratio, taken
from tests.benchmarks.report import Report, Row, add_report_argument, at_most, publish, table
from tests.explained_models import contract_of, random_model, random_photos

SIZE_PX = 224
BATCH_SIZE = 32
CLASSES = tuple("abcdefghij")
# The fastest forward that we have first: there painting weighs most.
BACKBONES = ("alexnet", "squeezenet1_0", "resnet18")
GOAL = 1.2


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stride", type=int, help="px; default: 7, which is 1,024 circles")
    add_report_argument(parser)
    arguments = parser.parse_args()
    bubbles = Bubbles(stride_px=arguments.stride)
    num_circles = len(bubbles.centres(SIZE_PX))
    found = {name: race(name, bubbles, arguments.rounds) for name in arguments.backbones}
    rows = [
        Row(
            f"{num_circles:,} occlusions of one photo, {name}, {SIZE_PX} px, CPU",
            "as many bare forwards in the same batches",
            *at_most(ratio_of(rounds, lambda one: one.cpu_s), GOAL, "×"),
        )
        for name, rounds in found.items()
    ]
    report = Report("Occlusion", "python -m tests.benchmarks.bench_occlusion", rows, details_of(found, num_circles))
    print(f"{describe_machine()}\n{describe_torch()}\n")
    publish(report, arguments)


def race(backbone: str, bubbles: Bubbles, num_rounds: int) -> dict[str, list[Taken]]:
    """What occlusions and bare forwards took in each round; a first round, for warming up, is not counted."""
    model = random_model(contract_of(SIZE_PX, backbone=backbone, classes=CLASSES))
    model.module.to(memory_format=torch.channels_last)
    pixels = random_photos(1, SIZE_PX)
    unit = output_unit(model, pixels)
    num_circles = len(bubbles.centres(SIZE_PX))
    contestants = {
        "bare": lambda: taken(lambda: run_bare(model, pixels, num_circles)),
        "occlusions": lambda: taken(lambda: run_occlusions(model, pixels, unit, bubbles)),
    }
    rounds = alternate(contestants, num_rounds + 1)
    return {name: results[1:] for name, results in rounds.items()}


def run_bare(model: ExportedModel, pixels: Pixels, num_photos: int) -> None:
    """The network alone, on one batch of the photo, and at the end on what is left of one."""
    with torch.inference_mode():
        images = model.contract.normalization(torch.from_numpy(np.repeat(pixels, BATCH_SIZE, axis=0)))
        for start in range(0, num_photos, BATCH_SIZE):
            model.module(images[: num_photos - start])


def run_occlusions(model: ExportedModel, pixels: Pixels, unit: Unit, bubbles: Bubbles) -> None:
    """From bytes to the map."""
    occlude(model, pixels, unit, bubbles, BATCH_SIZE)


def ratio_of(rounds: dict[str, list[Taken]], seconds: Callable[[Taken], float]) -> float:
    """How many times longer occlusions took than bare forwards, median over the rounds."""
    return median_ratio([seconds(one) for one in rounds["occlusions"]], [seconds(one) for one in rounds["bare"]])


def details_of(found: dict[str, dict[str, list[Taken]]], num_circles: int) -> str:
    """Markdown."""
    lines = []
    for name, rounds in found.items():
        each_ms = [1000 * float(np.median([one.cpu_s for one in rounds[who]])) / num_circles for who in ("bare", "occlusions")]
        ratios = [ratio_of(rounds, seconds) for seconds in (lambda one: one.cpu_s, lambda one: one.wall_s)]
        lines.append([name, *(f"{value:.2f}" for value in each_ms), *(f"{value:.3f}×" for value in ratios)])
    heading = ["network", "bare, ms of processor a photo", "occluded", "ratio, processor", "ratio, clock"]
    return table(heading, lines)


if __name__ == "__main__":
    main()
