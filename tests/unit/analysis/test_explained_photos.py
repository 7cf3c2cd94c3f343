"""Where the pictures of explanations go: beside nobody's photos, and each in a file of its own."""

import os
from pathlib import Path

import pytest
from PIL import Image

from study.analysis.explained_photos import Question, explain_photos
from study.analysis.occlusion import Bubbles
from study.errors import DefinitionError
from study.models.exported import ExportedModel
from tests.explained_models import contract_of, linear_model, random_photos

SIZE_PX = 16
QUESTION = Question(bubbles=Bubbles(4, 4))


@pytest.fixture(scope="module")
def model() -> ExportedModel:
    return linear_model(contract_of(SIZE_PX, classes=("cat", "hat")))


def photo(file: Path) -> Path:
    file.parent.mkdir(exist_ok=True)
    Image.fromarray(random_photos(1, SIZE_PX)[0]).save(file)
    return file


@pytest.mark.parametrize("is_linked", [False, True], ids=["its own folder", "a link to it"])
def test_a_photo_is_never_written_over(is_linked: bool, model: ExportedModel, tmp_path: Path) -> None:
    photos = [photo(tmp_path / "cats" / name) for name in ("cat.jpg", "other.png")]
    out = tmp_path / "out" if is_linked else tmp_path / "cats" / ".." / "cats"
    if is_linked:
        out.mkdir()
        (out / "other.png").symlink_to(photos[1])
    before = [file.read_bytes() for file in photos]
    with pytest.raises(
        DefinitionError, match=r"must not replace a photo .* would write over .*other\.png\. Give another folder"
    ):
        explain_photos(model, photos, QUESTION, out)
    assert [file.read_bytes() for file in photos] == before
    assert not (out / "cat.png").exists()


def test_an_average_is_never_written_over_a_photo(model: ExportedModel, tmp_path: Path) -> None:
    photos = [photo(tmp_path / "class_map_hat.png")]
    asked = Question(class_name="hat", bubbles=QUESTION.bubbles, is_averaged=True)
    with pytest.raises(DefinitionError, match="would write over"):
        explain_photos(model, photos, asked, tmp_path)


def test_an_explanation_may_replace_an_earlier_one(model: ExportedModel, tmp_path: Path) -> None:
    photos = [photo(tmp_path / "cat.jpg")]
    for _ in range(2):
        [found] = explain_photos(model, photos, QUESTION, tmp_path)
        assert found.file == tmp_path / "cat.png"


def test_every_photo_has_a_picture_of_its_own_whatever_the_photos_are_called(model: ExportedModel, tmp_path: Path) -> None:
    photos = [photo(tmp_path / name) for name in ("x/a.jpg", "y/a.jpg", "z/a-2.jpg", "z/a.jpg")]
    found = explain_photos(model, photos, QUESTION, tmp_path / "out")
    assert [one.file.name for one in found] == ["a.png", "a-2.png", "a-2-2.png", "a-3.png"]
    assert sorted(os.listdir(tmp_path / "out")) == sorted(one.file.name for one in found)
