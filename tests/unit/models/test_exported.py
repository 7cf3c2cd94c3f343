import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from study.data.images import fit_to_square
from study.data.statistics import ChannelStatistics
from study.errors import DataError, ModelError
from study.models.classifier import Classifier, build_classifier
from study.models.exported import CONTRACT_FILE, WEIGHTS_FILE, ModelContract, load_exported, save_exported
from study.models.normalization import make_normalizer
from study.models.weights import RANDOM_DIGEST, ResolvedWeights
from study.trial import Head, TrialConfig

CLASSES = ("cello", "viola", "violin")
STATISTICS = ChannelStatistics(mean=(0.2, 0.4, 0.6), std=(0.1, 0.2, 0.3))


def export(folder: Path, backbone: str = "squeezenet1_1", head: Head = "replace") -> tuple[Classifier, ModelContract]:
    config = TrialConfig(backbone=backbone, head=head, freeze_depth=0.5)
    model = build_classifier(config, len(CLASSES), ResolvedWeights(None, RANDOM_DIGEST), seed=0)
    contract = ModelContract(
        classes=CLASSES,
        image_size=32,
        normalization=make_normalizer("global", STATISTICS),
        backbone=config.backbone,
        head=config.head,
        freeze_depth=config.freeze_depth,
        data_digest="d" * 16,
        study="violins",
        trial_number=7,
        metrics={"test_accuracy": 0.9},
    )
    save_exported(folder, model, contract)
    return model, contract


def photos(number: int) -> list[Image.Image]:
    generator = np.random.default_rng(0)
    return [Image.fromarray(generator.integers(0, 256, (40, 20 + index, 3), dtype=np.uint8)) for index in range(number)]


@pytest.mark.parametrize(
    ("backbone", "head"), [("squeezenet1_1", "replace"), ("squeezenet1_1", "append"), ("resnet18", "replace")]
)
def test_an_exported_model_gives_the_trained_models_probabilities(backbone: str, head: Head, tmp_path: Path) -> None:
    model, contract = export(tmp_path, backbone, head)
    pixels = torch.tensor(np.stack([fit_to_square(photo, 32) for photo in photos(5)]))
    with torch.no_grad():
        expected = model.eval()(contract.normalization(pixels)).softmax(dim=1).numpy()
    exported = load_exported(tmp_path)
    found = exported.predict(photos(5), batch_size=2)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    assert exported.classes == CLASSES
    assert exported.contract.metrics == {"test_accuracy": 0.9}


def test_a_trained_channels_last_model_is_exported_too(tmp_path: Path) -> None:
    model, contract = export(tmp_path)
    expected = load_exported(tmp_path).predict(photos(2))
    save_exported(tmp_path, model.to(memory_format=torch.channels_last), contract)
    np.testing.assert_array_equal(load_exported(tmp_path).predict(photos(2)), expected)


def test_no_photos_give_no_rows(tmp_path: Path) -> None:
    export(tmp_path)
    assert load_exported(tmp_path).predict([]).shape == (0, 3)


def test_an_unreadable_photo_is_told_by_name(tmp_path: Path) -> None:
    export(tmp_path / "model")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    with pytest.raises(DataError, match=r"broken\.jpg"):
        load_exported(tmp_path / "model").predict([*photos(1), broken])


def test_weights_that_were_tampered_with_are_refused(tmp_path: Path) -> None:
    export(tmp_path)
    content = bytearray((tmp_path / WEIGHTS_FILE).read_bytes())
    content[-1] ^= 1
    (tmp_path / WEIGHTS_FILE).write_bytes(content)
    with pytest.raises(ModelError, match="it was changed or damaged"):
        load_exported(tmp_path)


def test_a_contract_of_another_version_is_refused_before_its_fields_are_read(tmp_path: Path) -> None:
    export(tmp_path)
    (tmp_path / CONTRACT_FILE).write_text(json.dumps({"contract_version": 2, "labels": []}))
    with pytest.raises(ModelError, match=r"reads model contracts of version 1, but .*contract\.json has 2"):
        load_exported(tmp_path)


@pytest.mark.parametrize("missing", [CONTRACT_FILE, WEIGHTS_FILE])
def test_a_missing_file_is_told_by_name(missing: str, tmp_path: Path) -> None:
    export(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(ModelError, match=f"must hold {missing}, but there is none in"):
        load_exported(tmp_path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"image_size": "large"}, "`image_size`"),
        ({"padding": [0, 0, 0]}, r"asks for \(0, 0, 0\)"),
        ({"classes": ["one"]}, "and 1 classes, but does not"),
        ({"backbone": "resnet19"}, "Did you mean `resnet18`"),
    ],
)
def test_a_contract_that_does_not_hold_is_refused(change: dict[str, object], told: str, tmp_path: Path) -> None:
    export(tmp_path)
    path = tmp_path / CONTRACT_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelError, match=told) as caught:
        load_exported(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_contract_that_is_no_json_is_refused(tmp_path: Path) -> None:
    export(tmp_path)
    (tmp_path / CONTRACT_FILE).write_text("no contract")
    with pytest.raises(ModelError, match="cannot be read as a JSON contract"):
        load_exported(tmp_path)
