"""Peer of training: the bare PyTorch loop over photos that are normalised and in memory. No metrics, no logging.

Twice: as every tutorial writes it, and as an expert tunes it (channels last in memory and in the model, fused optimiser,
bf16 where asked). Source: "Training with PyTorch" and "Channels Last Memory Format in PyTorch", docs.pytorch.org/tutorials.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from study.data.study_data import StudyData
from study.models.backbones import cut

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


@dataclass(frozen=True)
class Photos:
    """One split in memory.

    Attributes:
        images: float32, [num_photos, 3, size, size], or [num_photos, size, size, 3] where tuned.
        labels: int64 [num_photos].
    """

    images: Tensor
    labels: Tensor
    is_tuned: bool

    def read(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Images [n, 3, size, size] and labels."""
        images = self.images[positions]
        return (images.permute(0, 3, 1, 2) if self.is_tuned else images), self.labels[positions]


def load_photos(data: StudyData, split: str, *, is_tuned: bool = False) -> Photos:
    """All photos of "train" or "val", normalised with ImageNet's statistics."""
    positions = getattr(data.splits, split)
    images = (torch.from_numpy(data.images[positions]) / 255 - MEAN) / STD
    if not is_tuned:
        images = images.permute(0, 3, 1, 2).contiguous()
    return Photos(images, torch.from_numpy(data.labels[positions]), is_tuned)


def make_model(backbone: str, state: dict[str, Tensor], num_classes: int, *, is_tuned: bool = False) -> nn.Module:
    """torchvision's network with these weights and a new last layer."""
    model = make_network_with(backbone, state)
    replace_last_layer(model, num_classes)
    return model.to(memory_format=torch.channels_last) if is_tuned else model


def make_network_with(backbone: str, state: dict[str, Tensor]) -> nn.Module:
    """torchvision's network with these weights, its 1000-way last layer included."""
    network: nn.Module = torchvision.models.get_model(backbone, weights=None)
    network.load_state_dict(state)
    return network


def replace_last_layer(model: Any, num_classes: int) -> None:
    """Source: "Finetuning Torchvision Models", docs.pytorch.org/tutorials: one way for each family."""
    if hasattr(model, "fc"):
        model.fc = nn.Linear(model.fc.in_features, num_classes)
    elif isinstance(model.classifier[-1], nn.Linear):
        model.classifier[-1] = nn.Linear(model.classifier[-1].in_features, num_classes)
    else:  # SqueezeNet
        model.classifier[1] = nn.Conv2d(model.classifier[1].in_channels, num_classes, kernel_size=1)


def freeze(backbone: str, model: nn.Module, num_frozen: int) -> Callable[[], None]:
    """Freezes the first stages as tutorials do: no gradient, and batch norm in evaluation.

    Returns:
        What to call instead of `model.train()`.
    """
    frozen = list(cut(backbone, model).stages.values())[:num_frozen]
    for stage in frozen:
        stage.requires_grad_(False)

    def set_train() -> None:
        model.train()
        for stage in frozen:
            stage.eval()

    return set_train


def sgd(parameters: list[nn.Parameter], is_tuned: bool) -> torch.optim.Optimizer:
    """The tutorials' optimiser and its values."""
    return torch.optim.SGD(parameters, lr=1e-3, momentum=0.9, fused=True if is_tuned else None)


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    photos: Photos,
    batch_size: int,
    *,
    is_bfloat16: bool = False,
    set_train: Callable[[], object] | None = None,
) -> None:
    """Every photo once, in random order.

    Args:
        set_train: instead of `model.train()`, where some layers must stay in evaluation.
    """
    (set_train or model.train)()
    for positions in torch.split(torch.randperm(len(photos.labels)), batch_size):
        images, labels = photos.read(positions)
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=is_bfloat16):
            loss = functional.cross_entropy(model(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def validate(model: nn.Module, photos: Photos, batch_size: int, *, is_bfloat16: bool = False) -> int:
    """How many photos are classified correctly."""
    model.eval()
    num_correct = 0
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=is_bfloat16):
        for positions in torch.split(torch.arange(len(photos.labels)), batch_size):
            images, labels = photos.read(positions)
            num_correct += int((model(images).argmax(1) == labels).sum())
    return num_correct
