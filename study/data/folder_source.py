"""Photos in folders named by their class."""

from pathlib import Path

from study.data.folder_layout import list_folder
from study.data.photo_files import PhotoFiles
from study.data.records import Records


class FolderSource:
    """Photos in folders named by their class: root/class/*.jpg, or root/{train,validation,test}/class/*.jpg.

    Sub-folders of a class are searched too. Photos outside class folders are dropped with a reason, and so are files that are
    photos, or may be, but are not read: HEIC, cameras' raw data, endings that nobody knows. Hidden files and texts are ignored.

    Args:
        root: the folder.
    Raises:
        DataError: if the folder is missing, mixes the two layouts, or leaves a class or split empty.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._files = PhotoFiles(root)
        rows, left_out = list_folder(root)
        photos = tuple(row.path for row in rows)
        labels = tuple(row.label for row in rows)
        splits = tuple(row.split for row in rows)
        classes = tuple(sorted(set(labels)))
        self.records = Records(photos, labels, photos, splits, classes, origin=str(root), dropped=tuple(left_out))

    def fingerprint(self) -> str:
        """Hash of every photo's path, size and times of change.

        Raises:
            DataError: if a photo is gone.
        """
        return self._files.fingerprint(self.records.photos)

    def read(self, photo: str) -> bytes:
        """The file's bytes.

        Raises:
            DataError: if it cannot be read.
        """
        return self._files.read(photo)

    def digest_of(self, photo: str) -> str:
        """sha256 of the file's bytes."""
        return self._files.digest_of(photo)
