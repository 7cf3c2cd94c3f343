"""Random batches from the packed array, against torchvision's `ImageFolder` and `DataLoader` with 2 workers.

python -m tests.benchmarks.bench_reading ../shared/data/clothing10/train
"""

import argparse
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
import torchvision

from study.data.images import Pixels
from study.data.packed import pack_images
from study.data.sources import FolderSource
from tests.benchmarks import peer_image_folder as peer
from tests.benchmarks.machine import describe_machine

SIZE_PX = 224
BATCH_SIZE = 64
NUM_EPOCHS = 40  # of ours, a round: an epoch takes milliseconds


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="class folders")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print(f"{describe_machine()}, torch {torch.__version__}, torchvision {torchvision.__version__}\n")
    with tempfile.TemporaryDirectory() as folder:
        images = pack_images(FolderSource(arguments.photos), SIZE_PX, Path(folder)).images
        epochs = peer.epochs(arguments.photos, SIZE_PX, BATCH_SIZE, num_workers=2)
        rounds = [(read_packed(images, seed), read_peer(next(epochs))) for seed in range(arguments.rounds + 1)]
    ours, theirs = np.array(rounds[1:]).T  # the first round starts the peer's workers
    print(f"{len(images):,} photos, {SIZE_PX} px, batches of {BATCH_SIZE}, {arguments.rounds} rounds\n")
    print("| reading | best images/s | median images/s |\n|---|---|---|")
    print(f"| packed array | {ours.max():,.0f} | {np.median(ours):,.0f} |")
    print(f"| ImageFolder + DataLoader, 2 workers | {theirs.max():,.0f} | {np.median(theirs):,.0f} |")
    print(
        f"\nratio: {np.median(ours / theirs):.0f}× (median of the rounds), {ours.max() / theirs.max():.0f}× best against best"
    )


def read_packed(images: Pixels, seed: int) -> float:
    """Images/s of `images[indices]`, as `ImageInputs.batch` reads them: copied out of the memory map."""
    generator = np.random.default_rng(seed)
    num_read = 0
    started_s = time.perf_counter()
    for _ in range(NUM_EPOCHS):
        order = generator.permutation(len(images))
        for start in range(0, len(order) - BATCH_SIZE + 1, BATCH_SIZE):
            num_read += len(torch.from_numpy(images[order[start : start + BATCH_SIZE]]))
    return num_read / (time.perf_counter() - started_s)


def read_peer(epoch: Iterable[torch.Tensor]) -> float:
    """Images/s of one epoch."""
    started_s = time.perf_counter()
    num_read = sum(len(batch) for batch in epoch)
    return num_read / (time.perf_counter() - started_s)


if __name__ == "__main__":
    main()
