import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from study.data.dataset import prepare_data
from study.data.file_kinds import HEIC_ENDINGS, NO_PHOTO_ENDINGS, OTHER_ENDINGS, PHOTO_ENDINGS, RAW_ENDINGS
from study.data.images import FORMATS
from study.data.records import Reason
from study.data.sources import FolderSource, InstrumentSource, open_source
from study.definition import StudyDefinition
from study.errors import DataError

WritePhotos = Callable[..., Path]


def test_folder_of_classes_has_no_split_of_its_own(tmp_path: Path, write_photos: WritePhotos) -> None:
    records = FolderSource(write_photos(tmp_path, {"dogs": 1, "cats": 2})).records
    assert records.photos == ("cats/00.jpg", "cats/01.jpg", "dogs/00.jpg")
    assert records.labels == ("cats", "cats", "dogs")
    assert records.classes == ("cats", "dogs")
    assert records.groups == records.photos
    assert records.splits == ("", "", "")
    assert not records.has_own_split


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "Validation"])
def test_folder_of_splits_brings_its_split(tmp_path: Path, write_photos: WritePhotos, validation: str) -> None:
    folders = [f"{split}/{name}" for split in ("train", validation, "test") for name in ("cats", "dogs")]
    records = FolderSource(write_photos(tmp_path, dict.fromkeys(folders, 1))).records
    split_of = dict(zip(records.photos, records.splits, strict=True))
    assert split_of["train/cats/00.jpg"] == "train"
    assert split_of[f"{validation}/cats/00.jpg"] == "val"
    assert split_of["test/dogs/00.jpg"] == "test"
    assert records.classes == ("cats", "dogs")


def test_test_folder_may_be_missing(tmp_path: Path, write_photos: WritePhotos) -> None:
    root = write_photos(tmp_path, {"train/a": 1, "train/b": 1, "val/a": 1, "val/b": 1})
    assert set(FolderSource(root).records.splits) == {"train", "val"}


def test_only_visible_photos_count_at_any_depth_and_in_any_case(tmp_path: Path, write_photos: WritePhotos) -> None:
    root = write_photos(tmp_path, {"cats": 1, "cats/more/deep": 1, "cats/.hidden": 1, "dogs": 1, ".git/x": 1})
    (root / "dogs" / "00.jpg").rename(root / "dogs" / "ONE.TIFF")
    for ignored in ("cats/.thumbnail.jpg", "cats/notes.txt", "cats/Thumbs.db", "README.md", "LICENSE"):
        (root / ignored).write_text("no photo")
    records = FolderSource(root).records
    assert records.photos == ("cats/00.jpg", "cats/more/deep/00.jpg", "dogs/ONE.TIFF")
    assert records.dropped == ()


@pytest.mark.parametrize("ending", ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "jfif", "avif", "jp2", "ppm"])
def test_every_image_ending_is_a_photo(tmp_path: Path, write_photos: WritePhotos, ending: str) -> None:
    root = write_photos(tmp_path, {"cats": 1, "dogs": 1})
    (root / "cats" / "00.jpg").rename(root / "cats" / f"00.{ending}")
    assert FolderSource(root).records.photos[0] == f"cats/00.{ending}"


def test_every_ending_of_a_format_that_is_decoded_is_a_photos() -> None:
    Image.init()
    decoded = {ending for ending, name in Image.registered_extensions().items() if name in (*FORMATS, "MPO")}
    assert decoded == PHOTO_ENDINGS
    every = [PHOTO_ENDINGS, HEIC_ENDINGS, RAW_ENDINGS, OTHER_ENDINGS, NO_PHOTO_ENDINGS]
    assert sum(map(len, every)) == len(frozenset().union(*every)), "an ending must have one meaning"


def test_files_that_may_be_photos_and_are_not_read_are_dropped_with_their_reason(
    tmp_path: Path, write_photos: WritePhotos
) -> None:
    root = write_photos(tmp_path, {f"{split}/{name}": 1 for split in ("train", "val") for name in ("cats", "dogs")})
    for name in ("01.HEIC", "02.nef", "03.psd", "more/04.jpg_large", "05"):
        (root / "train" / "cats" / name).parent.mkdir(exist_ok=True)
        (root / "train" / "cats" / name).touch()
    (root / "train" / "cats" / "06.jpg").symlink_to(root / "nowhere.jpg")
    for name in ("loose.jpg", "val/loose.heic", "labels.mat"):
        (root / name).touch()
    records = FolderSource(root).records
    assert len(records.photos) == 4
    assert {dropped.name: dropped.reason for dropped in records.dropped} == {
        "train/cats/01.HEIC": Reason.FORMAT_NOT_READ,
        "train/cats/02.nef": Reason.FORMAT_NOT_READ,
        "train/cats/03.psd": Reason.FORMAT_NOT_READ,
        "train/cats/more/04.jpg_large": Reason.ENDING_UNKNOWN,
        "train/cats/05": Reason.ENDING_UNKNOWN,
        "train/cats/06.jpg": Reason.FILE_MISSING,
        "loose.jpg": Reason.OUTSIDE_CLASSES,
        "val/loose.heic": Reason.OUTSIDE_CLASSES,
    }
    detail_of = {dropped.name: dropped.detail for dropped in records.dropped}
    assert detail_of["train/cats/01.HEIC"].startswith("HEIC is not read: save it as JPEG")
    assert "develop" in detail_of["train/cats/02.nef"]


def test_a_file_that_was_left_out_changes_the_report_and_not_the_data(
    tmp_path: Path, write_photos: WritePhotos, definition_of: Callable[[str], StudyDefinition]
) -> None:
    root = write_photos(tmp_path / "photos", {"cats": 6, "dogs": 6})
    definition = definition_of('folder = "photos"\nimage_size = 16')
    before = prepare_data(definition, tmp_path / "cache")
    (root / "cats" / os.fsdecode(b"caf\xe9.heic")).touch()
    after = prepare_data(definition, tmp_path / "cache")
    assert after.digest == before.digest
    assert after.report.dropped["format not read"].examples[0].photo == "cats/caf\\udce9.heic"
    assert json.loads(after.report.model_dump_json())["num_listed"] == 13


def test_a_folder_that_cannot_be_listed_is_an_error_that_names_it(
    tmp_path: Path, write_photos: WritePhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_photos(tmp_path, {"cats/more": 1, "dogs": 1})
    list_entries = os.scandir

    def refuse(folder: Path) -> Any:  # root may list everything
        if Path(folder).name == "more":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        return list_entries(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"every folder must be readable, but .*cats/more.* is not: Permission denied"):
        FolderSource(root)


def test_linked_folders_are_followed_but_not_in_circles(tmp_path: Path, write_photos: WritePhotos) -> None:
    write_photos(tmp_path / "elsewhere", {"photos": 1})
    root = write_photos(tmp_path / "root", {"cats": 1, "dogs": 1})
    (root / "cats" / "linked").symlink_to(tmp_path / "elsewhere" / "photos", target_is_directory=True)
    (root / "cats" / "again").symlink_to(root / "cats", target_is_directory=True)
    assert FolderSource(root).records.photos == ("cats/00.jpg", "cats/linked/00.jpg", "dogs/00.jpg")


def test_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"must be a folder of photos, but .*photos does not exist\. Correct `folder` in \[data\]"
    ):
        FolderSource(tmp_path / "photos")


def test_file_in_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "photos").write_text("")
    with pytest.raises(DataError, match="photos is a file"):
        FolderSource(tmp_path / "photos")


def test_folder_without_class_folders_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_text("")
    with pytest.raises(DataError, match=r"holds no folders\. Sort its photos into class folders"):
        FolderSource(tmp_path)


def test_test_folder_with_loose_photos_is_an_error(tmp_path: Path, write_photos: WritePhotos) -> None:
    root = write_photos(tmp_path, {"train/a": 1, "train/b": 1, "val/a": 1, "val/b": 1, "test": 2})
    with pytest.raises(DataError, match="test holds no folders"):
        FolderSource(root)


def test_single_class_is_an_error_that_names_it(tmp_path: Path, write_photos: WritePhotos) -> None:
    with pytest.raises(DataError, match=r"2 classes or more, but .* has only 'images'.*let `folder` in .* point there"):
        FolderSource(write_photos(tmp_path, {"images/cats": 1, "images/dogs": 1}))


def test_empty_class_folder_is_an_error_that_names_it(tmp_path: Path, write_photos: WritePhotos) -> None:
    root = write_photos(tmp_path, {"cats": 1, "dogs": 0})
    (root / "dogs" / "notes.txt").write_text("")
    with pytest.raises(DataError, match=r"class folder .*dogs holds none\. Add photos \(apng avif"):
        FolderSource(root)
    (root / "dogs" / "1.heic").touch()
    with pytest.raises(DataError, match=r"dogs holds none that is read \(1 left out, such as dogs/1\.heic: HEIC is not read"):
        FolderSource(root)


@pytest.mark.parametrize(("folder", "missing"), [("train", "validation"), ("val", "train"), ("test", "train")])
def test_train_and_validation_folders_are_required(
    tmp_path: Path, write_photos: WritePhotos, folder: str, missing: str
) -> None:
    with pytest.raises(DataError, match=f"'train' and 'validation' .*holds '{folder}'. Add '{missing}'"):
        FolderSource(write_photos(tmp_path, {f"{folder}/cats": 1, f"{folder}/dogs": 1}))


def test_split_folders_beside_class_folders_are_an_error(tmp_path: Path, write_photos: WritePhotos) -> None:
    with pytest.raises(DataError, match="holds both: the split folder 'train' beside 'cats', 'dogs'"):
        FolderSource(write_photos(tmp_path, {"train/cats": 1, "cats": 1, "dogs": 1}))


def test_two_folders_for_one_split_are_an_error(tmp_path: Path, write_photos: WritePhotos) -> None:
    with pytest.raises(DataError, match=r"one folder, but .* holds 'train', 'val', 'validation'"):
        FolderSource(write_photos(tmp_path, {"train/a": 1, "val/a": 1, "validation/a": 1}))


def test_name_that_is_no_utf8_is_an_error(tmp_path: Path, write_photos: WritePhotos) -> None:
    root = write_photos(tmp_path, {"cats": 1, "dogs": 1})
    try:
        (root / "cats" / "00.jpg").rename(root / "cats" / os.fsdecode(b"caf\xe9.jpg"))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(DataError, match="must be UTF-8"):
        FolderSource(root)


def test_photo_that_vanished_is_an_error_that_names_it(tmp_path: Path, write_photos: WritePhotos) -> None:
    source = FolderSource(write_photos(tmp_path, {"cats": 1, "dogs": 1}))
    (tmp_path / "cats" / "00.jpg").unlink()
    for reads in (source.fingerprint, lambda: source.read("cats/00.jpg"), lambda: source.digest_of("cats/00.jpg")):
        with pytest.raises(DataError, match=r"cats/00\.jpg in .* is not: No such file"):
            reads()


def test_fingerprint_changes_with_a_photo_even_if_size_and_time_are_kept(tmp_path: Path, write_photos: WritePhotos) -> None:
    source = FolderSource(write_photos(tmp_path, {"cats": 1, "dogs": 1}))
    before, photo = source.fingerprint(), tmp_path / "cats" / "00.jpg"
    status = photo.stat()
    assert FolderSource(tmp_path).fingerprint() == before
    photo.write_bytes(bytes(len(photo.read_bytes())))
    os.utime(photo, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert FolderSource(tmp_path).fingerprint() != before


def test_digest_is_of_the_content_alone(tmp_path: Path, write_photos: WritePhotos) -> None:
    source = FolderSource(write_photos(tmp_path, {"cats": 2, "dogs": 1}))
    before = source.digest_of("cats/00.jpg")
    os.utime(tmp_path / "cats" / "00.jpg", ns=(0, 0))
    assert source.digest_of("cats/00.jpg") == before != source.digest_of("cats/01.jpg")


@pytest.mark.parametrize(
    ("target", "classes"),
    [
        ("type", ("cello", "viola", "violin")),
        ("country", ("England", "France", "Germany", "Italy")),
        ("view", ("back", "front")),
    ],
)
def test_generated_instruments_are_labelled_by_their_target(
    definition_of: Callable[[str], StudyDefinition], target: str, classes: tuple[str, ...]
) -> None:
    source = open_source(definition_of(f'generated = "instruments"\nnum_photos = 60\ntarget = "{target}"\nimage_size = 32'))
    records = source.records
    assert records.classes == classes
    assert len(set(records.photos)) == len(records.labels) == 60
    assert 1 < len(set(records.groups)) < 60  # an instrument has several photos
    drawing = source.read(records.photos[0])
    assert isinstance(drawing, Image.Image)
    assert max(drawing.size) == 32


def test_target_changes_labels_but_neither_drawings_nor_fingerprint() -> None:
    by_type, by_view = (InstrumentSource(60, target, 0, 32) for target in ("type", "view"))
    assert by_type.records.photos == by_view.records.photos
    assert by_type.records.groups == by_view.records.groups
    assert by_type.fingerprint() == by_view.fingerprint()
    photo = by_type.records.photos[7]
    assert by_type.digest_of(photo) == by_view.digest_of(photo)
    assert np.array_equal(np.asarray(by_type.read(photo)), np.asarray(by_view.read(photo)))


@pytest.mark.parametrize("other", [InstrumentSource(60, "type", 1, 32), InstrumentSource(61, "type", 0, 32)])
def test_generated_fingerprint_changes_with_seed_and_number(other: InstrumentSource) -> None:
    assert InstrumentSource(60, "type", 0, 32).fingerprint() != other.fingerprint()


def test_generated_pairs_have_one_front_and_one_back_of_an_instrument() -> None:
    every, pairs = (InstrumentSource(100, "type", 0, 32, views).records for views in ("each", "pair"))
    assert len(pairs.photos) + len(pairs.dropped) == len(every.photos) == 100
    assert {dropped.reason for dropped in pairs.dropped} == {Reason.VIEW_MISSING}
    seen: dict[int, list[tuple[str, str]]] = {}
    for row, group, view in zip(pairs.rows, pairs.groups, pairs.views, strict=True):
        seen.setdefault(row, []).append((group, view))
    assert all(sorted(view for _, view in pair) == ["back", "front"] for pair in seen.values())
    assert all(len({group for group, _ in pair}) == 1 for pair in seen.values())
    assert len(set(pairs.groups)) < len(seen)  # an instrument with two of each makes two pairs
    assert InstrumentSource(100, "type", 0, 32, "pair").fingerprint() != InstrumentSource(100, "type", 0, 32).fingerprint()


def test_folder_in_a_definition_is_relative_to_its_file(
    tmp_path: Path, write_photos: WritePhotos, definition_of: Callable[[str], StudyDefinition]
) -> None:
    write_photos(tmp_path / "photos", {"cats": 1, "dogs": 1})
    assert open_source(definition_of('folder = "photos"')).records.origin == str(tmp_path / "photos")
