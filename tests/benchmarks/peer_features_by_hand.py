"""Peer of a head-only study: what an expert writes for this one purpose, by hand, in one file that can do nothing else.

Photos are in memory, each backbone's features are computed once, and a trial is a linear layer on rows of one matrix.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from study.trial import Imbalance, OptimizerName
from tests.benchmarks.peer_bare_loop import Photos


@dataclass(frozen=True)
class Features:
    """One split behind a frozen backbone.

    Attributes:
        values: float32 [num_photos, num_features].
        labels: int64 [num_photos].
    """

    values: Tensor
    labels: Tensor


def compute_features(model: nn.Module, photos: Photos, batch_size: int = 32) -> Features:
    """What a new last layer of `model` would read."""
    drop_last_layer(model)
    model.eval()
    with torch.no_grad():
        parts = [model(photos.read(positions)[0]) for positions in torch.split(torch.arange(len(photos.labels)), batch_size)]
    return Features(torch.cat(parts), photos.labels)


def drop_last_layer(model: Any) -> None:
    """ResNet's `fc`; the last of `classifier` elsewhere."""
    if hasattr(model, "fc"):
        model.fc = nn.Identity()
    else:
        model.classifier[-1] = nn.Identity()


def run_trial(
    train: Features, val: Features, imbalance: Imbalance, optimizer_name: OptimizerName, lr: float, num_epochs: int, seed: int
) -> float:
    """Trains one head; returns its validation accuracy after the last epoch."""
    torch.manual_seed(seed)
    num_classes = int(train.labels.max()) + 1
    head = nn.Linear(train.values.shape[1], num_classes)
    optimizer = make_optimizer(optimizer_name, list(head.parameters()), lr)
    counts = torch.bincount(train.labels, minlength=num_classes)
    weights = 1 / counts if imbalance == "weighted_loss" else None
    kept = balanced_subset(train.labels, counts) if imbalance == "balanced_subset" else torch.arange(len(train.labels))
    accuracy = 0.0
    for _ in range(num_epochs):
        if imbalance == "weighted_sampling":
            order = torch.multinomial(1 / counts[train.labels], len(kept), replacement=True)
        else:
            order = kept[torch.randperm(len(kept))]
        for positions in torch.split(order, 64):
            optimizer.zero_grad()
            loss = functional.cross_entropy(head(train.values[positions]), train.labels[positions], weight=weights)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.no_grad():
            accuracy = float((head(val.values).argmax(1) == val.labels).float().mean())
    return accuracy


def make_optimizer(name: OptimizerName, parameters: list[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    """Fused where torch has it."""
    match name:
        case "sgd":
            return torch.optim.SGD(parameters, lr=lr, momentum=0.9, fused=True)
        case "adam":
            return torch.optim.Adam(parameters, lr=lr, fused=True)
        case "adamw":
            return torch.optim.AdamW(parameters, lr=lr, fused=True)
        case "rmsprop":
            return torch.optim.RMSprop(parameters, lr=lr, momentum=0.9)


def balanced_subset(labels: Tensor, counts: Tensor) -> Tensor:
    """As many photos of each class as the rarest has."""
    of_class = [torch.nonzero(labels == label)[:, 0] for label in range(len(counts))]
    return torch.cat([members[torch.randperm(len(members))[: int(counts.min())]] for members in of_class])
