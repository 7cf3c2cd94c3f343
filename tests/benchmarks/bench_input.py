"""Normalised batches in random order, against torch's `DataLoader`; and what share of a training step they take.

python -m tests.benchmarks.bench_input ../shared/data/clothing10/train

What is fair: decoding once is our design, and packing has a benchmark of its own (bench_packing), so it is no part of the time
here; the peer that decodes at each epoch does so because its tutorial does. Our array holds the peer's squares, so that all
contestants give the same pixels: checked batch by batch to 1e-5, before the clock starts. The experts' peers hold the decoded
photos in memory, as ours does. Nobody augments.
"""

import argparse
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import Tensor
from torch.nn import functional
from torchvision.datasets import ImageFolder

from study.data.images import Pixels
from study.models.classifier import Classifier
from study.models.normalization import IMAGENET_MEAN, IMAGENET_STD, Normalizer
from study.training.batches import ImageInputs
from tests.benchmarks import peer_dataloader as peer
from tests.benchmarks.machine import describe_machine, median_ratio
from tests.benchmarks.peer_pillow_pool import square_of

BATCH_SIZE = 64
SIZES_PX = (224, 128)
STEP_SIZE_PX = 128
SMALLEST_ROUND_S = 0.5  # epochs are repeated until so much time has passed

Epoch = Callable[[], Iterable[Tensor]]


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="class folders")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12)
    arguments = parser.parse_args()
    print(f"{describe_machine()}, torch {torch.__version__} ({torch.get_num_threads()} threads)")
    paths = [Path(path) for path, _ in ImageFolder(str(arguments.photos)).samples]
    for size_px in SIZES_PX:
        images = np.stack([square_of(path, size_px) for path in paths])
        race_readers(arguments.photos, images, arguments.rounds)
        if size_px == STEP_SIZE_PX:
            print_share_of_step(images, arguments.steps)


def race_readers(root: Path, images: Pixels, num_rounds: int) -> None:
    """Prints how fast each contestant gives the same batches."""
    order = peer.Order()
    order.positions = np.random.default_rng(0).permutation(len(images)).tolist()
    photos = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    loader = peer.loader_with_workers(photos, BATCH_SIZE, order)
    inputs = inputs_of(images, Classifier({}, torch.nn.Identity(), num_frozen=0))
    size_px = images.shape[1]
    contestants: dict[str, Epoch] = {
        "ours": lambda: our_batches(inputs, np.array(order.positions)),
        "documented: Pillow chain, DataLoader, 2 workers": lambda: peer.documented(root, size_px, BATCH_SIZE, order),
        "expert: decoded in memory, v2, 2 lasting workers": lambda: (batch for batch, _ in loader),
        "expert: decoded in memory, v2 on whole batches": lambda: peer.in_batches(photos, BATCH_SIZE, order),
    }
    check_same_pixels(contestants)  # and the lasting workers are started
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for seed in range(num_rounds):
        order.positions = np.random.default_rng(seed).permutation(len(images)).tolist()
        for name, epoch in contestants.items():
            seconds[name].append(seconds_an_epoch(epoch))
    print(f"\n{len(images)} photos, {size_px} px, batches of {BATCH_SIZE}, {num_rounds} rounds\n")
    print("| normalised batches | images/s, median | best | ours is faster by (median of rounds) |\n|---|---|---|---|")
    for name, taken_s in seconds.items():
        ratio = "" if name == "ours" else f"**{median_ratio(taken_s, seconds['ours']):.1f}×**"
        print(f"| {name} | {len(images) / np.median(taken_s):,.0f} | {len(images) / min(taken_s):,.0f} | {ratio} |")


def inputs_of(images: Pixels, model: Classifier) -> ImageInputs:
    """The photos as a training reads them."""
    normalizer = Normalizer(kind="imagenet", mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return ImageInputs(images, normalizer, model, torch.device("cpu"))


def our_batches(inputs: ImageInputs, order: np.ndarray) -> Iterable[Tensor]:
    """An epoch."""
    batches = [order[start : start + BATCH_SIZE] for start in range(0, len(order), BATCH_SIZE)]
    return (inputs.enter(raw, None).activations for raw in inputs.read(batches))


def check_same_pixels(contestants: dict[str, Epoch]) -> None:
    """Checks that all give the same batches."""
    for batches in zip(*(epoch() for epoch in contestants.values()), strict=True):
        for other in batches[1:]:
            torch.testing.assert_close(other, batches[0], atol=1e-5, rtol=0)


def seconds_an_epoch(epoch: Epoch) -> float:
    """Wall time."""
    num_epochs = 0
    started_s = time.perf_counter()
    while True:
        for _ in epoch():
            pass
        num_epochs += 1
        elapsed_s = time.perf_counter() - started_s
        if elapsed_s > SMALLEST_ROUND_S:
            return elapsed_s / num_epochs


def print_share_of_step(images: Pixels, num_steps: int) -> None:
    """Prints what part of a full training step of ResNet-18 the input takes."""
    network = torchvision.models.resnet18(num_classes=10).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-2, momentum=0.9)
    inputs = inputs_of(images, Classifier({}, network, num_frozen=0))
    labels = torch.zeros(BATCH_SIZE, dtype=torch.int64)
    generator = np.random.default_rng(0)
    batches = [generator.choice(len(images), BATCH_SIZE, replace=False) for _ in range(num_steps + 2)]
    input_s, step_s = [], []
    reading = inputs.read(batches)
    for _ in batches:
        started_s = time.perf_counter()
        batch = inputs.enter(next(reading), None).activations
        entered_s = time.perf_counter()
        optimizer.zero_grad()
        functional.cross_entropy(network(batch), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        input_s.append(entered_s - started_s)
        step_s.append(time.perf_counter() - started_s)
    input_ms, step_ms = (1000 * float(np.median(taken[2:])) for taken in (input_s, step_s))
    print(f"\nResNet-18, all of it trained, {BATCH_SIZE} photos of {images.shape[1]} px a step, {num_steps} steps: ", end="")
    print(f"input {input_ms:.1f} ms of {step_ms:.0f} ms, **{input_ms / step_ms:.2%}**")


if __name__ == "__main__":
    main()
