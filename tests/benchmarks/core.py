"""The one place where the benchmarks call the training core: photos, weights, and a training from its recipe to its end."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torchvision
from safetensors.torch import save_file
from torch.optim.optimizer import register_optimizer_step_post_hook

from study.data.folds import Fold
from study.data.report import DataReport
from study.data.splits import Splits
from study.data.statistics import ChannelStatistics
from study.data.study_data import StudyData
from study.definition import Objective
from study.models.classifier import Classifier, build_classifier
from study.models.loaded_networks import LoadedNetworks
from study.models.weights import ResolvedWeights, resolve_weights
from study.training.activation_cache import ActivationCache
from study.training.loop import fit
from study.training.training import start_training
from study.trial import Measurement, TrialConfig
from tests.benchmarks.machine import Taken

CPU = torch.device("cpu")
IMAGENET = ChannelStatistics(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Trained:
    """What one training showed and left.

    Attributes:
        model: as it was after the last epoch.
        wall_s: seconds of all of it: building the model, opening its inputs, training and validation.
    """

    measurements: tuple[Measurement, ...]
    model: Classifier
    wall_s: float

    @property
    def train_images_per_s(self) -> float:
        """Of the last epoch's steps, data included and validation not."""
        return self.measurements[-1].metrics["train_images_per_s"]

    @property
    def data_share(self) -> float | None:
        """Share of the last epoch's steps that went into waiting for data; None where the core does not tell."""
        metrics = self.measurements[-1].metrics
        if "time_share_data" not in metrics:
            return None
        return metrics["time_share_data"] / (metrics["time_share_data"] + metrics["time_share_train"])


class Core:
    """What one process keeps between its trainings, as a worker does."""

    def __init__(self, activations_folder: Path | None = None, device: torch.device = CPU) -> None:
        """Nothing kept yet.

        Args:
            activations_folder: where activations of frozen stages are shared; None: each training computes its own.
        """
        self._device = device
        self._cache = ActivationCache(activations_folder)
        self._networks = LoadedNetworks(device)

    def build(self, config: TrialConfig, data: StudyData, weights: ResolvedWeights, seed: int = 0) -> Classifier:
        """The model that a training begins with."""
        return build_classifier(
            config,
            data.num_outputs,
            weights,
            seed,
            image_size=data.image_size,
            num_views=data.num_views,
            networks=self._networks,
        )

    def train(self, config: TrialConfig, data: StudyData, weights: ResolvedWeights, *, seed: int = 0) -> Trained:
        """The training that `config` describes, to its end."""
        started_s = time.perf_counter()
        model = self.build(config, data, weights, seed)
        training = start_training(
            model,
            data,
            config,
            seed=seed,
            device=self._device,
            weights_digest=weights.digest,
            objective=Objective(),
            cache=self._cache,
        )
        measurements = tuple(fit(training))
        return Trained(measurements, model, time.perf_counter() - started_s)


def random_weights(backbone: str, folder: Path) -> ResolvedWeights:
    """Weights drawn once and kept in a file, so that they have a digest as trained ones have. No speed depends on values."""
    file = folder / f"{backbone}.safetensors"
    if not file.exists():
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            folder.mkdir(parents=True, exist_ok=True)
            save_file(torchvision.models.get_model(backbone, weights=None).state_dict(), file)
    return resolve_weights(backbone, str(file), folder)


def subset(data: StudyData, num_train: int, num_val: int) -> StudyData:
    """The same data with the first so many photos of each split in a fixed random order, so that all classes are there."""
    generator = np.random.default_rng(0)
    train, val = (
        np.sort(generator.permutation(positions)[:number])
        for positions, number in ((data.splits.train, num_train), (data.splits.val, num_val))
    )
    fold = Fold(Splits(train, val, data.splits.test), data.statistics)
    return replace(data, folds=(fold,), fold=0, digest=f"{data.digest}-{len(train)}-{len(val)}")


def noise_data(num_train: int, size_px: int, num_classes: int = 10) -> StudyData:
    """Noise instead of photos, made on the spot; an eighth as many for validation."""
    generator = np.random.default_rng(0)
    num_val = max(num_train // 8, 1)
    num_photos = num_train + num_val
    images = generator.integers(0, 256, (num_photos, size_px, size_px, 3), dtype=np.uint8)
    empty = np.array([], dtype=np.int64)
    splits = Splits(np.arange(num_val, num_photos), np.arange(num_val), empty)
    return StudyData(
        folder=Path("unused"),
        images=images,
        labels=np.arange(num_photos) % num_classes,
        classes=tuple(f"class{number}" for number in range(num_classes)),
        photos=tuple(map(str, range(num_photos))),
        views=np.full(num_photos, ""),
        rows=np.arange(num_photos),
        folds=(Fold(splits, IMAGENET),),
        report=DataReport(),
        digest=f"noise-{num_photos}-{size_px}",
    )


@contextmanager
def step_times() -> Iterator[Sequence[Taken]]:
    """The clocks at the end of each optimiser step that is taken within the context, whoever takes it."""
    times: list[Taken] = []
    handle = register_optimizer_step_post_hook(lambda *_: times.append(Taken.now()))
    try:
        yield times
    finally:
        handle.remove()
