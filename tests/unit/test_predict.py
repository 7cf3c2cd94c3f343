from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from study.errors import DataError, RegistryError
from study.models.classifier import build_classifier
from study.models.contract import ModelContract, TargetScale
from study.models.exported import load_exported, save_exported
from study.models.normalization import Normalizer
from study.models.weights import RANDOM_DIGEST, ResolvedWeights
from study.predict import Predictor
from study.trial import TrialConfig

CONFIG = TrialConfig(backbone="squeezenet1_1")


def export(folder: Path, views: tuple[str, ...] = (), target: TargetScale | None = None) -> Path:
    contract = ModelContract(
        task="class" if target is None else "number",
        classes=("cello", "viola", "violin") if target is None else (),
        target=target,
        example_views=views,
        image_size=32,
        normalization=Normalizer(kind="local"),
        backbone=CONFIG.backbone,
        head=CONFIG.head,
        freeze_depth=CONFIG.freeze_depth,
        data_digest="d",
        study="instruments",
        trial_number=0,
    )
    random = ResolvedWeights(None, RANDOM_DIGEST)
    plan = contract.head_plan
    model = build_classifier(CONFIG, plan.num_outputs, random, 0, image_size=32, num_views=plan.num_views)
    save_exported(folder, model, contract)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    generator = np.random.default_rng(0)
    files = [tmp_path / f"{name}.png" for name in ("a", "b", "c", "d")]
    for file in files:
        Image.fromarray(generator.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(file)
    return files


def test_a_photos_classes_come_with_their_probabilities(tmp_path: Path, photos: list[Path]) -> None:
    first, second, *_ = Predictor.load(str(export(tmp_path / "model")), "").predict(photos)
    told = first.as_dict()
    assert list(told) == ["image", "class", "probability", "probabilities"]
    assert told["image"] == str(photos[0])
    assert first.probability == max(first.probabilities.values())
    assert second.name == str(photos[1])


def test_a_model_of_numbers_tells_a_value(tmp_path: Path, photos: list[Path]) -> None:
    folder = export(tmp_path / "model", target=TargetScale(mean=8.0, std=1.0, is_log=True))
    predictions = Predictor.load(str(folder), "").predict(photos)
    expected = load_exported(folder).predict(photos)
    assert [prediction.as_dict() for prediction in predictions] == [
        {"image": str(photo), "value": float(value)} for photo, value in zip(photos, expected, strict=True)
    ]


def test_a_model_of_views_takes_their_photos_one_after_the_other(tmp_path: Path, photos: list[Path]) -> None:
    folder = export(tmp_path / "model", views=("front", "back"))
    first, second = Predictor.load(str(folder), "").predict(photos)
    expected = load_exported(folder).predict([(photos[0], photos[1]), (photos[2], photos[3])])
    assert list(second.probabilities.values()) == [float(value) for value in expected[1]]
    assert first.as_dict()["images"] == {"front": str(photos[0]), "back": str(photos[1])}
    assert first.name == f"{photos[0]}, {photos[1]}"


def test_a_number_of_photos_that_fills_no_examples_is_told_with_the_views(tmp_path: Path, photos: list[Path]) -> None:
    predictor = Predictor.load(str(export(tmp_path / "model", views=("front", "back"))), "")
    with pytest.raises(DataError, match=r"2 photos an example \(front, back\), but 3 were given\. Give a multiple of 2"):
        predictor.predict(photos[:3])


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="there is no folder"):
        Predictor.load(str(tmp_path / "nowhere"), "")
