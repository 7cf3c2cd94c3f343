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
from study.models.colour_modes import without_colour
from study.models.contract import CONTRACT_FILE, ModelContract, TargetScale
from study.models.exported import WEIGHTS_FILE, load_exported, save_exported
from study.models.normalization import make_normalizer
from study.models.trainable import TrainableModel
from study.models.weights import RANDOM_DIGEST, ResolvedWeights
from study.trial import Head, TrialConfig
from tests.planted import is_armed, plant_code

CLASSES = ("cello", "viola", "violin")
STATISTICS = ChannelStatistics(mean=(0.2, 0.4, 0.6), std=(0.1, 0.2, 0.3))


def export(
    folder: Path,
    backbone: str = "squeezenet1_1",
    head: Head = "replace",
    views: tuple[str, ...] = (),
    target: TargetScale | None = None,
) -> tuple[Classifier, ModelContract]:
    config = TrialConfig(backbone=backbone, head=head, freeze_depth=0.5)
    contract = ModelContract(
        task="class" if target is None else "number",
        classes=CLASSES if target is None else (),
        target=target,
        example_views=views,
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
    model = build_classifier(
        config,
        contract.head_plan.num_outputs,
        ResolvedWeights(None, RANDOM_DIGEST),
        seed=0,
        image_size=32,
        num_views=contract.num_views,
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


@pytest.mark.parametrize("is_log", [False, True])
def test_a_model_of_numbers_gives_them_in_the_targets_unit(is_log: bool, tmp_path: Path) -> None:
    model, contract = export(tmp_path, target=TargetScale(mean=9.0, std=0.5, is_log=is_log))
    pixels = torch.tensor(np.stack([fit_to_square(photo, 32) for photo in photos(5)]))
    with torch.no_grad():
        numbers = model.eval()(contract.normalization(pixels))[:, 0].numpy() * 0.5 + 9.0
    found = load_exported(tmp_path).predict(photos(5), batch_size=2)
    np.testing.assert_allclose(found, np.exp(numbers) if is_log else numbers, rtol=1e-5)
    assert found.shape == (5,)
    assert found.dtype == np.float32
    assert load_exported(tmp_path).predict([]).shape == (0,)


def test_a_model_of_views_takes_their_photos_in_order(tmp_path: Path) -> None:
    model, contract = export(tmp_path, views=("front", "back"))
    given = photos(6)
    pixels = torch.tensor(np.stack([fit_to_square(photo, 32) for photo in given]))
    with torch.no_grad():
        expected = model.eval()(contract.normalization(pixels)).softmax(dim=1).numpy()
    exported = load_exported(tmp_path)
    assert exported.example_views == ("front", "back")
    found = exported.predict([(given[0], given[1]), (given[2], given[3]), [given[4], given[5]]], batch_size=2)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_too_many_or_too_few_photos_of_an_example_are_told(tmp_path: Path) -> None:
    export(tmp_path / "pair", views=("front", "back"))
    export(tmp_path / "single")
    pair, single = load_exported(tmp_path / "pair"), load_exported(tmp_path / "single")
    first, second, third = photos(3)
    with pytest.raises(DataError, match=r"2 photos an example \(front, back\), but example 1 is 3 photos\. Give tuples of 2"):
        pair.predict([(first, second), (first, second, third)])
    with pytest.raises(DataError, match="example 0 is one photo"):
        pair.predict([first, second])
    with pytest.raises(DataError, match="one photo an example, but example 0 has 2"):
        single.predict([(first, second)])


def test_loading_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    export(tmp_path, backbone="resnet18")
    before = torch.get_rng_state()
    load_exported(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


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


@pytest.mark.parametrize("version", [1, 6, None])
def test_a_contract_of_another_version_is_refused_before_its_fields_are_read(version: int, tmp_path: Path) -> None:
    export(tmp_path)
    (tmp_path / CONTRACT_FILE).write_text(json.dumps({"contract_version": version, "labels": []}))
    with pytest.raises(
        ModelError, match=rf"reads model contracts of versions 2 to 5, but .*contract\.json has {version}"
    ) as caught:
        load_exported(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_contract_of_the_version_before_answers_as_it_did(tmp_path: Path) -> None:
    export(tmp_path)
    expected = load_exported(tmp_path).predict(photos(2))
    path = tmp_path / CONTRACT_FILE
    older = {key: value for key, value in json.loads(path.read_text()).items() if key != "temperature"}
    path.write_text(json.dumps(older | {"contract_version": 2}))
    np.testing.assert_array_equal(load_exported(tmp_path).predict(photos(2)), expected)


def test_a_contract_of_version_4_means_photos_in_colour_and_the_same_model(tmp_path: Path) -> None:
    export(tmp_path)
    expected, digest = load_exported(tmp_path).predict(photos(2)), load_exported(tmp_path).contract.content_digest
    path = tmp_path / CONTRACT_FILE
    older = {key: value for key, value in json.loads(path.read_text()).items() if key != "colour_mode"}
    path.write_text(json.dumps(older | {"contract_version": 4}))
    read = load_exported(tmp_path)
    assert read.contract.colour_mode == "rgb"
    assert read.contract.content_digest == digest
    np.testing.assert_array_equal(read.predict(photos(2)), expected)


def test_a_model_without_colour_sees_the_luma_of_every_photo_however_it_comes(tmp_path: Path) -> None:
    model, contract = export(tmp_path)
    save_exported(tmp_path, model, contract.model_copy(update={"colour_mode": "greyscale"}))
    exported = load_exported(tmp_path)
    grey = [photo.convert("L").convert("RGB") for photo in photos(3)]
    padded = torch.tensor(np.stack([fit_to_square(photo, 32) for photo in photos(3)]))
    seen = without_colour(padded)
    with torch.no_grad():
        expected = model.eval()(contract.normalization(seen)).softmax(dim=1).numpy()
    np.testing.assert_array_equal(exported.contract.pixels_of(photos(3)), seen.numpy())
    np.testing.assert_allclose(exported.predict(photos(3)), expected, atol=1e-6)
    for pixels in (padded, seen):
        np.testing.assert_allclose(exported.predict_pixels(pixels.numpy()), expected, atol=1e-6)
    trainable = TrainableModel(exported)
    torch.testing.assert_close(trainable.preprocess(photos(3)), contract.normalization(seen))
    np.testing.assert_allclose(exported.predict(grey), expected, atol=0.02)  # resized after they lost their colour
    assert np.abs(load_exported_in_colour(tmp_path, contract, model) - expected).max() > 1e-3


def load_exported_in_colour(folder: Path, contract: ModelContract, model: Classifier) -> np.ndarray:
    save_exported(folder / "in_colour", model, contract)
    return load_exported(folder / "in_colour").predict(photos(3))


def test_a_temperature_softens_probabilities_and_changes_no_class(tmp_path: Path) -> None:
    model, contract = export(tmp_path)
    plain = load_exported(tmp_path).predict(photos(4)).astype(np.float64)
    save_exported(tmp_path, model, contract.model_copy(update={"temperature": 2.5}))
    softened = load_exported(tmp_path).predict(photos(4))
    powers = plain ** (1 / 2.5)  # softmax(z / T) is softmax(z) to the power 1 / T, made to sum to 1
    np.testing.assert_allclose(softened, powers / powers.sum(axis=1, keepdims=True), atol=1e-6)
    np.testing.assert_array_equal(softened.argmax(axis=1), plain.argmax(axis=1))


def test_models_that_answer_alike_have_one_content_digest(tmp_path: Path) -> None:
    _, contract = export(tmp_path)
    other_study = contract.model_copy(update={"study": "another", "metrics": {}, "versions": {"torch": "9"}})
    assert other_study.content_digest == contract.content_digest
    for change in (
        {"temperature": 2.0},
        {"classes": ("a", "b", "c")},
        {"weights_digest": "0"},
        {"image_size": 64},
        {"packed_size": 48},
        {"colour_mode": "greyscale"},
    ):
        assert contract.model_copy(update=change).content_digest != contract.content_digest


def test_what_else_lies_in_the_folder_is_not_read(tmp_path: Path) -> None:
    export(tmp_path / "model")
    proof = tmp_path / "executed"
    plant_code(tmp_path / "model", proof)
    assert is_armed(tmp_path / "model", proof)
    load_exported(tmp_path / "model").predict(photos(1))
    assert not proof.exists()


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
        ({"colour_mode": "sepia"}, "`colour_mode`"),
        ({"padding": [0, 0, 0]}, r"asks for \(0, 0, 0\)"),
        ({"classes": ["one"]}, "and 1 outputs, but does not"),
        ({"classes": []}, 'task "class" needs classes and no target'),
        ({"task": "number"}, '"number" a target and no classes'),
        ({"temperature": 0}, "`temperature`"),
        (
            {"task": "number", "classes": [], "target": {"mean": 0.0, "std": 1.0}, "temperature": 2.0},
            "no probabilities to soften",
        ),
        ({"image_size": 8}, "at least 17 px, but image_size=8"),
        ({"example_views": ["front", "back"]}, "size mismatch"),
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
