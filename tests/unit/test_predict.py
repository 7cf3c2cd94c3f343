import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

import study
from study.cli import main
from study.errors import DataError, RegistryError
from study.models.classifier import build_classifier
from study.models.contract import ModelContract, TargetScale
from study.models.exported import load_exported, save_exported
from study.models.normalization import Normalizer
from study.models.weights import RANDOM_DIGEST, ResolvedWeights
from study.predict import Predictor, find_photos
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


def predict(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["predict", *map(str, arguments)])


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_folder_is_told_photo_by_photo_with_all_below_it(tmp_path: Path, photos: list[Path]) -> None:
    model = export(tmp_path / "model")
    deep = tmp_path / "photos" / "more" / "e.JPG"
    deep.parent.mkdir(parents=True)
    Image.new("RGB", (30, 20)).save(deep)
    for hidden in (".hidden.png", "notes.txt"):
        (deep.parent / hidden).write_text("no photo")
    photos[0].rename(tmp_path / "photos" / "a.png")
    result = predict(model, tmp_path / "photos", photos[1], "--csv", tmp_path / "told.csv")
    assert result.exit_code == 0, result.output
    told = rows(tmp_path / "told.csv")
    files = [tmp_path / "photos" / "a.png", deep, photos[1]]
    assert [row["image"] for row in told] == list(map(str, files))
    expected = load_exported(model).predict(files)
    for row, probabilities in zip(told, expected, strict=True):
        assert [float(row[f"probability.{name}"]) for name in ("cello", "viola", "violin")] == pytest.approx(probabilities)
        assert (row["abstained"], row["error"]) == ("false", "")
        assert row["class"] == ("cello", "viola", "violin")[int(probabilities.argmax())]


def test_an_unreadable_photo_gets_a_row_with_the_reason_and_the_exit_code_says_so(tmp_path: Path, photos: list[Path]) -> None:
    model = export(tmp_path / "model")
    photos[1].write_bytes(b"no photo")
    result = predict(model, *photos, tmp_path / "absent.png", "--csv", "-")
    assert result.exit_code == 1
    told = list(csv.DictReader(result.stdout.splitlines()))
    assert [bool(row["error"]) for row in told] == [False, True, False, False, True]
    assert told[1]["class"] == told[1]["probability"] == ""
    assert "no image format" in told[1]["error"]
    assert "No such file" in told[4]["error"]
    assert "2 of 5 could not be read" in result.stderr
    expected = load_exported(model).predict([photos[0], photos[2], photos[3]]).max(axis=1)
    assert [float(row["probability"]) for row in told if not row["error"]] == pytest.approx(expected)
    listed = predict(model, *photos)
    assert listed.exit_code == 1
    assert f"{photos[1]}: could not be read: it is in no image format" in listed.stdout


def test_an_unsure_answer_is_none_where_that_is_asked_for(tmp_path: Path, photos: list[Path]) -> None:
    predictor = Predictor.load(str(export(tmp_path / "model")), "")
    told = list(predictor.predict_files(photos))
    assert {one.is_abstained for one in told} == {None}
    between = sorted(one.probability for one in told)[1] + 1e-9
    asked = list(predictor.predict_files(photos, abstain_below=between))
    assert [one.is_abstained for one in asked] == [one.probability < between for one in told]
    assert {one.as_dict()["class"] is None for one in asked} == {True, False}
    assert all(one.as_dict()["abstained"] == (one.as_dict()["class"] is None) for one in asked)
    predict(tmp_path / "model", *photos, "--abstain-below", "0.999", "--csv", tmp_path / "told.csv")
    assert {(row["class"], row["abstained"]) for row in rows(tmp_path / "told.csv")} == {("", "true")}
    assert "unsure (" in predict(tmp_path / "model", photos[0], "--abstain-below", "0.999").stdout


@pytest.mark.parametrize("least", [-0.1, 1.5])
def test_a_probability_that_is_none_is_refused(least: float, tmp_path: Path, photos: list[Path]) -> None:
    result = predict(export(tmp_path / "model"), photos[0], "--abstain-below", least)
    assert result.exit_code == 2
    assert "must be in [0, 1]" in result.stderr


def test_a_model_of_numbers_never_abstains(tmp_path: Path, photos: list[Path]) -> None:
    model = export(tmp_path / "model", target=TargetScale(mean=8.0, std=1.0))
    assert "has no probabilities" in predict(model, photos[0], "--abstain-below", "0.5").stderr
    assert predict(model, *photos, "--csv", tmp_path / "told.csv").exit_code == 0
    assert list(rows(tmp_path / "told.csv")[0]) == ["image", "value", "error"]


def test_of_several_views_an_example_with_a_broken_photo_has_no_answer(tmp_path: Path, photos: list[Path]) -> None:
    predictor = Predictor.load(str(export(tmp_path / "model", views=("front", "back"))), "")
    photos[3].write_bytes(b"no photo")
    first, second = predictor.predict_files(photos)
    assert first.error is None
    assert second.as_dict() == {
        "image": f"{photos[2]}, {photos[3]}",
        "images": {"front": str(photos[2]), "back": str(photos[3])},
        "error": second.error,
    }


def test_a_folder_is_refused_by_a_model_of_several_views(tmp_path: Path, photos: list[Path]) -> None:
    """Sorted by name, its photos would be paired as no one meant them."""
    result = predict(export(tmp_path / "model", views=("front", "back")), photos[0].parent)
    assert result.exit_code == 2
    assert "front" in result.stderr
    assert "Name the photos one by one." in result.stderr


def test_a_folder_without_photos_is_told(tmp_path: Path) -> None:
    (tmp_path / "photo.txt").touch()
    with pytest.raises(DataError, match=r"must hold photos \(apng avif .*hold none\. Check"):
        find_photos([tmp_path])
    (tmp_path / "a.heic").touch()
    with pytest.raises(DataError, match=r"hold none \(left out: 1 \(.*a\.heic\): HEIC is not read: save it as JPEG"):
        find_photos([tmp_path])


def test_what_was_left_out_of_a_folder_is_told(tmp_path: Path, photos: list[Path]) -> None:
    model = export(tmp_path / "model")
    folder = tmp_path / "photos"
    folder.mkdir()
    photos[0].rename(folder / "a.png")
    Image.open(photos[1]).save(folder / "b.avif")
    for name in ("1.HEIC", "2.heic", "3.heic", "4.heic", "5.nef", "unnamed", "notes.txt", ".hidden.heic"):
        (folder / name).touch()
    (folder / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    result = predict(model, folder, "--csv", tmp_path / "told.csv")
    assert result.exit_code == 0, result.output
    assert [Path(row["image"]).name for row in rows(tmp_path / "told.csv")] == ["a.png", "b.avif"]
    told = result.stderr
    assert f"left out: 4 ({folder / '1.HEIC'}, {folder / '2.heic'}, {folder / '3.heic'} and 1 more): HEIC is not read" in told
    for name, reason in (("5.nef", "raw data"), ("unnamed", "without an ending"), ("gone.jpg", "leads to no file")):
        assert any(name in line and reason in line for line in told.splitlines())
    assert "notes" not in told
    assert "hidden" not in told


def test_photos_behind_a_linked_folder_are_found(tmp_path: Path, photos: list[Path]) -> None:
    (tmp_path / "asked").mkdir()
    (tmp_path / "asked" / "link").symlink_to(photos[0].parent, target_is_directory=True)
    assert [path.name for path in find_photos([tmp_path / "asked"]).photos] == ["a.png", "b.png", "c.png", "d.png"]


def test_a_model_in_a_folder_is_loaded_to_be_trained_further(tmp_path: Path, photos: list[Path]) -> None:
    model = study.load_model(export(tmp_path / "model"), freeze_depth=0.0)
    assert isinstance(model, torch.nn.Module)
    assert model(model.preprocess(photos)).shape == (4, 3)
    assert "load_model" in dir(study)
    with pytest.raises(AttributeError, match="no attribute 'load_modle'"):
        study.load_modle  # noqa: B018


def test_importing_study_loads_nothing() -> None:
    code = "import sys, study; print([name for name in ('torch', 'numpy', 'mlflow', 'pydantic') if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_a_photo_whose_name_is_no_utf_8_has_its_row_with_those_bytes_spelt_out(tmp_path: Path, photos: list[Path]) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    names = [b"a.jpg", b"caf\xe9.jpg", b"z.jpg"]
    for name in names:
        try:
            Image.new("RGB", (30, 20)).save(folder / os.fsdecode(name))
        except OSError:
            pytest.skip("this file system takes no such name")
    model = export(tmp_path / "model")
    result = predict(model, folder, "--csv", tmp_path / "told.csv")
    assert result.exit_code == 0, result.output
    shown = [str(folder / name) for name in ("a.jpg", r"caf\udce9.jpg", "z.jpg")]
    assert [row["image"] for row in rows(tmp_path / "told.csv")] == shown
    listed = predict(model, folder)
    assert (listed.exit_code, len(listed.stdout.splitlines())) == (0, 3)
    (folder / os.fsdecode(names[1])).write_bytes(b"no photo")
    assert predict(model, folder, "--csv", tmp_path / "told.csv").exit_code == 1
    assert [bool(row["error"]) for row in rows(tmp_path / "told.csv")] == [False, True, False]


def test_the_views_of_an_example_are_named_in_utf_8(tmp_path: Path) -> None:
    views = [tmp_path / os.fsdecode(name) for name in (b"caf\xe9.png", b"b.png")]
    for view in views:
        try:
            Image.new("RGB", (30, 20)).save(view)
        except OSError:
            pytest.skip("this file system takes no such name")
    predictor = Predictor.load(str(export(tmp_path / "model", views=("front", "back"))), "")
    [told] = predictor.predict_files(views)
    assert told.images == {"front": rf"{tmp_path}/caf\udce9.png", "back": str(views[1])}
    assert told.name == ", ".join(told.images.values())
