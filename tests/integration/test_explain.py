"""`study explain` and `study visualize` on real photos and real ImageNet weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from click.testing import Result
from PIL import Image

from study.analysis.activation import Activation, Unit, UnitKind, channel_unit, normalized
from study.analysis.activation_maximization import LEARNING_RATE, maximize_activation
from study.analysis.explanation import activation_of, pixels_of
from study.analysis.saliency_examples import saliency_examples
from study.data.images import Pixels
from study.models.classifier import build_classifier
from study.models.exported import ExportedModel, load_exported, save_exported
from study.models.weights import resolve_weights
from study.trial import TrialConfig
from tests.explained_models import contract_of

Invoke = Callable[..., Result]
SIZE_PX = 96
CLASSES = ("dress", "hat", "pants")
NUM_STEPS = 24
pytestmark = pytest.mark.shared_data


@pytest.fixture(scope="module")
def folder(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SqueezeNet with ImageNet's weights and a head drawn at random."""
    weights = str(shared_data / "weights" / "squeezenet1_0_imagenet.safetensors")
    config = TrialConfig(backbone="squeezenet1_0", weights=weights, freeze_depth=1.0)
    contract = contract_of(SIZE_PX, backbone="squeezenet1_0", classes=CLASSES, normalization="imagenet")
    resolved = resolve_weights(config.backbone, weights, shared_data)
    model = build_classifier(config, len(CLASSES), resolved, seed=0, image_size=SIZE_PX)
    made = tmp_path_factory.mktemp("model")
    save_exported(made, model, contract)
    return made


@pytest.fixture(scope="module")
def photos(shared_data: Path) -> list[Path]:
    return [sorted((shared_data / "clothing10" / "test" / name).glob("*.jpg"))[0] for name in CLASSES]


def explained(invoke: Invoke, *arguments: str | Path) -> list[dict[str, Any]]:
    result = invoke(["explain", *arguments, "--stride", "12", "--radius", "12", "--json"])
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def test_each_photo_gets_a_picture_and_a_sentence(invoke: Invoke, folder: Path, photos: list[Path], tmp_path: Path) -> None:
    found = explained(invoke, folder, *photos, "--out", tmp_path)
    said = load_exported(folder).predict(photos)
    for photo, entry, probabilities in zip(photos, found, said, strict=True):
        with Image.open(entry["file"]) as picture:
            assert picture.format == "PNG"
        assert entry["images"] == [str(photo)]
        assert entry["activation"] == pytest.approx(probabilities.max(), rel=1e-3)
        assert entry["explained"] == f"probability of {CLASSES[probabilities.argmax()]}"
        assert "circle" in entry["sentence"]


def test_a_class_map_is_one_picture_of_all_photos_by_all_methods(
    invoke: Invoke, folder: Path, photos: list[Path], tmp_path: Path
) -> None:
    [entry] = explained(invoke, folder, *photos, "--class", "hat", "--class-map", "--method", "all", "--out", tmp_path)
    assert Path(entry["file"]).name == "class_map_hat.png"
    assert entry["methods"] == ["occlusion", "grad_cam", "integrated_gradients"]
    assert entry["sentence"].startswith("Mean of 3 examples")


def test_a_unit_of_a_stage_is_explained(invoke: Invoke, folder: Path, photos: list[Path], tmp_path: Path) -> None:
    [entry] = explained(invoke, folder, photos[0], "--layer", "fire5", "--unit", "7", "--out", tmp_path)
    model = load_exported(folder)
    unit = Unit(UnitKind.CHANNEL, 7, "fire5")
    assert entry["activation"] == pytest.approx(activation_of(model, pixels_of(model, [photos[0]]), unit), rel=1e-4)


def test_photos_of_one_name_do_not_overwrite_each_other(
    invoke: Invoke, folder: Path, photos: list[Path], tmp_path: Path
) -> None:
    same = tmp_path / "other" / photos[0].name
    same.parent.mkdir()
    same.write_bytes(photos[1].read_bytes())
    found = explained(invoke, folder, photos[0], same, "--method", "grad_cam", "--out", tmp_path / "out")
    assert len({entry["file"] for entry in found}) == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--class", "drss"], "`drss`. Did you mean `dress`"),
        (["--radius", "48"], "96 × 96 px, but --radius is 48 px. Give --radius from 1 to 47"),
        (["--stride", "99"], "Give --stride 21 or less"),
        (["--layer", "fire5"], "--layer and --unit go together"),
        (["--layer", "fire5", "--unit", "999"], "has channels 0 to 255"),
        (["--layer", "fire5", "--unit", "1", "--class", "hat"], "both --class and --layer"),
        (["--class-map"], "Give --class, one of: dress, hat, pants"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    arguments: list[str], told: str, invoke: Invoke, folder: Path, photos: list[Path], tmp_path: Path
) -> None:
    result = invoke(["explain", folder, photos[0], *arguments, "--out", tmp_path / "out"])
    assert result.exit_code == 2
    assert told in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_photo_is_told_before_anything_is_drawn(
    invoke: Invoke, folder: Path, photos: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    result = invoke(["explain", folder, photos[0], broken, "--out", tmp_path / "out"])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "broken.jpg" in result.stderr
    assert not (tmp_path / "out").exists()


def high_frequency_share(photos: Pixels) -> float:
    """Of the energy that is not the mean colour: what lies above half of the highest frequency, in [0, 1]."""
    energy = np.abs(np.fft.fft2(photos.astype(float), axes=(1, 2))) ** 2
    frequencies = np.abs(np.fft.fftfreq(photos.shape[1]))
    is_high = np.maximum(frequencies[:, None], frequencies[None]) > 0.25
    energy[:, 0, 0] = 0
    return float(energy[:, is_high].sum() / energy.sum())


def ascend_pixels(model: ExportedModel, unit: Unit) -> Pixels:
    """The naive way: pixels themselves, by the same optimizer for as many steps."""
    logits = (0.01 * torch.randn(1, 3, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(0))).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=LEARNING_RATE)
    for _ in range(NUM_STEPS):
        loss = -Activation(model, unit)(normalized(logits.sigmoid(), model.contract.normalization)).sum()
        (logits.grad,) = torch.autograd.grad(loss, [logits])
        optimizer.step()
    pixels: Pixels = (logits.detach().sigmoid() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return pixels


@pytest.mark.parametrize(("stage", "channel"), [("fire5", 10), ("fire9", 100)])
def test_an_image_excites_a_channel_more_than_photos_do_and_is_less_noise_than_pixel_ascent(
    stage: str, channel: int, folder: Path, shared_data: Path
) -> None:
    model = load_exported(folder)
    unit = channel_unit(model, stage, channel)
    made = maximize_activation(model, unit, num_images=1, steps=NUM_STEPS)
    files = sorted((shared_data / "clothing10" / "test").glob("*/*.jpg"))[::12]
    squares: npt.NDArray[np.uint8] = np.concatenate([pixels_of(model, [file]) for file in files])
    with torch.no_grad():
        of_photos = Activation(model, unit)(model.contract.normalization(torch.from_numpy(squares)))
    assert made.activations[0] > 1.5 * float(of_photos.max())
    assert made.activations[0] > 5 * made.starts[0]
    assert high_frequency_share(made.pixels[:, 0]) < 0.5 * high_frequency_share(ascend_pixels(model, unit))


def test_visualize_writes_images_and_a_sheet(invoke: Invoke, folder: Path, tmp_path: Path) -> None:
    result = invoke(["visualize", folder, "--class", "hat", "--images", "2", "--steps", "3", "--out", tmp_path, "--json"])
    assert result.exit_code == 0, result.output
    made = json.loads(result.stdout)
    assert [Path(file).name for file in made["images"]] == ["hat-1.png", "hat-2.png"]
    with Image.open(made["images"][0]) as image:
        assert image.size == (SIZE_PX, SIZE_PX)
    assert Path(made["sheet"]).is_file()
    assert len(made["activations"]) == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Give --class, one of: dress, hat, pants; or --channel and --stage, one of: conv1, fire2"),
        (["--class", "het"], "Did you mean `hat`"),
        (["--stage", "fire2"], "--stage STAGE and --channel NUMBER together"),
        (["--stage", "fire2", "--channel", "500"], "has channels 0 to 127"),
    ],
)
def test_what_is_to_be_visualised_must_be_named(arguments: list[str], told: str, invoke: Invoke, folder: Path) -> None:
    result = invoke(["visualize", folder, *arguments])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert told in result.stderr


def test_a_report_gets_right_and_wrong_examples_with_captions(folder: Path, photos: list[Path]) -> None:
    model = load_exported(folder)
    probabilities = model.predict(photos)
    labels = probabilities.argmax(axis=1)
    labels[0] = (labels[0] + 1) % 3
    found = saliency_examples(model, photos, labels, probabilities)
    assert sorted(caption.partition(":")[0] for _, caption in found) == ["right", "right", "wrong"]
    assert all(picture.startswith(b"\x89PNG") for picture, _ in found)
