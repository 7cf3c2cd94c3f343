import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from study.data.dataset import prepare_data
from study.data.statistics import channel_statistics
from study.data.study_data import open_data, summarize
from study.definition import StudyDefinition
from study.errors import DataError

WritePhotos = Callable[..., Path]
DefinitionOf = Callable[[str], StudyDefinition]

FOLDER = 'folder = "photos"\nimage_size = 16\n'


def packed_arrays(cache_folder: Path) -> list[Path]:
    """The packed arrays; signatures lie beside them."""
    return [file for file in (cache_folder / "images").glob("*.npy") if "phash" not in file.name]


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
    for name in ("images", "labels", "views", "rows"):
        assert np.array_equal(getattr(opened, name), getattr(prepared, name))
    for (_, one), (_, other) in zip(opened.splits.items(), prepared.splits.items(), strict=True):
        assert np.array_equal(one, other)
        assert one.dtype == np.int64


def test_second_preparation_decodes_nothing_and_gives_the_same(definition: StudyDefinition, tmp_path: Path) -> None:
    decoded: list[int] = []
    first = prepare_data(definition, tmp_path / "cache", lambda done, total: decoded.append(done))
    second = prepare_data(definition, tmp_path / "cache", lambda done, total: decoded.append(done))
    assert decoded[-1] == 20
    assert decoded.count(20) == 1
    assert (second.folder, second.digest) == (first.folder, first.digest)


def test_the_report_is_of_this_source_though_the_photos_left_are_the_same(
    tmp_path: Path, write_photos: WritePhotos, definition_of: DefinitionOf
) -> None:
    write_photos(tmp_path / "photos", {"all": 12})
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["photo,kind", *(f"photos/all/{place:02d}.jpg,{place % 2}" for place in range(12))]))
    definition = definition_of('table = "table.csv"\nimages = "photo"\ntarget = "kind"\nimage_size = 16')
    before = prepare_data(definition, tmp_path / "cache")
    with table.open("a") as rows:
        rows.write("".join(f"\nphoto/all/{place:02d}.jpg,0" for place in range(5)))
    after = prepare_data(definition, tmp_path / "cache")
    assert (after.digest, after.folder) == (before.digest, before.folder)
    assert (before.report.num_listed, before.report.num_kept, dict(before.report.dropped)) == (12, 12, {})
    assert (after.report.num_listed, after.report.num_kept) == (17, 12)
    assert {reason: left_out.num_photos for reason, left_out in after.report.dropped.items()} == {"file missing": 5}


def test_two_sources_that_leave_the_same_photos_share_files_and_each_has_its_own_report(
    definition: StudyDefinition, definition_of: DefinitionOf, tmp_path: Path
) -> None:
    """Files that changed with the report would differ between the nodes of a cluster."""
    first = prepare_data(definition, tmp_path / "cache")
    content = (first.folder / "data.json").read_bytes()
    shutil.copytree(tmp_path / "photos", tmp_path / "copy")
    other = prepare_data(definition_of(FOLDER.replace("photos", "copy")), tmp_path / "cache")
    assert other.folder == first.folder
    assert other.report.origin != first.report.origin
    assert (first.folder / "data.json").read_bytes() == content


def test_a_report_in_an_older_file_is_not_believed(definition: StudyDefinition, tmp_path: Path) -> None:
    prepared = prepare_data(definition, tmp_path / "cache")
    file = prepared.folder / "data.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"report": {"num_listed": 99}}))
    assert prepare_data(definition, tmp_path / "cache").report == prepared.report
    assert open_data(prepared.folder).report.num_listed == 0


def test_a_cache_that_takes_no_prepared_data_is_an_error_that_says_what_to_do(
    definition: StudyDefinition, tmp_path: Path
) -> None:
    folder = prepare_data(definition, tmp_path / "cache").folder
    for name in ("data.json", "arrays.npz"):
        (folder / name).unlink()
    (folder / "arrays.npz").mkdir()  # root may write everywhere, but not a file over a folder
    with pytest.raises(DataError, match=r"prepared data need a writable folder .* does not take them: .*set STUDY_CACHE"):
        prepare_data(definition, tmp_path / "cache")
    assert [file.name for file in folder.iterdir()] == ["arrays.npz"]


def test_digest_changes_with_split_and_size_while_pixels_are_shared(
    definition: StudyDefinition, definition_of: DefinitionOf, tmp_path: Path
) -> None:
    variants = [FOLDER, FOLDER + "[data.split]\nseed = 1", FOLDER + "[data.split]\ntest = 0.3", FOLDER.replace("16", "17")]
    digests = {prepare_data(definition_of(variant), tmp_path / "cache").digest for variant in variants}
    assert len(digests) == 4
    assert len(packed_arrays(tmp_path / "cache")) == 2


def test_digest_changes_with_the_label_alone(definition_of: DefinitionOf, tmp_path: Path) -> None:
    generated = 'generated = "instruments"\nnum_photos = 60\nimage_size = 16\ntarget = '
    folders = [prepare_data(definition_of(generated + f'"{target}"'), tmp_path).folder for target in ("type", "view")]
    assert folders[0] != folders[1]
    assert len(packed_arrays(tmp_path)) == 1


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
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format_version": 1}))
    with pytest.raises(DataError, match="missing or wrong"):
        open_data(file.parent)


def test_data_of_an_earlier_format_are_written_anew(definition: StudyDefinition, tmp_path: Path) -> None:
    prepared = prepare_data(definition, tmp_path / "cache")
    file = prepared.folder / "data.json"
    earlier = json.loads(file.read_text()) | {"format_version": 3}
    del earlier["lumas"]
    file.write_text(json.dumps(earlier))
    again = prepare_data(definition, tmp_path / "cache")
    assert (again.folder, again.digest, again.report) == (prepared.folder, prepared.digest, prepared.report)
    assert json.loads(file.read_text())["format_version"] == 4


@pytest.mark.parametrize("damage", ["{", '{"format_version": 5}'])
def test_damaged_data_and_data_of_a_later_format_are_not_overwritten(
    definition: StudyDefinition, tmp_path: Path, damage: str
) -> None:
    file = prepare_data(definition, tmp_path / "cache").folder / "data.json"
    file.write_text(damage)
    with pytest.raises(DataError, match=r"data\.json is not: .*run the study again"):
        prepare_data(definition, tmp_path / "cache")
    assert file.read_text() == damage


def test_pairs_are_other_data_than_the_same_photos_for_themselves(definition_of: DefinitionOf, tmp_path: Path) -> None:
    generated = 'generated = "instruments"\nnum_photos = 60\nimage_size = 16\nviews = '
    each, pair = (prepare_data(definition_of(generated + f'"{views}"'), tmp_path) for views in ("each", "pair"))
    assert (each.example_views, pair.example_views) == ((), ("back", "front"))
    assert each.digest != pair.digest
    assert open_data(pair.folder).example_views == ("back", "front")


def test_data_without_its_images_is_an_error(definition: StudyDefinition, tmp_path: Path) -> None:
    data = prepare_data(definition, tmp_path / "cache")
    (packed,) = packed_arrays(tmp_path / "cache")
    packed.unlink()
    with pytest.raises(DataError, match=r"packed photos must be uint8 .* is unreadable"):
        open_data(data.folder)


def test_damaged_arrays_are_an_error(definition: StudyDefinition, tmp_path: Path) -> None:
    folder = prepare_data(definition, tmp_path / "cache").folder
    arrays = folder / "arrays.npz"
    whole = arrays.read_bytes()
    for damaged in (whole[:-9], b"", whole.replace(b"labels", b"labelz")):
        arrays.write_bytes(damaged)
        with pytest.raises(DataError, match=r"complete arrays\.npz, but .*run the study again"):
            open_data(folder)
    arrays.unlink()
    with pytest.raises(DataError, match="complete arrays"):
        open_data(folder)


def test_arrays_of_other_data_are_an_error(definition: StudyDefinition, definition_of: DefinitionOf, tmp_path: Path) -> None:
    folder = prepare_data(definition, tmp_path / "cache").folder
    other = prepare_data(definition_of(FOLDER + "[data.split]\nfolds = 3"), tmp_path / "cache").folder
    shutil.copy(other / "arrays.npz", folder / "arrays.npz")
    with pytest.raises(DataError, match=r"its splits are \[3, 20\] where data.json says \[1, 20\]"):
        open_data(folder)


def test_half_written_data_are_completed(definition: StudyDefinition, tmp_path: Path) -> None:
    data = prepare_data(definition, tmp_path / "cache")
    (data.folder / "data.json").unlink()
    (data.folder / "arrays.npz").write_bytes(b"half")
    assert prepare_data(definition, tmp_path / "cache").report == data.report


def test_each_fold_has_the_statistics_of_its_own_training_photos(
    definition: StudyDefinition, definition_of: DefinitionOf, tmp_path: Path
) -> None:
    data = prepare_data(definition_of(FOLDER + "[data.split]\nfolds = 3\nrepeats = 2"), tmp_path)
    assert len(data.folds) == data.report.num_folds == 6
    for index, fold in enumerate(data.folds):
        one = data.with_fold(index)
        assert one.splits is fold.splits
        assert one.statistics == channel_statistics(data.images, fold.splits.train)
    assert data.splits is data.folds[0].splits
    assert len({fold.statistics for fold in data.folds}) == 6


@pytest.mark.parametrize("index", [-1, 3])
def test_a_fold_that_is_not_there_is_refused(definition_of: DefinitionOf, tmp_path: Path, index: int) -> None:
    generated = 'generated = "instruments"\nnum_photos = 60\nimage_size = 16\n[data.split]\nfolds = 3'
    with pytest.raises(ValueError, match=r"a fold must be in \[0, 2\]"):
        prepare_data(definition_of(generated), tmp_path).with_fold(index)


def test_views_and_rows_of_photos_are_kept(definition_of: DefinitionOf, tmp_path: Path) -> None:
    data = prepare_data(definition_of('generated = "instruments"\nnum_photos = 60\nimage_size = 16'), tmp_path)
    assert [photo.split("/")[1].split("-")[0] for photo in data.photos] == data.views.tolist()
    instruments = [photo.split("/")[0] for photo in data.photos]
    assert all(len(set(np.array(instruments)[data.rows == row])) == 1 for row in data.rows)


def test_copies_of_a_photo_are_in_one_split(definition: StudyDefinition, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for copy in range(3):
        shutil.copy(photos / "cats" / "00.jpg", photos / "cats" / f"copy-{copy}.jpg")
    data = prepare_data(definition, tmp_path / "cache")
    copies = {place for place, photo in enumerate(data.photos) if photo == "cats/00.jpg" or "copy" in photo}
    assert [len(copies & set(indices.tolist())) for _, indices in data.splits.items()].count(4) == 1
    found = data.report.duplicates
    assert (found.num_sets, found.num_exact_sets, found.num_photos) == (1, 1, 4)


def test_a_training_copy_of_a_test_photo_is_in_no_split(
    tmp_path: Path, write_photos: WritePhotos, definition_of: DefinitionOf
) -> None:
    photos = write_photos(tmp_path / "photos", {f"{split}/{label}": 3 for split in ("train", "val", "test") for label in "ab"})
    for name in ("train/a/00.jpg", "test/a/00.jpg"):
        Image.fromarray(np.random.default_rng(99).integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(photos / name)
    # The fixture begins each folder anew, but draws on: only these two are equal.
    data = prepare_data(definition_of(FOLDER), tmp_path / "cache")
    left_out = data.photos.index("train/a/00.jpg")
    assert data.labels[left_out] == -1 or left_out not in np.concatenate([indices for _, indices in data.splits.items()])
    assert data.report.splits == {"train": 5, "val": 6, "test": 6}
    assert data.report.duplicates.leaks == (("test/a/00.jpg", "train/a/00.jpg"),)
    assert summarize(data)["num_photos"] == 17


def test_a_copy_of_a_test_photo_is_in_no_folds_training_wherever_the_source_put_it(
    tmp_path: Path, write_photos: WritePhotos, definition_of: DefinitionOf
) -> None:
    photos = write_photos(tmp_path / "photos", {f"{split}/{label}": 4 for split in ("train", "val", "test") for label in "ab"})
    for copy, original in (("val/a/00.jpg", "test/a/00.jpg"), ("val/b/01.jpg", "train/b/01.jpg")):
        shutil.copy(photos / original, photos / copy)
    data = prepare_data(definition_of(FOLDER + "[data.split]\nfolds = 3"), tmp_path / "cache")
    twins = {data.photos.index(name) for name in ("val/b/01.jpg", "train/b/01.jpg")}
    for fold in data.folds:
        used = np.concatenate([fold.splits.train, fold.splits.val])
        assert data.photos.index("val/a/00.jpg") not in used
        assert len(twins & set(fold.splits.train.tolist())) in (0, 2)
    assert [left_out.num_photos for left_out in data.report.dropped.values()] == [1]
    assert data.report.num_kept == 23


def test_an_unreadable_photo_is_left_out_and_reported(definition: StudyDefinition, tmp_path: Path) -> None:
    (tmp_path / "photos" / "cats" / "00.jpg").write_bytes(b"no photo")
    data = prepare_data(definition, tmp_path / "cache")
    assert "cats/00.jpg" not in data.photos
    assert (data.report.num_listed, data.report.num_kept) == (20, 19)
    assert [reason.num_photos for reason in data.report.quarantined.values()] == [1]


def test_too_many_unreadable_photos_are_an_error(definition: StudyDefinition, tmp_path: Path) -> None:
    for photo in ("00", "01"):
        (tmp_path / "photos" / "cats" / f"{photo}.jpg").write_bytes(b"no photo")
    with pytest.raises(DataError, match=r"at most 5.0% .* 2 of 20 \(10.0%\) .*cats/00\.jpg: .*`max_unreadable`"):
        prepare_data(definition, tmp_path / "cache")


def test_numbers_are_kept_as_values_and_have_no_class(
    tmp_path: Path, write_photos: WritePhotos, definition_of: DefinitionOf
) -> None:
    write_photos(tmp_path / "photos", {"all": 12})
    rows = [f"photos/all/{place:02d}.jpg,{100 + place}" for place in range(12)]
    (tmp_path / "prices.csv").write_text("\n".join(["photo,price", *rows]))
    table = 'table = "prices.csv"\nimages = "photo"\ntarget = "price"\ntask = "number"\nlog_target = true\nimage_size = 16'
    data = prepare_data(definition_of(table), tmp_path / "cache")
    assert data.values is not None
    assert data.values.dtype == np.float32
    np.testing.assert_allclose(data.values, np.log(np.arange(100, 112)), rtol=1e-6)
    assert data.classes == ()
    assert set(data.labels) == {-1}
    assert summarize(data)["classes"] == {}


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
