"""Peer of a head-only study: "ConvNet as fixed feature extractor", as the tutorial writes it, trial after trial.

The same transforms, the same `DataLoader` over `ImageFolder`, the same loop: every epoch decodes every photo, sends it through
the frozen layers, measures accuracy and keeps the best weights in a file.
Source: "Transfer Learning for Computer Vision Tutorial", docs.pytorch.org/tutorials/beginner/transfer_learning_tutorial.html.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn, optim
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from tests.benchmarks.peer_bare_loop import replace_last_layer

NORMALIZE = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
TRANSFORMS = {
    "train": transforms.Compose(
        [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.ToTensor(), NORMALIZE]
    ),
    "validation": transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), NORMALIZE]),
}


@dataclass(frozen=True)
class Trial:
    """What one trial took, in seconds.

    Attributes:
        epoch_s: each epoch's loop over both splits.
        rest_s: building the model, and writing and reading its best weights.
    """

    epoch_s: tuple[float, ...]
    rest_s: float


def run_trial(photos: Path, make_model: Callable[[], nn.Module], num_epochs: int, batch_size: int, num_workers: int) -> Trial:
    """One training of a new last layer on frozen features.

    Args:
        photos: holds `train` and `validation`, each with a folder for every class.
        make_model: returns torchvision's network with its weights.
    """
    started_s = time.perf_counter()
    folders = {split: datasets.ImageFolder(str(photos / split), transform) for split, transform in TRANSFORMS.items()}
    loaders = {
        split: DataLoader(folder, batch_size=batch_size, shuffle=True, num_workers=num_workers)
        for split, folder in folders.items()
    }
    model = make_model()
    for parameter in model.parameters():
        parameter.requires_grad = False
    replace_last_layer(model, len(folders["train"].classes))
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.SGD([one for one in model.parameters() if one.requires_grad], lr=0.001, momentum=0.9)
    scheduler = lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)
    epoch_s = _train_model(model, criterion, optimizer, scheduler, loaders, num_epochs)
    return Trial(tuple(epoch_s), time.perf_counter() - started_s - sum(epoch_s))


def _train_model(
    model: nn.Module,
    criterion: nn.Module,
    optimizer: optim.Optimizer,
    scheduler: lr_scheduler.LRScheduler,
    loaders: dict[str, DataLoader[tuple[Tensor, Tensor]]],
    num_epochs: int,
) -> list[float]:
    epoch_s = []
    with tempfile.TemporaryDirectory() as folder:
        best_file = Path(folder) / "best_model_params.pt"
        torch.save(model.state_dict(), best_file)
        best_accuracy = 0.0
        for _ in range(num_epochs):
            started_s = time.perf_counter()
            _run_phase(model, criterion, optimizer, loaders["train"], is_training=True)
            scheduler.step()
            accuracy = _run_phase(model, criterion, optimizer, loaders["validation"], is_training=False)
            epoch_s.append(time.perf_counter() - started_s)
            if accuracy > best_accuracy:
                best_accuracy = accuracy
                torch.save(model.state_dict(), best_file)
        model.load_state_dict(torch.load(best_file, weights_only=True))
    return epoch_s


def _run_phase(
    model: nn.Module,
    criterion: nn.Module,
    optimizer: optim.Optimizer,
    loader: DataLoader[tuple[Tensor, Tensor]],
    *,
    is_training: bool,
) -> float:
    model.train(is_training)
    running_loss, running_corrects, num_photos = 0.0, 0, 0
    for inputs, labels in loader:
        optimizer.zero_grad()
        with torch.set_grad_enabled(is_training):
            outputs = model(inputs)
            _, predictions = torch.max(outputs, 1)
            loss = criterion(outputs, labels)
            if is_training:
                loss.backward()
                optimizer.step()
        running_loss += loss.item() * inputs.size(0)
        running_corrects += int(torch.sum(predictions == labels.data))
        num_photos += len(labels)
    return running_corrects / num_photos
