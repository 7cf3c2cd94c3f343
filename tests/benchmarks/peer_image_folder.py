"""Peer of reading from the packed array: torchvision's `ImageFolder` behind a `DataLoader`."""

from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from tests.benchmarks.peer_pillow_pool import square_of


class Squares(ImageFolder):  # type: ignore[misc]  # torchvision is not typed
    """Photos in class folders as the same squares as ours, left as bytes: no time goes into normalisation on either side."""

    def __init__(self, root: Path, size_px: int) -> None:
        super().__init__(
            str(root), loader=lambda path: Image.fromarray(square_of(Path(path), size_px)), transform=v2.PILToTensor()
        )


def epochs(root: Path, size_px: int, batch_size: int, num_workers: int) -> Iterator[Iterator[Tensor]]:
    """Batches uint8 [batch_size, 3, size_px, size_px] in random order, epoch after epoch; the workers live on between them."""
    loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
        Squares(root, size_px),
        batch_size=batch_size,
        shuffle=True,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        drop_last=True,
        generator=torch.Generator().manual_seed(0),
        multiprocessing_context="fork" if num_workers else None,
    )
    while True:
        yield (batch for batch, _ in loader)
