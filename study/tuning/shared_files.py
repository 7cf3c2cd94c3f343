"""Trials' files where nodes have no folder in common: in a bucket, by pyarrow's file systems (`STUDY_SHARED=s3://bucket/prefix`).

Only what has to reach another machine goes there: a training that is saved on its way, and the weights of a trial's best epoch.
Locks and what is appended to need a real file system, and stay in the study's folder on the driver's disk.
"""

import logging
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from study.errors import DefinitionError

if TYPE_CHECKING:  # a process without such an address need not load it
    from pyarrow.fs import FileSystem

logger = logging.getLogger(__name__)

PIECE_BYTES = 8 * 2**20  # in memory at a time: a saved VGG-16 with Adam is 1.6 GB


class SharedFiles:
    """A study's files under an address; without one, they are where the study's folder is, and are left there.

    Pickles as the address. Credentials are the environment's (AWS_ACCESS_KEY_ID …) or the machine's, never the address's.
    """

    def __init__(self, address: str = "", study: str = "") -> None:
        """Args:
        address: as `pyarrow.fs.FileSystem.from_uri` takes it, options after a `?`; "" for none.
        study: its name.
        """
        self.address = address
        self._study = study
        self._opened: tuple[FileSystem, str] | None = None

    def __reduce__(self) -> tuple[type["SharedFiles"], tuple[str, str]]:
        return (SharedFiles, (self.address, self._study))

    def send(self, file: Path) -> None:
        """Moves a file there. A bucket shows it when it is whole.

        Raises:
            OSError: if it cannot be written; the file stays here.
        """
        if self.address:
            with file.open("rb") as content:
                self._write(file.name, content)
            file.unlink()

    def copy(self, file: Path) -> None:
        """Writes a file there as well. One that cannot be costs a warning."""
        if self.address:
            try:
                with file.open("rb") as content:
                    self._write(file.name, content)
            except (OSError, ValueError) as error:
                logger.warning("%s could not be sent: %s", file.name, _first_line(error))

    def fetch(self, file: Path) -> None:
        """Brings a file here, if it is there.

        Raises:
            DefinitionError: if it cannot be read.
        """
        if self.address:
            with self._reading():
                self._read(file)

    def _read(self, file: Path) -> None:
        system, folder = self._open()
        with suppress(FileNotFoundError), system.open_input_stream(f"{folder}/{file.name}") as stream:
            file.parent.mkdir(parents=True, exist_ok=True)
            partial = file.with_name(f"{file.name}.{uuid.uuid4().hex[:8]}.partial")
            with partial.open("wb") as content:
                shutil.copyfileobj(stream, content, PIECE_BYTES)
            partial.replace(file)

    def has(self, file: Path) -> bool:
        """Whether a file is here or there.

        Raises:
            DefinitionError: if it is not here, and there cannot be read.
        """
        return file.exists() or (bool(self.address) and self._is_there(file.name))

    def names(self, folder: Path) -> frozenset[str]:
        """Of the study's files, those in this folder and those there: one request for a thousand files, not one for each.

        Raises:
            DefinitionError: if what is there cannot be read.
        """
        here = [file.name for file in folder.iterdir()] if folder.is_dir() else []
        return frozenset(here) | self._names_there()

    def forget(self, file: Path) -> bool:
        """Deletes a file here and there; whether it is gone. One that stays costs room, and no trial that has ended."""
        with self._deleting(file.name) as failed:
            file.unlink(missing_ok=True)
            if self.address:
                system, folder = self._open()
                with suppress(FileNotFoundError):
                    system.delete_file(f"{folder}/{file.name}")
        return not failed

    def check(self) -> None:
        """Nothing, where this machine can write there.

        Raises:
            DefinitionError: if it cannot.
        """
        if self.address:
            with self.token():
                pass

    @contextmanager
    def token(self) -> Iterator[str]:
        """The name of a file of this process's own, which goes away with those that nodes write beside it.

        Raises:
            DefinitionError: if nothing can be written there.
        """
        name = f".nodes-{uuid.uuid4().hex}"
        try:
            self._write(name, BytesIO(name.encode()))
        except (OSError, ValueError) as error:
            raise DefinitionError(
                f"STUDY_SHARED must be an address that this machine can write to, but {self._shown} is not: "
                f"{_first_line(error)}. Mend the address or its credentials, or leave it out and share STUDY_OUTPUT."
            ) from None
        try:
            yield name
        finally:
            with self._deleting(name):
                self._delete_all(name)

    def has_answer(self, token: str, node_id: str) -> bool:
        """Whether what a node wrote beside the token has arrived here.

        Raises:
            DefinitionError: if that cannot be read.
        """
        return self._is_there(f"{token}.{node_id}")

    @property
    def folder_address(self) -> str:
        """The study's part of the address."""
        path, mark, options = self.address.partition("?")
        return f"{path.rstrip('/')}/{self._study}{mark}{options}"

    @property
    def _shown(self) -> str:
        """The address in errors: without its options."""
        return self.address.partition("?")[0]

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            raise DefinitionError(
                f"STUDY_SHARED must be an address that this machine can read, but {self._shown} is not: "
                f"{_first_line(error)}. Mend the address or its credentials, or try again when it answers."
            ) from None

    @contextmanager
    def _deleting(self, name: str) -> Iterator[list[OSError]]:
        """Warns of what went wrong, and gives it."""
        failed: list[OSError] = []
        try:
            yield failed
        except OSError as error:
            failed.append(error)
            logger.warning("%s could not be deleted: %s", name, _first_line(error))

    def _open(self) -> "tuple[FileSystem, str]":
        if self._opened is None:
            from pyarrow.fs import FileSystem

            self._opened = FileSystem.from_uri(self.folder_address)
        return self._opened

    def _is_there(self, name: str) -> bool:
        from pyarrow.fs import FileType

        with self._reading():
            system, folder = self._open()
            return bool(system.get_file_info(f"{folder}/{name}").type == FileType.File)

    def _names_there(self) -> frozenset[str]:
        if not self.address:
            return frozenset()
        from pyarrow.fs import FileSelector, FileType

        with self._reading():
            system, folder = self._open()
            found = system.get_file_info(FileSelector(folder, allow_not_found=True))
            return frozenset(entry.base_name for entry in found if entry.type == FileType.File)

    def _write(self, name: str, content: BinaryIO) -> None:
        system, folder = self._open()
        if system.type_name == "local":  # a bucket has no folders
            system.create_dir(folder)
        with system.open_output_stream(f"{folder}/{name}") as stream:
            shutil.copyfileobj(content, stream, PIECE_BYTES)

    def _delete_all(self, beginning: str) -> None:
        from pyarrow.fs import FileSelector

        system, folder = self._open()
        for entry in system.get_file_info(FileSelector(folder)):
            if entry.base_name.startswith(beginning):
                system.delete_file(entry.path)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


NOT_SHARED = SharedFiles()  # the study's folder is on a file system that all nodes have in common
