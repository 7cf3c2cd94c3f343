"""What goes along with a definition that is sent, and that it is found again where it arrives."""

import zipfile
from pathlib import Path

import pytest

from study.data.sources import open_source
from study.definition import StudyDefinition, load_definition
from study.errors import DataError
from study.tuning import submission
from study.tuning.submission import unpack, write_package

TRIAL = '[space]\nhead = { choices = ["replace", "append"] }\n'


def photos(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(f"photo {name}".encode())


def definition(folder: Path, data: str, rest: str = "") -> StudyDefinition:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "sent.toml"
    file.write_text(f'name = "sent"\n{rest}\n[data]\n{data}\n{TRIAL}', encoding="utf-8")
    return load_definition(file)


def sent(asked: StudyDefinition, folder: Path) -> set[str]:
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(write_package(asked, folder).archive) as archive:
        return set(archive.namelist())


def test_photos_beside_the_definition_are_sent_and_found_where_they_arrive(tmp_path: Path) -> None:
    photos(tmp_path / "data", "cat/1.jpg", "dog/2.jpg", "dog/notes.txt", ".git/x.jpg")
    asked = definition(tmp_path / "spaces", 'folder = "../data"')
    (tmp_path / "out").mkdir()
    package = write_package(asked, tmp_path / "out")
    unpack(package.archive, tmp_path / "there")
    arrived = load_definition(tmp_path / "there" / package.definition)
    assert arrived.digest == asked.digest
    assert open_source(arrived, tmp_path).records.photos == ("cat/1.jpg", "dog/2.jpg")
    assert (tmp_path / "there" / "data" / "cat" / "1.jpg").read_bytes() == b"photo cat/1.jpg"
    assert not list((tmp_path / "there").rglob("notes.txt"))


def test_a_link_to_photos_elsewhere_is_sent_as_what_it_is_called(tmp_path: Path) -> None:
    photos(tmp_path / "elsewhere" / "deep", "cat/1.jpg", "dog/2.jpg")
    (tmp_path / "spaces").mkdir()
    (tmp_path / "spaces" / "data").symlink_to(tmp_path / "elsewhere" / "deep")
    asked = definition(tmp_path / "spaces", 'folder = "data"')
    assert sent(asked, tmp_path / "out") == {"sent.toml", "data/cat/1.jpg", "data/dog/2.jpg"}


def test_of_a_table_s_folder_the_table_and_the_photos_in_its_cells_are_sent(tmp_path: Path) -> None:
    photos(tmp_path, "front/1.jpg", "front/2.jpg", "unused.jpg", "huge.bin")
    (tmp_path / "x.csv").write_text("image,kind\nfront/1.jpg,a\nfront/2.jpg,b\nmissing.jpg,a\n", encoding="utf-8")
    asked = definition(tmp_path, 'table = "x.csv"\nimages = "image"\ntarget = "kind"')
    assert sent(asked, tmp_path / "out") == {"sent.toml", "x.csv", "front/1.jpg", "front/2.jpg"}


def test_photos_that_a_row_also_needs_are_sent_with_those_that_are_shown(tmp_path: Path) -> None:
    photos(tmp_path, "front/1.jpg", "side/1.jpg", "back/1.jpg")
    (tmp_path / "x.csv").write_text("front,side,back,kind\nfront/1.jpg,side/1.jpg,back/1.jpg,a\n", encoding="utf-8")
    asked = definition(tmp_path, 'table = "x.csv"\nimages = "front"\nalso_needs = "side"\ntarget = "kind"')
    assert sent(asked, tmp_path / "out") == {"sent.toml", "x.csv", "front/1.jpg", "side/1.jpg"}


@pytest.mark.parametrize("data", ['folder = "/photos/of/the/cluster"', 'generated = "instruments"', 'torchvision = "DTD"'])
def test_what_is_the_cluster_s_own_is_not_sent(data: str, tmp_path: Path) -> None:
    assert sent(definition(tmp_path, data), tmp_path / "out") == {"sent.toml"}


def test_weights_by_a_relative_path_are_sent(tmp_path: Path) -> None:
    photos(tmp_path, "mine.safetensors", "other.safetensors")
    text = 'weights = { choices = ["mine.safetensors", "none", "/theirs.safetensors"] }'
    asked = definition(tmp_path, 'generated = "instruments"').file
    asked.write_text(asked.read_text(encoding="utf-8") + text, encoding="utf-8")
    assert sent(load_definition(asked), tmp_path / "out") == {"sent.toml", "mine.safetensors"}


def test_more_than_ray_takes_is_refused_in_one_line_that_says_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "MOST_BYTES", submission.ROOM_BYTES + 10)
    photos(tmp_path, "data/cat/1.jpg", "data/dog/2.jpg")
    with pytest.raises(DataError, match="Put the photos at a path that all nodes see") as refused:
        sent(definition(tmp_path, 'folder = "data"'), tmp_path / "out")
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    asked = definition(tmp_path, 'generated = "instruments"', rest='[trial]\nweights = "mine.pth"')
    with pytest.raises(DataError, match=r"mine\.pth cannot be read"):
        sent(asked, tmp_path / "out")


def test_the_digest_tells_other_content_apart_and_the_same_again(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    asked = definition(tmp_path / "one", 'generated = "instruments"')
    first = write_package(asked, tmp_path / "out").digest
    assert write_package(asked, tmp_path / "out").digest == first
    asked.file.write_text(asked.text + "# changed\n", encoding="utf-8")
    assert write_package(load_definition(asked.file), tmp_path / "out").digest != first
