import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from study.data.dataset import open_data, prepare_data, summarize
from study.data.statistics import channel_statistics
from study.definition import StudyDefinition
from study.errors import DataError

WritePhotos = Callable[..., Path]
DefinitionOf = Callable[[str], StudyDefinition]

FOLDER = 'folder = "photos"\nimage_size = 16\n'


@pytest.fixture
def definition(tmp_path: Path, write_photos: WritePhotos, definition_of: DefinitionOf) -> StudyDefinition:
    write_photos(tmp_path / "photos", {"cats": 12, "dogs": 8})
    return definition_of(FOLDER)


def test_prepared_data_describes_every_photo(definition: StudyDefinition, tmp_path: Path) -> None:
    data = prepare_data(definition, tmp_path / "cache")
    assert data.classes == ("cats", "dogs")
    assert (data.num_classes, data.image_size) == (2, 16)
    assert data.labels.dtype == np.int64
    assert [data.classes[label] for label in data.labels] == [photo.split("/")[0] for photo in data.photos]
    assert data.images.shape == (20, 16, 16, 3)


def test_statistics_are_of_the_training_split_only(definition: StudyDefinition, tmp_path: Path) -> None:
    data = prepare_data(definition, tmp_path / "cache")
    assert data.statistics == channel_statistics(data.images, data.splits.train)
    assert data.statistics != channel_statistics(data.images, np.arange(20))


def test_opened_data_equals_prepared_data(definition: StudyDefinition, tmp_path: Path) -> None:
    prepared = prepare_data(definition, tmp_path / "cache")
    opened = open_data(prepared.folder)
    assert isinstance(opened.images, np.memmap)
    for name in ("folder", "classes", "photos", "statistics", "digest"):
        assert getattr(opened, name) == getattr(prepared, name)
    assert np.array_equal(opened.images, prepared.images)
    assert np.array_equal(opened.labels, prepared.labels)
    for (_, one), (_, other) in zip(opened.splits.items(), prepared.splits.items(), strict=True):
        assert np.array_equal(one, other)
        assert one.dtype == np.int64


def test_second_preparation_decodes_nothing_and_gives_the_same(definition: StudyDefinition, tmp_path: Path) -> None:
    decoded: list[int] = []
    first = prepare_data(definition, tmp_path / "cache", lambda done, total: decoded.append(done))
    second = prepare_data(definition, tmp_path / "cache", lambda done, total: decoded.append(done))
    assert decoded == [20]
    assert (second.folder, second.digest) == (first.folder, first.digest)


def test_digest_changes_with_split_and_size_while_pixels_are_shared(
    definition: StudyDefinition, definition_of: DefinitionOf, tmp_path: Path
) -> None:
    variants = [FOLDER, FOLDER + "[data.split]\nseed = 1", FOLDER + "[data.split]\ntest = 0.3", FOLDER.replace("16", "17")]
    digests = {prepare_data(definition_of(variant), tmp_path / "cache").digest for variant in variants}
    assert len(digests) == 4
    assert len(list((tmp_path / "cache" / "images").glob("*.npy"))) == 2


def test_digest_changes_with_the_label_alone(definition_of: DefinitionOf, tmp_path: Path) -> None:
    generated = 'generated = "instruments"\nnum_photos = 60\nimage_size = 16\ntarget = '
    folders = [prepare_data(definition_of(generated + f'"{target}"'), tmp_path).folder for target in ("type", "view")]
    assert folders[0] != folders[1]
    assert len(list((tmp_path / "images").glob("*.npy"))) == 1


def test_own_split_without_test_can_be_prepared(tmp_path: Path, write_photos: WritePhotos, definition_of: DefinitionOf) -> None:
    write_photos(tmp_path / "photos", {"train/a": 2, "train/b": 2, "val/a": 1, "val/b": 1})
    data = prepare_data(definition_of(FOLDER), tmp_path / "cache")
    assert [len(indices) for _, indices in data.splits.items()] == [4, 2, 0]


def test_moved_cache_can_still_be_opened(definition: StudyDefinition, tmp_path: Path) -> None:
    folder = prepare_data(definition, tmp_path / "cache").folder
    shutil.move(tmp_path / "cache", tmp_path / "elsewhere")
    assert open_data(tmp_path / "elsewhere" / "data" / folder.name).images.shape == (20, 16, 16, 3)


def test_folder_is_absolute_though_the_cache_was_given_relatively(
    definition: StudyDefinition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert prepare_data(definition, Path("cache")).folder.is_absolute()


def test_missing_data_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.json is not: No such file.*run the study again"):
        open_data(tmp_path)


@pytest.mark.parametrize("damage", ["{", '{"digest": "0"}'])
def test_damaged_data_is_an_error(definition: StudyDefinition, tmp_path: Path, damage: str) -> None:
    folder = prepare_data(definition, tmp_path / "cache").folder
    (folder / "data.json").write_text(damage)
    with pytest.raises(DataError, match=r"data\.json is not: \d+ values are missing or wrong"):
        open_data(folder)


def test_data_of_another_format_is_an_error(definition: StudyDefinition, tmp_path: Path) -> None:
    file = prepare_data(definition, tmp_path / "cache").folder / "data.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format_version": 2}))
    with pytest.raises(DataError, match="missing or wrong"):
        open_data(file.parent)


def test_data_without_its_images_is_an_error(definition: StudyDefinition, tmp_path: Path) -> None:
    data = prepare_data(definition, tmp_path / "cache")
    next((tmp_path / "cache" / "images").glob("*.npy")).unlink()
    with pytest.raises(DataError, match=r"packed photos must be uint8 .* is unreadable"):
        open_data(data.folder)


def test_bad_split_is_told_before_any_photo_is_decoded(
    tmp_path: Path, write_photos: WritePhotos, definition_of: DefinitionOf
) -> None:
    write_photos(tmp_path / "photos", {"cats": 12, "dogs": 2})
    with pytest.raises(DataError, match="'dogs' has 2"):
        prepare_data(definition_of(FOLDER), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_summary_counts_photos_by_class_and_split(definition: StudyDefinition, tmp_path: Path) -> None:
    summary = summarize(prepare_data(definition, tmp_path / "cache"))
    assert summary["num_photos"] == 20
    assert summary["classes"] == {"cats": {"train": 8, "val": 2, "test": 2}, "dogs": {"train": 6, "val": 1, "test": 1}}
    assert summary["splits"] == {"train": 14, "val": 3, "test": 3}
    assert json.loads(json.dumps(summary)) == summary


@pytest.mark.shared_data
def test_real_photos_with_their_own_split_are_prepared(shared_data: Path, tmp_path: Path, definition_of: DefinitionOf) -> None:
    data = prepare_data(definition_of(f'folder = "{shared_data / "clothing10"}"\nimage_size = 64'), tmp_path)
    assert summarize(data)["splits"] == {"train": 617, "val": 341, "test": 372}
    assert summarize(data)["classes"]["t-shirt"] == {"train": 159, "val": 81, "test": 52}
