"""Peers of normalised batches: torchvision's transforms behind torch's `DataLoader`.

`documented` is the chain of the transfer-learning tutorial: `ImageFolder`, Pillow, `ToTensor`, `Normalize`, worker processes.
It pads in place of the tutorial's centre crop, as ours does, so that both give the same pixels.
`loader_with_workers` and `in_batches` are what an expert makes of it, for photos that fit in memory: decoded once, into a
tensor, transforms of version 2, worker processes that stay; or no workers, and the transforms applied to whole batches.
Source: https://docs.pytorch.org/tutorials/beginner/transfer_learning_tutorial.html
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from tests.benchmarks.peer_pillow_pool import square_of

NUM_WORKERS = 2
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


class Order(torch.utils.data.Sampler[int]):
    """Positions that are set before each epoch, so that all contestants give the same batches."""

    def __init__(self) -> None:
        self.positions: Sequence[int] = ()

    def __iter__(self) -> Iterator[int]:
        return iter(self.positions)

    def __len__(self) -> int:
        return len(self.positions)


class Padded:
    """Resize and pad, in Pillow."""

    def __init__(self, size_px: int) -> None:
        self._size_px = size_px

    def __call__(self, path: str) -> Image.Image:
        """The photo as a square."""
        return Image.fromarray(square_of(Path(path), self._size_px))


class InMemory(Dataset[tuple[Tensor, int]]):
    """Photos that were decoded before, uint8 [num_photos, 3, size, size]."""

    def __init__(self, photos: Tensor, transform: v2.Transform) -> None:
        self._photos = photos
        self._transform = transform

    def __len__(self) -> int:
        return len(self._photos)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(self._photos[index]), 0


def documented(root: Path, size_px: int, batch_size: int, order: Order) -> Iterator[Tensor]:
    """Batches float32 [batch_size, 3, size_px, size_px]; an epoch, as all of these."""
    chain = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    photos = ImageFolder(str(root), loader=Padded(size_px), transform=chain)
    loader = DataLoader(photos, batch_size=batch_size, sampler=order, num_workers=NUM_WORKERS, multiprocessing_context="fork")
    return (batch for batch, _ in loader)


def loader_with_workers(photos: Tensor, batch_size: int, order: Order) -> DataLoader[tuple[Tensor, int]]:
    """Expert's: each epoch is an iteration; the workers live on between them."""
    return DataLoader(
        InMemory(photos, _transforms()),
        batch_size=batch_size,
        sampler=order,
        num_workers=NUM_WORKERS,
        persistent_workers=True,
        prefetch_factor=4,
        multiprocessing_context="fork",
    )


def in_batches(photos: Tensor, batch_size: int, order: Order) -> Iterator[Tensor]:
    """Expert's: indexing and transforms on whole batches, in this process."""
    transform = _transforms()
    for positions in torch.split(torch.tensor(order.positions), batch_size):
        yield transform(photos[positions])


def _transforms() -> v2.Transform:
    return v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])
