"""What a definition needs from this machine, put together to be sent: itself, and what it names by relative paths."""

import hashlib
import os
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from study.data.folder_layout import labelled_photos
from study.data.tables.cells import photo_cells
from study.data.tables.file import read_table
from study.data.views import view_names
from study.definition import StudyDefinition
from study.errors import DataError
from study.space import Choices

# Ray's web server takes requests up to this size (DASHBOARD_CLIENT_MAX_SIZE in ray/_private/ray_constants.py, 2.60), and the
# package is one request.
MOST_BYTES = 100 * 2**20
ROOM_BYTES = 2**20  # for the names of the files in it, and Ray's own wrapping
PACKAGE = "study-files.zip"
PUBLISHED_WEIGHTS = ("imagenet", "none", "if_available")
DIGEST_LENGTH = 16


@dataclass(frozen=True)
class Package:
    """A definition with its files, in one archive.

    Attributes:
        definition: its path in the archive.
        digest: of the paths and contents.
    """

    archive: Path
    definition: str
    digest: str


def write_package(definition: StudyDefinition, folder: Path) -> Package:
    """Puts the definition and what it names by relative paths into an archive in `folder`; the paths between them stay.

    Raises:
        DataError: if a file is missing, or all of them are more than Ray sends.
    """
    files = sorted(set(_files_of(definition)))
    _check_size(definition, files)
    root = Path(os.path.commonpath([file.parent for file in files]))
    archive, hasher = folder / PACKAGE, hashlib.sha256()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as opened:  # photos are compressed already
        for file in files:
            name, content = file.relative_to(root).as_posix(), _read(file)
            hasher.update(f"{name}\0{len(content)}\0".encode() + content)
            # Not by its path: a time before 1980, which an archive cannot hold, would be an error.
            opened.writestr(zipfile.ZipInfo(name), content)
    return Package(archive, definition.file.relative_to(root).as_posix(), hasher.hexdigest()[:DIGEST_LENGTH])


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks the archive, whole or not at all; a folder that is there holds it already."""
    if folder.is_dir():
        return
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(unfinished)
    try:
        unfinished.rename(folder)
    except OSError:  # another job was faster
        if not folder.is_dir():
            raise


def _files_of(definition: StudyDefinition) -> Iterator[Path]:
    """Absolute paths as they are written, links not followed: relative to each other they are what the definition says."""
    here = definition.file.parent
    yield definition.file
    for written in _weights(definition):
        if _is_sent(written):
            yield _lexical(here, written)
    data = definition.data
    if data.folder is not None and _is_sent(data.folder):
        root = _lexical(here, data.folder)
        yield from (root / photo.path for photo in labelled_photos(root))
    if data.table is not None and _is_sent(data.table):
        yield from _table_files(_lexical(here, data.table), (*(data.images or ()), *(data.also_needs or ())))


def _table_files(file: Path, columns: tuple[str, ...]) -> Iterator[Path]:
    """The table, and the photos in its cells that are there; what is not is reported where the study runs, as here."""
    yield file
    table = read_table(file, columns)
    by_path = [column for column in columns if column not in table.embedded]
    for cell in photo_cells(table, by_path, view_names(by_path)):
        photo = file.parent / cell.photo
        if cell.fault is None and photo.is_file():
            yield photo


def _weights(definition: StudyDefinition) -> Iterable[str]:
    """Every path that `weights` may have."""
    searched = definition.space.parameters.get("weights")
    values = searched.choices if isinstance(searched, Choices) else (definition.trial.weights,)
    return [str(value) for value in values if value not in PUBLISHED_WEIGHTS]


def _is_sent(written: str) -> bool:
    """Whether a path is relative: an absolute one, or one in a home, is the cluster's own."""
    return not written.startswith("~") and not Path(written).is_absolute()


def _lexical(folder: Path, written: str) -> Path:
    return Path(os.path.normpath(folder / written))


def _check_size(definition: StudyDefinition, files: Iterable[Path]) -> None:
    try:
        size = sum(file.stat().st_size for file in files)
    except OSError as error:
        raise DataError(
            f"what {definition.file} names by a relative path is sent along, but {error.filename} cannot be read: "
            f"{error.strerror}. Correct the path, or write an absolute one that all nodes of the cluster see."
        ) from None
    if size > MOST_BYTES - ROOM_BYTES:
        raise DataError(
            f"what a definition names by relative paths is sent along, but Ray takes {MOST_BYTES / 2**20:.0f} MiB at most, and "
            f"the files of {definition.file} have {size / 2**20:,.0f} MiB. Put the photos at a path that all nodes see, and "
            f"name that path in [data]."
        )


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"every file must be readable, but {file} is not: {error.strerror}. Check its permissions.") from None
