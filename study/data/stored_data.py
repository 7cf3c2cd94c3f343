"""The two files in which a study's data lie beside the packed array: figures and names as JSON, one entry a photo as arrays."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, ValidationError

from study.data.folds import Fold
from study.data.packed import replaced, write_atomically
from study.data.splits import Splits
from study.data.statistics import ChannelStatistics, Moments, Triple
from study.data.text_array import EncodedText, TextArray, encode
from study.errors import DataError
from study.trial import Plain

DATA_FILE = "data.json"
ARRAYS_FILE = "arrays.npz"
# Raise it when the files hold something else: older ones are written anew from the packed photos.
FORMAT_VERSION: Literal[4] = 4
SPLIT_NAMES = ("train", "val", "test")
IN_NO_SPLIT = 255
NO_LABEL = -1

Indices = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class PhotoTable:
    """One entry a packed photo; the attributes are those of `StudyData`."""

    photos: Sequence[str]
    labels: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32] | None
    views: npt.NDArray[np.str_]
    rows: npt.NDArray[np.int64]


class _Version(BaseModel):
    """What every format of `data.json` has said."""

    format_version: int


class DataFile(Plain):
    """What `data.json` holds."""

    format_version: Literal[4] = FORMAT_VERSION
    digest: str
    image_size: int
    num_photos: int = Field(ge=0)
    images: str = Field(description="path of the packed array, relative to this file's folder")
    classes: tuple[str, ...]
    example_views: tuple[str, ...] = Field(description="views of an example, sorted; none where every photo is one")
    is_log: bool = Field(default=False, description="the values are natural logarithms of the target")
    means: tuple[Triple, ...] = Field(min_length=1, description="of each fold's training photos")
    stds: tuple[Triple, ...] = Field(min_length=1)
    lumas: tuple[Moments, ...] = Field(min_length=1, description="mean and standard deviation without colour")
    report: Any = Field(
        default=None, exclude=True, description="in older files only, and not read: what was left out is not told by the digest"
    )


def write_data(folder: Path, file: DataFile, table: PhotoTable, splits: Sequence[Splits]) -> None:
    """Writes both files, `data.json` last: where it is, the data are whole.

    Raises:
        DataError: if the folder does not take them.
    """
    try:
        _write_files(folder, file, table, splits)
    except OSError as error:
        raise DataError(
            f"prepared data need a writable folder with room for them, but {folder} does not take them: "
            f"{error.strerror or error}. Free space there, or set STUDY_CACHE to another folder."
        ) from error


def _write_files(folder: Path, file: DataFile, table: PhotoTable, splits: Sequence[Splits]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names, views = np.unique(table.views, return_inverse=True)
    photos = encode(table.photos)
    arrays: dict[str, npt.NDArray[Any]] = {
        "photos": photos.content,
        "photo_ends": photos.ends,
        "labels": table.labels.astype(np.int32),
        "rows": table.rows,
        "view_names": names,
        "views": views.astype(np.int32),
        "splits": codes_of(splits, len(table.labels)),
    }
    if table.values is not None:
        arrays["values"] = table.values
    with replaced(folder / ARRAYS_FILE) as partial_file:
        np.savez(partial_file, allow_pickle=False, **arrays)
    write_atomically(folder / DATA_FILE, file.model_dump_json())


def is_written(folder: Path) -> bool:
    """Whether `data.json` is there, in this format or a later one; one of an earlier format may be overwritten.

    What is damaged counts as written: `read_file` says what to do about it.
    """
    try:
        return _Version.model_validate_json((folder / DATA_FILE).read_bytes()).format_version >= FORMAT_VERSION
    except FileNotFoundError:
        return False
    except (OSError, ValidationError):
        return True


def read_file(folder: Path) -> DataFile:
    """What `data.json` says.

    Raises:
        DataError: if it is missing, damaged or of another format.
    """
    try:
        return DataFile.model_validate_json((folder / DATA_FILE).read_bytes())
    except OSError as error:
        raise _incomplete(folder / DATA_FILE, error.strerror or str(error)) from error
    except ValidationError as error:
        raise _incomplete(folder / DATA_FILE, f"{error.error_count()} values are missing or wrong") from error


def read_arrays(folder: Path, file: DataFile) -> tuple[PhotoTable, tuple[Fold, ...]]:
    """What there is to each photo, and the folds; the photos' ids are read when the first is asked for.

    Raises:
        DataError: if the arrays are missing, damaged, or do not fit `data.json`.
    """
    path = folder / ARRAYS_FILE
    try:
        # Opened here: numpy would leave a damaged file open.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            table = PhotoTable(
                photos=TextArray(file.num_photos, partial(_read_photos, path)),
                labels=arrays["labels"].astype(np.int64),
                values=arrays.get("values"),
                views=arrays["view_names"][arrays["views"]],
                rows=arrays["rows"],
            )
            codes: Codes = arrays["splits"]
    except (OSError, ValueError, EOFError, KeyError, IndexError, zipfile.BadZipFile) as error:
        raise _incomplete(path, str(error)) from error
    expected = (len(file.means), file.num_photos)
    is_whole = len(table.labels) == file.num_photos and len(file.means) == len(file.stds) == len(file.lumas)
    if codes.shape != expected or not is_whole:
        raise _incomplete(path, f"its splits are {[*codes.shape]} where {DATA_FILE} says {[*expected]}")
    statistics = map(ChannelStatistics, file.means, file.stds, file.lumas)
    return table, tuple(map(Fold, map(_splits_of, codes), statistics))


def codes_of(splits: Sequence[Splits], num_photos: int) -> Codes:
    """Where each fold puts each photo: uint8 [num_folds, num_photos], 0 train, 1 val, 2 test, 255 nowhere."""
    codes = np.full((len(splits), num_photos), IN_NO_SPLIT, dtype=np.uint8)
    for row, fold in zip(codes, splits, strict=True):
        for code, (_, indices) in enumerate(fold.items()):
            row[indices] = code
    return codes


def _splits_of(codes: Codes) -> Splits:
    return Splits(*(np.flatnonzero(codes == code).astype(np.int64) for code in range(len(SPLIT_NAMES))))


def _read_photos(path: Path) -> EncodedText:
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
        return EncodedText(arrays["photos"], arrays["photo_ends"])


def _incomplete(file: Path, reason: str) -> DataError:
    return DataError(
        f"prepared data needs a complete {file.name}, but {file} is not: {reason}. "
        f"Delete {file.parent} and run the study again: it is remade."
    )
