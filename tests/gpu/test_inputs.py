import time

import numpy as np
import pytest
import torch
from torch import nn

from study.models.classifier import Classifier
from study.models.normalization import Normalizer
from study.training import photo_reading
from study.training.augmentation import Augmentation
from study.training.batches import ImageInputs
from study.training.photo_reading import MappedPhotos, ResidentPhotos, StreamedPhotos, open_reader
from study.trial import AugmentationConfig

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

CPU = torch.device("cpu")
GPU = torch.device("cuda", 0)
PHOTOS = np.random.default_rng(0).integers(0, 256, (500, 64, 64, 3), dtype=np.uint8)
BATCHES = [np.random.default_rng(seed).integers(0, 500, size) for seed, size in enumerate((64, 64, 64, 64, 64, 64, 7))]


def test_photos_that_fit_are_resident_and_the_others_are_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(open_reader(PHOTOS, np.arange(500), GPU), ResidentPhotos)
    monkeypatch.setattr(photo_reading, "RESIDENT_SHARE", 0.0)
    assert isinstance(open_reader(PHOTOS, np.arange(500), GPU), StreamedPhotos)


def test_only_photos_in_use_are_resident() -> None:
    reader = open_reader(PHOTOS, np.array([5, 3, 5, 400]), GPU)
    assert isinstance(reader, ResidentPhotos)
    assert len(reader.pixels) == 3
    (batch,) = reader.read([np.array([400, 3])])
    assert np.array_equal(batch.cpu().numpy(), PHOTOS[[400, 3]])


@pytest.mark.parametrize("is_resident", [True, False])
def test_every_batch_arrives_whole_while_the_gpu_is_busy(is_resident: bool) -> None:
    reader = open_reader(PHOTOS, np.arange(500), GPU) if is_resident else StreamedPhotos(PHOTOS, GPU)
    load = torch.randn(4096, 4096, device=GPU)
    sums, kept = [], []
    for batch in reader.read(BATCHES * 5):
        for _ in range(4):  # the stream is behind the host: a buffer that is used again too early would show
            load = (load @ load).clamp_(-1, 1)
        sums.append(batch.long().sum(dim=(1, 2, 3)))
        kept.append(batch.float().mean())
        del batch
    for found, photos in zip(sums, BATCHES * 5, strict=True):
        assert np.array_equal(found.cpu().numpy(), PHOTOS[photos].sum(axis=(1, 2, 3)))


def test_reading_stops_where_the_caller_stops() -> None:
    reader = StreamedPhotos(PHOTOS, GPU)
    for _ in range(3):
        batches = reader.read(BATCHES)
        next(batches)
        del batches
    assert len(list(reader.read(BATCHES))) == len(BATCHES)


def test_asking_for_a_resident_batch_does_not_wait_for_the_gpu() -> None:
    config = AugmentationConfig(flip=0.5, crop=0.3, rotation=10, color_jitter=0.4, cutout=0.2, mixing="cutmix")
    inputs = inputs_on(GPU, config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _ in range(2):  # the first time, memory is taken
            load = torch.randn(8192, 8192, device=GPU)
            torch.cuda.synchronize()
            started_s = time.perf_counter()
            for _ in range(40):
                load = (load @ load).clamp_(-1, 1)
            for raw in inputs.read(BATCHES):
                inputs.enter(raw, generator)
            asked_s = time.perf_counter() - started_s
            torch.cuda.synchronize()
            done_s = time.perf_counter() - started_s
    assert asked_s < 0.5 * done_s


def inputs_on(device: torch.device, augmentation: AugmentationConfig) -> ImageInputs:
    model = Classifier({}, nn.Flatten(), num_frozen=0)
    normalizer = Normalizer(kind="imagenet", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    return ImageInputs(PHOTOS, normalizer, model, device, augmentation=augmentation)


@pytest.mark.parametrize("mixing", ["none", "mixup", "cutmix"])
def test_a_gpu_makes_the_same_of_a_photo_as_a_cpu(mixing: str) -> None:
    values = {"flip": 0.5, "crop": 0.3, "rotation": 10.0, "color_jitter": 0.4, "cutout": 0.2, "mixing": mixing}
    config = AugmentationConfig.model_validate(values)
    on_cpu, on_gpu = (inputs_on(device, config) for device in (CPU, GPU))
    for raw, sent in zip(on_cpu.read(BATCHES), on_gpu.read(BATCHES), strict=True):
        expected = on_cpu.enter(raw, torch.Generator().manual_seed(1)).activations
        found = on_gpu.enter(sent, torch.Generator().manual_seed(1)).activations
        # A pixel's place is rounded otherwise: a few are read elsewhere by a thousandth of a pixel.
        torch.testing.assert_close(found.cpu(), expected, atol=5e-3, rtol=0)


def test_mirrored_photos_are_the_same_bytes_on_a_gpu() -> None:
    augmentation = Augmentation(AugmentationConfig(flip=0.5, cutout=0.2))
    (pixels,) = MappedPhotos(PHOTOS, CPU).read(BATCHES[:1])
    expected = augmentation(pixels, torch.Generator().manual_seed(1))
    assert torch.equal(augmentation(pixels.to(GPU), torch.Generator().manual_seed(1)).cpu(), expected)
