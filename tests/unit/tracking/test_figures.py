"""The figures on a run, and the facts about where it came from."""

import json
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from study.definition import parse_definition
from study.tracking.figures import save_class_balance, save_confusion, save_curves
from study.tracking.provenance import git_commit, provenance_tags
from study.trial import ConfusionMatrix

DEFINITION = 'name = "facts"\ndata.generated = "instruments"\nsearch.trials = 3\n'


def test_a_confusion_matrix_is_a_picture_and_its_numbers(tmp_path: Path) -> None:
    save_confusion(ConfusionMatrix(counts=((5, 1), (0, 4))), ("cat", "dog"), "pets, trial 3", tmp_path / "figures")
    with Image.open(tmp_path / "figures" / "confusion.png") as picture:
        assert min(picture.size) > 200
    content = json.loads((tmp_path / "figures" / "confusion.json").read_text())
    assert content == {"classes": ["cat", "dog"], "counts": [[5, 1], [0, 4]], "rows": "true class", "columns": "called"}


def test_a_class_without_a_photo_divides_by_nothing(tmp_path: Path) -> None:
    save_confusion(ConfusionMatrix(counts=((5, 1), (0, 0))), ("cat", "dog"), "pets", tmp_path)
    assert (tmp_path / "confusion.png").exists()


def test_a_confusion_matrix_of_a_thousand_classes_is_a_picture_of_a_few_megapixels(tmp_path: Path) -> None:
    classes = [f"class {place}" for place in range(1000)]
    diagonal = tuple(tuple(int(row == column) for column in range(1000)) for row in range(1000))
    save_confusion(ConfusionMatrix(counts=diagonal), classes, "species, trial 3", tmp_path)
    with Image.open(tmp_path / "confusion.png") as picture:
        assert 2000 < max(picture.size) < 4000
    assert json.loads((tmp_path / "confusion.json").read_text())["classes"] == classes


def test_curves_are_a_picture_even_of_a_single_epoch(tmp_path: Path) -> None:
    save_curves({"val_loss": [(1, 0.7)], "val_accuracy": [(1, 0.5)]}, 1, "pets, trial 3", tmp_path)
    with Image.open(tmp_path / "curves.png") as picture:
        assert min(picture.size) > 200


def test_provenance_names_what_would_have_to_be_the_same(tmp_path: Path) -> None:
    definition = parse_definition(DEFINITION, tmp_path / "facts.toml")
    tags = provenance_tags(definition, "d1")
    assert tags["study.data_digest"] == "d1"
    assert tags["study.definition_digest"] == definition.digest
    assert tags["study.num_trials"] == "3"
    assert "cores" in tags["study.hardware"]
    assert "mlflow.source.git.commit" not in tags  # the definition is in no repository


def test_a_definition_in_a_repository_names_its_commit(tmp_path: Path) -> None:
    author = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    subprocess.run(["git", "-C", tmp_path, *author, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    commit = git_commit(tmp_path)
    assert commit is not None
    assert len(commit) == 40


@pytest.mark.parametrize("num_classes", [0, 1, 40])
def test_class_balance_is_a_png_beside_the_numbers_it_shows(num_classes: int, tmp_path: Path) -> None:
    counts = {f"class {place}": {"train": 3 * place, "val": place, "test": 1} for place in range(num_classes)}
    save_class_balance(counts, tmp_path / "new")
    assert json.loads((tmp_path / "new" / "class_balance.json").read_text()) == counts
    with Image.open(tmp_path / "new" / "class_balance.png") as figure:
        assert figure.format == "PNG"


def test_the_balance_of_three_thousand_classes_is_a_picture_of_a_few_megapixels(tmp_path: Path) -> None:
    save_class_balance({f"class {place}": {"train": place, "val": 1} for place in range(3000)}, tmp_path)
    with Image.open(tmp_path / "class_balance.png") as picture:
        assert max(picture.size) < 4000


def test_names_that_look_like_formulas_are_drawn_as_they_are(tmp_path: Path) -> None:
    matrix = ConfusionMatrix(counts=((1, 0), (0, 1)))
    save_confusion(matrix, ["a$_$b", "$\\x$"], "a$_$b", tmp_path)
    assert (tmp_path / "confusion.png").stat().st_size > 1000
