"""What a folder of photos says by its layout: root/class/*.jpg, or root/{train,validation,test}/class/*.jpg."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from study.data.file_kinds import is_photo, photo_endings, why_unknown, why_unreadable
from study.data.folder_walk import NO_REGULAR_FILE, files_below, in_utf8, visible_files, visible_folders
from study.data.records import Dropped, Reason
from study.data.records import SplitName as SplitName
from study.errors import DataError


class LabelledPhoto(NamedTuple):
    """A photo's path below the root with forward slashes, its class, and its split or ""."""

    path: str
    label: str
    split: SplitName


class FolderListing(NamedTuple):
    """What a folder of photos holds.

    Attributes:
        photos: every photo in the class folders, sorted by path: one order on every machine.
        left_out: the other files that are, or may be, photos; sorted likewise.
    """

    photos: list[LabelledPhoto]
    left_out: list[Dropped]


def labelled_photos(root: Path) -> list[LabelledPhoto]:
    """The photos of `list_folder`, which says what it raises."""
    return list_folder(root).photos


def list_folder(root: Path) -> FolderListing:
    """Every photo in the class folders, and what was left out and why. Hidden files are none, nor what is plainly no photo.

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
    left_out = list(_outside_classes(root, ""))
    for split, folder in splits or [("", root)]:
        if splits:
            left_out += _outside_classes(folder, f"{folder.name}/")
        for class_folder in _class_folders(folder):
            paths, others = _sorted_out(class_folder, class_folder.relative_to(root).as_posix())
            photos += [LabelledPhoto(path, class_folder.name, split) for path in paths]
            left_out += others
    classes = {photo.label for photo in photos}
    if len(classes) == 1:
        raise DataError(
            f"a study needs 2 classes or more, but {root} has only {_listed(sorted(classes))}. "
            f"Add another class's folder; where the classes lie deeper, let `folder` in [data] point there."
        )
    return FolderListing(sorted(photos), sorted(left_out))


def _split_folders(root: Path) -> list[tuple[SplitName, Path]]:
    """The split folders in `root`; none where `root` holds class folders."""
    folders = visible_folders(root)
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
    class_folders = visible_folders(folder)
    if not class_folders:
        raise DataError(
            f"photos must lie in one folder a class ({folder / 'cats' / '1.jpg'}), but {folder} holds no folders. "
            f"Sort its photos into class folders."
        )
    return class_folders


def _outside_classes(folder: Path, prefix: str) -> Iterator[Dropped]:
    """Photos beside the class folders."""
    for file in visible_files(folder):
        if is_photo(file.path) or why_unreadable(file.path):
            yield Dropped(in_utf8(prefix + file.path), Reason.OUTSIDE_CLASSES, "its folder says no class")


def _sorted_out(class_folder: Path, below_root: str) -> tuple[list[str], list[Dropped]]:
    """The paths of a class's photos, and its other files that may be photos."""
    photos: list[str] = []
    left_out: list[Dropped] = []
    for file in files_below(class_folder):
        path = f"{below_root}/{file.path}"
        if is_photo(path) and file.is_regular:
            photos.append(path)
        elif fault := _fault_of(path):
            left_out.append(Dropped(in_utf8(path), *fault))
    _check_photos(photos, left_out, class_folder)
    return photos, left_out


def _fault_of(path: str) -> tuple[Reason, str] | None:
    """What is wrong with a file that is not taken; None where it is plainly no photo."""
    if is_photo(path):
        return Reason.FILE_MISSING, NO_REGULAR_FILE
    if detail := why_unreadable(path):
        return Reason.FORMAT_NOT_READ, detail
    if detail := why_unknown(path):
        return Reason.ENDING_UNKNOWN, detail
    return None


def _check_photos(paths: Sequence[str], left_out: Sequence[Dropped], class_folder: Path) -> None:
    if not paths:
        first = min(left_out, default=None)
        others = f" that is read ({len(left_out):,} left out, such as {first.name}: {first.detail})" if first else ""
        raise DataError(
            f"every class needs photos, but the class folder {class_folder} holds none{others}. "
            f"Add photos ({photo_endings()}), or remove the folder."
        )
    misnamed = next((path for path in paths if not _is_utf8(path)), None)
    if misnamed is not None:
        raise DataError(
            f"a photo's path must be UTF-8, for JSON and MLflow, but {misnamed!a} in {class_folder} is not. Rename it."
        )


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:  # Python holds bytes that are no UTF-8 as lone surrogates
        return False
    return True


def _listed(names: Sequence[str], most: int = 5) -> str:
    """Names for a message: the first few, and how many more."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + more
