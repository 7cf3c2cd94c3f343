"""torchvision's data sets, opened by torchvision's own code from files that are written here: nothing is downloaded."""

import bz2
import errno
import inspect
import os
import pickle
import socket
import urllib.error
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision.datasets
from PIL import Image

from study.data.images import UnreadablePhotoError, decode
from study.data.packed import pack_images
from study.data.sources import open_source
from study.data.torchvision_sets import DATA_SETS
from study.data.torchvision_source import TorchvisionSource, _class_names, _class_numbers
from study.data_definition import SplitDefinition
from study.definition import StudyDefinition
from study.errors import DataError

SPLIT = SplitDefinition(validation=0.25)


def write_usps(root: Path, num_train: int = 40, num_test: int = 10) -> Path:
    """Digits as USPS keeps them: a line an image, its class (1 to 10) and 256 pixels from -1 to 1."""
    generator = np.random.default_rng(0)
    (root / "USPS").mkdir(parents=True)
    for name, number in (("usps.bz2", num_train), ("usps.t.bz2", num_test)):
        lines = []
        for place in range(number):
            pixels = generator.uniform(-1, 1, 256)
            lines.append(f"{place % 10 + 1} " + " ".join(f"{index}:{pixel:.3f}" for index, pixel in enumerate(pixels, start=1)))
        (root / "USPS" / name).write_bytes(bz2.compress("\n".join(lines).encode()))
    return root


def write_pets(root: Path) -> Path:
    """Six photos of two breeds as Oxford-IIIT Pet keeps them."""
    folder = root / "OxfordIIITPet" / "oxford-iiit-pet"
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    names = [f"{breed}_{number}" for breed in ("Abyssinian", "basset_hound") for number in range(1, 9)]
    for place, name in enumerate(names):
        Image.new("RGB", (30, 20), (place * 10, 0, 0)).save(folder / "images" / f"{name}.jpg")
    lines = [f"{name} {1 + ('basset' in name)} 1 1" for name in names]
    (folder / "annotations" / "trainval.txt").write_text("\n".join(lines[:4] + lines[8:12]))
    (folder / "annotations" / "test.txt").write_text("\n".join(lines[4:8] + lines[12:]))
    return root


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no network in tests")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.usefixtures("no_network")
def test_a_data_set_brings_photos_labels_and_its_own_test_split(tmp_path: Path) -> None:
    source = TorchvisionSource("USPS", write_usps(tmp_path), SPLIT)
    records = source.records
    assert Counter(records.splits) == {"train": 30, "val": 10, "test": 10}
    assert records.photos[0] == "train/000000"
    assert [photo for photo, split in zip(records.photos, records.splits, strict=True) if split == "test"] == [
        f"test/{index:06d}" for index in range(10)
    ]
    assert records.classes == tuple("0123456789")
    assert records.groups == records.photos
    assert decode(source.read("train/000000")).size == (16, 16)


@pytest.mark.usefixtures("no_network")
def test_validation_is_cut_from_training_by_class_and_by_seed(tmp_path: Path) -> None:
    write_usps(tmp_path)
    cuts = [TorchvisionSource("USPS", tmp_path, SplitDefinition(validation=0.25, seed=seed)).records for seed in (0, 0, 1)]
    assert cuts[0].splits == cuts[1].splits != cuts[2].splits
    in_val = [label for label, split in zip(cuts[0].labels, cuts[0].splits, strict=True) if split == "val"]
    assert Counter(in_val) == dict.fromkeys("0123456789", 1)


@pytest.mark.usefixtures("no_network")
def test_classes_are_called_as_the_data_set_calls_them(tmp_path: Path, definition_of: Callable[[str], StudyDefinition]) -> None:
    write_pets(tmp_path / "torchvision")
    source = open_source(definition_of('torchvision = "OxfordIIITPet"'), tmp_path)
    assert source.records.classes == ("Abyssinian", "Basset Hound")
    assert Counter(source.records.splits) == {"train": 6, "val": 2, "test": 8}
    # The test photos were written after the first four of each breed: their colour tells which they are.
    image = decode(source.read("test/000000"))
    assert abs(np.asarray(image).mean(axis=(0, 1))[0] - 40) < 3


@pytest.mark.usefixtures("no_network")
def test_fingerprint_and_digest_change_with_a_file(tmp_path: Path) -> None:
    write_pets(tmp_path)
    source = TorchvisionSource("OxfordIIITPet", tmp_path, SPLIT)
    before = source.fingerprint(), source.digest_of("train/000000"), source.digest_of("train/000001")
    again = TorchvisionSource("OxfordIIITPet", tmp_path, SPLIT)
    assert (again.fingerprint(), again.digest_of("train/000000"), again.digest_of("train/000001")) == before
    Image.new("RGB", (30, 20), "blue").save(tmp_path / "OxfordIIITPet" / "oxford-iiit-pet" / "images" / "Abyssinian_1.jpg")
    assert source.fingerprint() != before[0]
    assert source.digest_of("train/000000") != before[1]
    assert source.digest_of("train/000001") == before[2]


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"no photo", "it is in no image format that is known"), (None, "No such file or directory")],
    ids=["damaged", "missing"],
)
def test_one_photo_that_cannot_be_read_is_left_out_and_the_others_are_packed(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    write_pets(tmp_path)
    source = TorchvisionSource("OxfordIIITPet", tmp_path, SPLIT)
    file = tmp_path / "OxfordIIITPet" / "oxford-iiit-pet" / "images" / "Abyssinian_1.jpg"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UnreadablePhotoError, match=rf"train/000000 of torchvision's OxfordIIITPet in .* is not: {reason}"):
        source.read("train/000000")
    packed = pack_images(source, 16, tmp_path / "packed")
    assert [one.photo for one in packed.quarantine] == ["train/000000"]
    assert len(packed.images) == 15
    assert pack_images(source, 16, tmp_path / "packed", full_check=True).digest == packed.digest


@pytest.mark.usefixtures("no_network")
def test_a_link_that_leads_nowhere_does_not_keep_a_data_set_from_being_packed(tmp_path: Path) -> None:
    write_pets(tmp_path)
    source = TorchvisionSource("OxfordIIITPet", tmp_path, SPLIT)
    before = source.fingerprint()
    photo = tmp_path / "OxfordIIITPet" / "oxford-iiit-pet" / "images" / "Abyssinian_1.jpg"
    photo.unlink()
    photo.symlink_to(tmp_path / "nowhere.jpg")
    assert source.fingerprint() != before
    assert [one.photo for one in pack_images(source, 16, tmp_path / "packed").quarantine] == ["train/000000"]


@pytest.mark.usefixtures("no_network")
def test_a_data_set_whose_folder_is_gone_is_an_error_and_no_photos_fault(tmp_path: Path) -> None:
    write_pets(tmp_path)
    source = TorchvisionSource("OxfordIIITPet", tmp_path, SPLIT)
    (tmp_path / "OxfordIIITPet").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"must be where it was opened, but .* has lost .*OxfordIIITPet") as caught:
        source.read("train/000000")
    assert not isinstance(caught.value, UnreadablePhotoError)


@pytest.mark.usefixtures("no_network")
def test_a_failing_disk_is_an_error_and_no_photos_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pets(tmp_path)
    source = TorchvisionSource("OxfordIIITPet", tmp_path, SPLIT)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("PIL.Image.open", fail)
    with pytest.raises(DataError, match=r"Input/output error") as caught:
        source.read("train/000000")
    assert not isinstance(caught.value, UnreadablePhotoError)


@pytest.mark.usefixtures("no_network")
def test_a_source_can_be_sent_to_another_process(tmp_path: Path) -> None:
    source = TorchvisionSource("USPS", write_usps(tmp_path), SPLIT)
    sent = pickle.loads(pickle.dumps(source))
    assert sent.digest_of("test/000009") == source.digest_of("test/000009")


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", ["USPS", "OxfordIIITPet", "CIFAR10", "DTD", "EMNIST"])
def test_without_files_and_network_there_is_one_clear_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=rf"but {name} is not in .*{name} and did not come: .+\. Download it where") as caught:
        TorchvisionSource(name, tmp_path, SPLIT)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", ["StanfordCars", "ImageNet"])
def test_a_data_set_that_torchvision_cannot_download_says_so(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=rf"{name} is not in .* and did not come: .+ copy its files there") as caught:
        TorchvisionSource(name, tmp_path, SPLIT)
    assert "\n" not in str(caught.value)


def without_permission(*_: object, **__: object) -> None:
    raise PermissionError(errno.EACCES, "Permission denied", "usps")


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("refused", ["pathlib.Path.mkdir", "filelock.FileLock.acquire"])
def test_a_folder_that_nobody_may_write_to_serves_what_it_has(
    refused: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_usps(tmp_path)
    monkeypatch.setattr(refused, without_permission)
    assert len(TorchvisionSource("USPS", tmp_path, SPLIT).records.photos) == 50


@pytest.mark.parametrize("refused", ["pathlib.Path.mkdir", "filelock.FileLock.acquire"])
def test_a_folder_that_can_neither_be_read_from_nor_written_to_is_one_clear_error(
    refused: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refused, without_permission)
    with pytest.raises(DataError, match=r"but USPS is not in .*USPS, and cannot be downloaded there: .*Permission denied.*\. "):
        TorchvisionSource("USPS", tmp_path, SPLIT)


@pytest.mark.parametrize(("name", "hint"), [("Cifar10", "Did you mean `CIFAR10`"), ("CocoDetection", "Known: CIFAR10")])
def test_an_unknown_name_gets_the_nearest(tmp_path: Path, name: str, hint: str) -> None:
    with pytest.raises(DataError, match=rf"but is '{name}'\. {hint}"):
        TorchvisionSource(name, tmp_path, SPLIT)


@pytest.mark.parametrize("name", DATA_SETS)
def test_every_known_data_set_takes_what_it_is_opened_with(name: str) -> None:
    assert name in torchvision.datasets.__all__
    takes = inspect.signature(getattr(torchvision.datasets, name)).parameters
    for options in DATA_SETS[name].values():
        unknown = set(options) - set(takes)
        assert not unknown or any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values())
    assert "root" in takes


# Data sets that torchvision can download and we leave out, each for one reason.
NOT_FOR_CLASSES = {
    "several labels or none": {"CelebA", "WIDERFace", "SBU", "MovingMNIST", "Kinetics", "Kitti", "PhotoTour", "LFWPairs"},
    "pixels are labelled": {"VOCSegmentation", "VOCDetection", "SBDataset", "Middlebury2014Stereo"},
    "test classes are others": {"LFWPeople", "Omniglot"},
    "which of its versions is for a definition to say": {"INaturalist"},
}


def test_no_downloadable_classification_data_set_is_forgotten() -> None:
    downloadable = {
        name
        for name in torchvision.datasets.__all__
        if "download" in inspect.signature(getattr(torchvision.datasets, name)).parameters
    }
    assert downloadable - set(DATA_SETS) == set().union(*NOT_FOR_CLASSES.values())


@pytest.mark.usefixtures("no_network")
def test_a_damaged_photo_does_not_keep_a_data_set_from_being_opened(tmp_path: Path) -> None:
    """GTSRB lists its photos with their classes: none is decoded to learn its class."""
    folder = tmp_path / "GTSRB" / "gtsrb"
    tests = folder / "GTSRB" / "Final_Test" / "Images"
    tests.mkdir(parents=True)
    for number in range(2):
        training = folder / "GTSRB" / "Training" / f"{number:05d}"
        training.mkdir(parents=True)
        for place in range(4):
            Image.new("RGB", (30, 20), (place * 10, 0, 0)).save(training / f"{place:05d}.ppm")
        Image.new("RGB", (30, 20), "blue").save(tests / f"{number:05d}.ppm")
    (folder / "GT-final_test.csv").write_text("Filename;ClassId\n00000.ppm;0\n00001.ppm;1\n")
    (folder / "GTSRB" / "Training" / "00001" / "00002.ppm").write_bytes(b"no photo")
    records = TorchvisionSource("GTSRB", tmp_path, SPLIT).records
    assert Counter(records.labels) == {"0": 5, "1": 5}


def test_labels_are_read_with_the_images_where_nothing_lists_them() -> None:
    images = torchvision.datasets.FakeData(size=5, image_size=(3, 8, 8), num_classes=12)
    assert _class_numbers(images) == [images[index][1] for index in range(5)]


def test_names_fall_back_on_padded_numbers_and_join_synonyms() -> None:
    class Named:
        classes = (("crane", "bird"), ("crane",))

    assert _class_names(Named(), [0, 1]) == {0: "crane, bird", 1: "crane"}
    assert _class_names(object(), [3, 11]) == {3: "03", 11: "11"}
