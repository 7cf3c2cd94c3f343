"""What the peers of bench_overhead, bench_end_to_end and bench_time_to_target search, and what their trials do: nothing, or a
real training.

The training is that of the transfer-learning tutorial: torchvision's network with ImageNet weights, a new last layer, part of
the stages frozen, SGD with momentum, an evaluation an epoch. Where it is tuned, photos are decoded once a process, normalised
in whole batches, and the frozen stages are left out of the backward pass, as an expert writes it for any freeze depth.
Sources: docs.pytorch.org/tutorials/beginner/transfer_learning_tutorial.html, and "Finetuning Torchvision Models" there.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray import tune
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from study.models.weight_files import read_tensors
from tests.benchmarks.no_op_trial import NUM_EPOCHS, values
from tests.benchmarks.peer_bare_loop import freeze, make_network_with, replace_last_layer
from tests.benchmarks.peer_pillow_pool import square_of
from tests.benchmarks.photos import CLOTHING, SQUEEZENET_WEIGHTS

OBJECTIVE = "val_balanced_accuracy"
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
Work = Callable[[Mapping[str, Any]], Iterator[dict[str, float]]]

NO_OP_SPACE = {
    "backbone": tune.choice(["alexnet", "vgg16", "resnet18"]),
    "head": tune.choice(["replace", "append"]),
    "normalization": tune.choice(["imagenet", "global", "local"]),
    "imbalance": tune.choice(["none", "weighted_loss", "balanced_subset", "weighted_sampling"]),
    "freeze_depth": tune.choice([0.0, 0.5, 1.0]),
    "optimizer": tune.choice(["adam", "sgd"]),
    "lr": tune.loguniform(1e-5, 1e-1),
    "backbone_lr_ratio": tune.loguniform(1e-3, 1.0),
    "momentum": tune.uniform(0.8, 0.99),
    "weight_decay": tune.loguniform(1e-6, 1e-2),
    "dropout": tune.uniform(0.0, 0.7),
    "batch_size": tune.qrandint(16, 128, 16),
}
CLOTHING_SPACE = {"freeze_depth": tune.choice([0.5, 1.0]), "lr": tune.loguniform(3e-4, 1e-2)}
RACE_SPACE = {
    "freeze_depth": tune.choice([0.0, 0.5, 1.0]),
    "lr": tune.loguniform(1e-5, 1e-1),
    "optimizer": tune.choice(["adam", "sgd"]),
}
SPACES = {"no-op": NO_OP_SPACE, "clothing": CLOTHING_SPACE, "clothing-race": RACE_SPACE}


def space_of(work: str) -> dict[str, Any]:
    """What is searched, in Ray's words."""
    return SPACES[work]


def work_of(work: str, num_epochs: int, *, is_tuned: bool, root: Path = Path()) -> Work:
    """What a trial does: yields an epoch's metrics, epoch after epoch.

    Args:
        root: the project's; a worker's own folder is another.
    """
    if work == "no-op":
        return no_op
    return lambda config: train(config, num_epochs, is_tuned=is_tuned, root=root)


def no_op(config: Mapping[str, Any]) -> Iterator[dict[str, float]]:
    """Nothing, ten times."""
    return (values(epoch, config["lr"]) for epoch in range(1, NUM_EPOCHS + 1))


def train(config: Mapping[str, Any], num_epochs: int, *, is_tuned: bool, root: Path) -> Iterator[dict[str, float]]:
    """One training of SqueezeNet on clothing10."""
    torch.manual_seed(0)
    batches = decoded_once if is_tuned else documented
    model = make_network_with("squeezenet1_0", read_tensors(root / SQUEEZENET_WEIGHTS))
    set_train = _freeze_share(model, config["freeze_depth"])
    replace_last_layer(model, 10)
    optimizer = _optimizer([one for one in model.parameters() if one.requires_grad], config)
    for _ in range(num_epochs):
        set_train()
        losses = []
        for images, labels in batches(root / CLOTHING, "train"):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(images), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(float(loss.detach()))
        yield {"train_loss": float(np.mean(losses)), **_evaluate(model, batches(root / CLOTHING, "validation"))}


def _optimizer(parameters: list[nn.Parameter], config: Mapping[str, Any]) -> torch.optim.Optimizer:
    if config.get("optimizer") == "adam":
        return torch.optim.Adam(parameters, lr=config["lr"])
    return torch.optim.SGD(parameters, lr=config["lr"], momentum=0.9)


def documented(root: Path, split: str) -> Iterator[tuple[Tensor, Tensor]]:
    """The tutorial's input: every photo decoded again in every epoch, by two worker processes."""
    if split == "train":
        chain = [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip()]
    else:
        chain = [transforms.Resize(256), transforms.CenterCrop(224)]
    chain += [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    photos = ImageFolder(str(root / split), transforms.Compose(chain))
    return iter(DataLoader(photos, batch_size=64, shuffle=split == "train", num_workers=2))


def decoded_once(root: Path, split: str) -> Iterator[tuple[Tensor, Tensor]]:
    """An expert's: bytes in memory, whole batches normalised."""
    photos, labels = _decoded(root, split)
    order = torch.randperm(len(labels)) if split == "train" else torch.arange(len(labels))
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    for positions in torch.split(order, 64):
        yield (photos[positions] / 255 - mean) / std, labels[positions]


@cache
def _decoded(root: Path, split: str) -> tuple[Tensor, Tensor]:
    """uint8 [num_photos, 3, 224, 224] and labels, kept by the process."""
    folder = ImageFolder(str(root / split))
    squares = [torch.from_numpy(square_of(Path(path), 224)).permute(2, 0, 1) for path, _ in folder.samples]
    return torch.stack(squares), torch.tensor(folder.targets)


def _freeze_share(model: nn.Module, depth: float) -> Callable[[], object]:
    """Freezes as many of SqueezeNet's stages as the share says."""
    from study.models.backbones import cut

    num_stages = len(cut("squeezenet1_0", model).stages)
    return freeze("squeezenet1_0", model, round(depth * num_stages))


def _evaluate(model: nn.Module, batches: Iterator[tuple[Tensor, Tensor]]) -> dict[str, float]:
    model.eval()
    with torch.no_grad():
        parts = [(model(images), labels) for images, labels in batches]
    logits, labels = torch.cat([one for one, _ in parts]), torch.cat([one for _, one in parts])
    is_right = logits.argmax(1) == labels
    recalls = [float(is_right[labels == label].float().mean()) for label in range(int(labels.max()) + 1)]
    return {"val_loss": float(functional.cross_entropy(logits, labels)), OBJECTIVE: float(np.mean(recalls))}
