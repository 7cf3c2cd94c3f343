"""Where photos come from: a folder of labelled photos, or instruments drawn here. Both answer as a `Source`."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

from study.data.folder_layout import SplitName, labelled_photos
from study.data.images import Photo
from study.data.instruments import RENDERER_VERSION, InstrumentPhoto, draw, plan_collection
from study.definition import StudyDefinition
from study.errors import DataError

Target = Literal["type", "country", "view"]


@dataclass(frozen=True, eq=False)
class Records:
    """What is known of each photo before any is read; all sequences but `classes` have one entry a photo, in one order.

    Attributes:
        photos: unique ids: the path below the root with forward slashes, or a generated id.
        labels: class names.
        groups: photos of one group must stay in one split.
        splits: the source's own split, or all "" where it has none.
        classes: the class names, sorted.
        origin: where they come from, for messages.
    """

    photos: tuple[str, ...]
    labels: tuple[str, ...]
    groups: tuple[str, ...]
    splits: tuple[SplitName, ...]
    classes: tuple[str, ...]
    origin: str

    @property
    def has_own_split(self) -> bool:
        """Whether the source says which photos are for training, validation and test."""
        return "" not in self.splits


class Source(Protocol):
    """Photos with labels."""

    @property
    def records(self) -> Records:
        """What is known of each photo."""
        ...

    def fingerprint(self) -> str:
        """Changes when a photo does; found without reading one."""
        ...

    def read(self, photo: str) -> Photo:
        """The photo with this id: a file's bytes, or an image."""
        ...

    def digest_of(self, photo: str) -> str:
        """Hash of the photo's content."""
        ...


class FolderSource:
    """Photos in folders named by their class: root/class/*.jpg, or root/{train,validation,test}/class/*.jpg.

    Sub-folders of a class are searched too. Hidden files, files of other kinds, and photos outside class folders are ignored.

    Args:
        root: the folder.
    Raises:
        DataError: if the folder is missing, mixes the two layouts, or leaves a class or split empty.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        rows = labelled_photos(root)
        photos = tuple(row.path for row in rows)
        labels = tuple(row.label for row in rows)
        splits = tuple(row.split for row in rows)
        self.records = Records(photos, labels, photos, splits, classes=tuple(sorted(set(labels))), origin=str(root))

    def fingerprint(self) -> str:
        """Hash of every photo's path, size and times of change (the inode's too: copying with kept times must not fool it).

        Raises:
            DataError: if a photo is gone.
        """
        hasher = hashlib.sha256(os.fsencode(self.root.resolve()))
        for photo in self.records.photos:
            try:
                status = (self.root / photo).stat()
            except OSError as error:
                raise self._unreadable(photo, error) from error
            hasher.update(f"\0{photo}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ctime_ns}".encode())
        return hasher.hexdigest()

    def read(self, photo: str) -> bytes:
        """The file's bytes.

        Raises:
            DataError: if it cannot be read.
        """
        try:
            return (self.root / photo).read_bytes()
        except OSError as error:
            raise self._unreadable(photo, error) from error

    def digest_of(self, photo: str) -> str:
        """sha256 of the file's bytes."""
        return hashlib.sha256(self.read(photo)).hexdigest()

    def _unreadable(self, photo: str, error: OSError) -> DataError:
        return DataError(
            f"every photo must be readable, but {photo} in {self.root} is not: {error.strerror or error}. "
            f"Check its permissions, or remove it."
        )


@dataclass(frozen=True)
class InstrumentSource:
    """A collection of stringed instruments, drawn on demand: front and back of one instrument are a group.

    Args:
        num_photos: how many to draw.
        target: what is to be told apart: the instrument's type, the country of its maker, or the side seen.
        seed: which collection.
        image_size: longest side of a drawing in pixels: drawn at the size used, nothing is resized.
    """

    num_photos: int
    target: Target
    seed: int
    image_size: int

    @cached_property
    def records(self) -> Records:
        """What is known of each photo."""
        plan = tuple(self._plan.values())
        labels = tuple(str(getattr(photo, self.target)) for photo in plan)
        no_split: SplitName = ""
        return Records(
            photos=tuple(self._plan),
            labels=labels,
            groups=tuple(photo.instrument_id for photo in plan),
            splits=(no_split,) * len(plan),
            classes=tuple(sorted(set(labels))),
            origin=f"{self.num_photos} generated instruments (seed {self.seed}, target {self.target!r})",
        )

    def fingerprint(self) -> str:
        """Hash of what the drawings depend on; the target is not part of it, so its three values share one packed array."""
        depends_on = ["instruments", RENDERER_VERSION, self.num_photos, self.seed, self.image_size]
        return _hash_of(depends_on)

    def read(self, photo: str) -> Photo:
        """The drawing."""
        return draw(self._plan[photo], size_px=self.image_size)

    def digest_of(self, photo: str) -> str:
        """Hash of what the drawing depends on: it says the same as its pixels, and is 1000 times quicker to find."""
        return _hash_of([RENDERER_VERSION, self.image_size, asdict(self._plan[photo])])

    @cached_property
    def _plan(self) -> dict[str, InstrumentPhoto]:
        return {photo.photo_id: photo for photo in plan_collection(self.num_photos, self.seed)}


def open_source(definition: StudyDefinition) -> Source:
    """The source that a definition's `[data]` names.

    Raises:
        DataError: if its folder breaks a rule.
    """
    data = definition.data
    if data.folder is not None:
        return FolderSource(definition.path_of(data.folder))
    return InstrumentSource(data.num_photos, data.target, data.seed, data.image_size)


def _hash_of(values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
