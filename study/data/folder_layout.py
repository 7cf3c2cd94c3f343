"""What a folder of photos says by its layout: root/class/*.jpg, or root/{train,validation,test}/class/*.jpg."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from study.data.records import SplitName as SplitName
from study.errors import DataError

PHOTO_ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})


class LabelledPhoto(NamedTuple):
    """A photo's path below the root with forward slashes, its class, and its split or ""."""

    path: str
    label: str
    split: SplitName


def labelled_photos(root: Path) -> list[LabelledPhoto]:
    """Every photo in the class folders, sorted by path: one order on every machine.

    Raises:
        DataError: if the folder is missing, mixes the two layouts, or leaves a class or split empty, or has one class.
    """
    if not root.is_dir():
        found = "is a file" if root.exists() else "does not exist"
        raise DataError(
            f"`folder` must be a folder of photos, but {root} {found}. Correct `folder` in [data] of the definition."
        )
    splits = _split_folders(root)
    photos: list[LabelledPhoto] = []
    for split, folder in splits or [("", root)]:
        for class_folder in _class_folders(folder):
            paths = _paths_of(class_folder, root)
            photos += [LabelledPhoto(path, class_folder.name, split) for path in paths]
    classes = {photo.label for photo in photos}
    if len(classes) == 1:
        raise DataError(
            f"a study needs 2 classes or more, but {root} has only {_listed(sorted(classes))}. "
            f"Add another class's folder; where the classes lie deeper, let `folder` in [data] point there."
        )
    return sorted(photos)


def _split_folders(root: Path) -> list[tuple[SplitName, Path]]:
    """The split folders in `root`; none where `root` holds class folders."""
    folders = _visible_folders(root)
    splits = [(_split_named(folder.name), folder) for folder in folders]
    names = [split for split, _ in splits if split]
    if not names:
        return []
    classes = [folder.name for split, folder in splits if not split]
    if classes:
        raise DataError(
            f"a folder must hold either split folders or class folders, but {root} holds both: the split folder "
            f"{next(folder.name for split, folder in splits if split)!r} beside {_listed(classes)}. "
            f"Move the class folders into the split folders, or remove one kind."
        )
    if sorted(set(names)) != sorted(names):
        raise DataError(
            f"each split needs one folder, but {root} holds {_listed([folder.name for folder in folders])}. "
            f"Join the folders that mean the same split."
        )
    missing = [needed for needed in ("train", "validation") if _split_named(needed) not in names]
    if missing:
        raise DataError(
            f"a split of one's own needs the folders 'train' and 'validation' ('test' may be missing), but {root} holds "
            f"{_listed([folder.name for folder in folders])}. Add {missing[0]!r}, or put the class folders into {root} itself "
            f"and the study will split them."
        )
    return splits


def _split_named(name: str) -> SplitName:
    """The split that a folder's name stands for; "" for none."""
    match name.lower():
        case "train":
            return "train"
        case "val" | "valid" | "validation":
            return "val"
        case "test":
            return "test"
        case _:
            return ""


def _class_folders(folder: Path) -> list[Path]:
    class_folders = _visible_folders(folder)
    if not class_folders:
        raise DataError(
            f"photos must lie in one folder a class ({folder / 'cats' / '1.jpg'}), but {folder} holds no folders. "
            f"Sort its photos into class folders."
        )
    return class_folders


def _paths_of(class_folder: Path, root: Path) -> list[str]:
    paths = [photo.relative_to(root).as_posix() for photo in _photos_below(class_folder)]
    if not paths:
        raise DataError(
            f"every class needs photos, but the class folder {class_folder} holds none. "
            f"Add photos ({_endings()}), or remove the folder."
        )
    misnamed = next((path for path in paths if not _is_utf8(path)), None)
    if misnamed is not None:
        raise DataError(f"a photo's path must be UTF-8, for JSON and MLflow, but {misnamed!a} in {root} is not. Rename it.")
    return paths


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:  # Python holds bytes that are no UTF-8 as lone surrogates
        return False
    return True


def _visible_folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise _unlistable(error) from error


def _photos_below(folder: Path) -> Iterator[Path]:
    """Photos at any depth; linked folders are followed, but none twice (a link upward would never end)."""
    visited = {folder.resolve()}
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=_raise_unlistable):
        below = {name: (Path(parent) / name).resolve() for name in sorted(folders) if not name.startswith(".")}
        folders[:] = [name for name, resolved in below.items() if resolved not in visited]
        visited.update(below.values())
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in PHOTO_ENDINGS:
                yield Path(parent) / name


def _raise_unlistable(error: OSError) -> None:
    raise _unlistable(error) from error


def _unlistable(error: OSError) -> DataError:
    return DataError(f"every folder must be readable, but {error.filename} is not: {error.strerror}. Check its permissions.")


def _endings() -> str:
    return " ".join(sorted(ending[1:] for ending in PHOTO_ENDINGS))


def _listed(names: Sequence[str], most: int = 5) -> str:
    """Names for a message: the first few, and how many more."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + more
