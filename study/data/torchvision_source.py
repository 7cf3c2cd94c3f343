"""torchvision's classification data sets, downloaded where there is a network."""

import hashlib
import inspect
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from PIL import Image

from study.data.images import DECODE_ERRORS, UnreadablePhotoError, reason_of
from study.data.photo_files import OF_ONE_FILE
from study.data.records import Records, SplitName
from study.data.torchvision_sets import DATA_SETS, Options
from study.data_definition import SplitDefinition
from study.errors import DataError, nearest

# Where data sets keep their class numbers: reading them there spares decoding every image.
LABEL_ATTRIBUTES = ("targets", "labels", "y", "_labels")
NAME_ATTRIBUTES = ("classes", "categories")
# What constructors raise where files are missing, or a package that reads them is.
ABSENT = (RuntimeError, OSError, ModuleNotFoundError)


class TorchvisionSource:
    """A data set of `torchvision.datasets` by its class name, with its own split. A photo's id is its split and number.

    Where it brings training and test but no validation split, `split.validation` of its training photos become that, of each
    class alike; the test photos stay what they are for everybody. Where it brings no split, the study cuts one.

    Args:
        name: the class's name, one of `DATA_SETS`.
        root: a folder for all of torchvision's data sets; each has one of its own there.
        split: the share and the seed for a validation split.

    Raises:
        DataError: if there is no such data set, or it is not there and cannot be downloaded.
    """

    def __init__(self, name: str, root: Path, split: SplitDefinition) -> None:
        if name not in DATA_SETS:
            otherwise_written = (f"Did you mean `{known}`?" for known in DATA_SETS if known.lower() == name.lower())
            raise DataError(
                f"`torchvision` in [data] must name a classification data set of torchvision.datasets, but is {name!r}. "
                f"{next(otherwise_written, nearest(name, DATA_SETS))}"
            )
        self.name = name
        self.folder = root / name
        self._parts = {part: _opened(name, self.folder, options) for part, options in DATA_SETS[name].items()}
        self._place_of = {
            f"{part or 'all'}/{index:06d}": (part, index)
            for part, images in self._parts.items()
            for index in range(len(images))
        }
        numbers = {part: _class_numbers(images) for part, images in self._parts.items()}
        names = _class_names(next(iter(self._parts.values())), [number for part in numbers.values() for number in part])
        labels = tuple(names[number] for part in numbers.values() for number in part)
        splits = _with_validation([part for part in numbers for _ in numbers[part]], labels, split)
        photos = tuple(self._place_of)
        self.records = Records(photos, labels, photos, splits, tuple(sorted(set(labels))), origin=f"torchvision's {name}")

    def fingerprint(self) -> str:
        """Hash of the path, size and times of change of every file of the data set."""
        hasher = hashlib.sha256(os.fsencode(self.folder.resolve()))
        for parent, folders, files in os.walk(self.folder):
            folders.sort()
            for file in sorted(files):
                status = _status_of(os.path.join(parent, file))
                hasher.update(os.fsencode(os.path.join(parent, file)))
                hasher.update(f"\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ctime_ns}".encode())
        return hasher.hexdigest()

    def read(self, photo: str) -> Image.Image:
        """The image.

        Raises:
            UnreadablePhotoError: if its file cannot be decoded, or is not there.
            DataError: if the data set's folder is gone, or its disk fails.
        """
        part, index = self._place_of[photo]
        try:
            image: Image.Image = self._parts[part][index][0]
        except DECODE_ERRORS as error:
            if self._is_beyond_the_photo(error):
                raise DataError(
                    f"a data set must be where it was opened, but torchvision's {self.name} has lost {photo} in {self.folder}: "
                    f"{error}. Look after the disk; a folder that is deleted is downloaded anew."
                ) from error
            raise UnreadablePhotoError(f"{photo} of torchvision's {self.name} in {self.folder}", reason_of(error)) from error
        return image

    def _is_beyond_the_photo(self, error: BaseException) -> bool:
        """Whether others would fail alike. Pillow's own errors have no number; the disk's have."""
        is_of_the_disk = isinstance(error, OSError) and error.errno is not None and not isinstance(error, OF_ONE_FILE)
        return is_of_the_disk or not self.folder.is_dir()

    def digest_of(self, photo: str) -> str:
        """Hash of the pixels."""
        image = self.read(photo)
        return hashlib.sha256(f"{image.mode}\0{image.size}\0".encode() + image.tobytes()).hexdigest()


def _status_of(path: str) -> os.stat_result:
    """Of the file, or of a link that leads nowhere: whether a photo misses it is found when that is read."""
    try:
        return os.stat(path)
    except FileNotFoundError:
        return os.lstat(path)


def _opened(name: str, folder: Path, options: Options) -> Any:
    """The data set as it lies in the folder; downloaded into it if that fails."""
    import torchvision.datasets  # seconds, and only this source needs it

    constructor = getattr(torchvision.datasets, name)
    takes = inspect.signature(constructor).parameters
    # QMNIST and EMNIST hand what they do not name on to MNIST, which takes it.
    can_download = "download" in takes or any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values())
    arguments = {"root": str(folder), **options}
    as_it_lies = arguments | ({"download": False} if can_download else {})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = FileLock(folder.with_suffix(".lock")).acquire()  # two studies that start together download once
    except OSError as unwritable:  # what others prepared may be read-only
        try:
            return constructor(**as_it_lies)
        except ABSENT:
            raise _unwritable(name, folder, unwritable) from unwritable
    with held:
        try:
            return constructor(**as_it_lies)
        except ABSENT as absent:
            if not can_download or isinstance(absent, ModuleNotFoundError):
                raise _unavailable(name, folder, absent) from absent
        try:
            return constructor(**arguments, download=True)
        except (RuntimeError, OSError, ValueError, EOFError) as error:  # URLError and broken archives are among them
            raise _unavailable(name, folder, error) from error


def _unwritable(name: str, folder: Path, error: OSError) -> DataError:
    return DataError(
        f"a torchvision data set must be on this machine, or its folder one that can be written to, but {name} is not in "
        f"{folder}, and cannot be downloaded there: {error}. Set STUDY_CACHE to a folder of yours, or copy its files there."
    )


def _unavailable(name: str, folder: Path, error: Exception) -> DataError:
    reason = str(error).strip().splitlines()[0].rstrip(".:") if str(error).strip() else type(error).__name__
    return DataError(
        f"a torchvision data set must be on this machine or within reach of its network, but {name} is not in {folder} and "
        f"did not come: {reason}. Download it where there is a network, and copy its files there."
    )


def _class_numbers(images: Any) -> list[int]:
    """The class number of each image, in order; read with the images only where the data set keeps no list of them.

    Else every photo would be decoded, and the first damaged one would keep the data set from being opened.
    """
    for attribute in LABEL_ATTRIBUTES:
        kept = getattr(images, attribute, None)
        if kept is not None and len(kept) == len(images):
            numbers = np.asarray(kept)
            # QMNIST keeps eight facts an image, the class first.
            return [int(number) for number in (numbers if numbers.ndim == 1 else numbers[:, 0])]
    samples = getattr(images, "_samples", None)
    if isinstance(samples, list) and len(samples) == len(images):
        return [int(number) for _, number in samples]  # paths and class numbers: StanfordCars, GTSRB, RenderedSST2, Imagenette
    return [int(images[index][1]) for index in range(len(images))]


def _class_names(images: Any, numbers: Iterable[int]) -> dict[int, str]:
    """A name for each class number: the data set's own, else the number, padded so that names sort as numbers do."""
    found = sorted(set(numbers))
    for attribute in NAME_ATTRIBUTES:
        names = getattr(images, attribute, None)
        if isinstance(names, list | tuple) and len(names) > max(found):
            # ImageNet gives synonyms, of which the first alone is not unique ("crane").
            return {number: ", ".join(name) if isinstance(name, tuple) else str(name) for number, name in enumerate(names)}
    width = len(str(max(found)))
    return {number: f"{number:0{width}d}" for number in found}


def _with_validation(splits: Sequence[SplitName], labels: Sequence[str], split: SplitDefinition) -> tuple[SplitName, ...]:
    """The same splits; where there is training and test only, a share of each class's training photos is for validation."""
    if set(splits) != {"train", "test"}:
        return tuple(splits)
    generator = np.random.default_rng(split.seed)
    positions: dict[str, list[int]] = defaultdict(list)
    for position, (name, label) in enumerate(zip(splits, labels, strict=True)):
        if name == "train":
            positions[label].append(position)
    settled = list(splits)
    for label in sorted(positions):
        shuffled = generator.permutation(positions[label])
        for position in shuffled[: max(1, round(len(shuffled) * split.validation))]:
            settled[position] = "val"
    return tuple(settled)
