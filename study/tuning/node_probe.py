"""What runs on a node before the study does. Standard library only, and sent by value: a node that lacks `study` must answer.

Every answer is plain data: classes that are sent by value are strangers to whoever gets them back.
"""

import hashlib
import importlib.util
import os
import platform
import socket
import time
from contextlib import suppress
from glob import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypedDict

ABANDONED_S = 3600.0  # a driver that lives writes a piece within minutes


class NodeAnswer(TypedDict):
    """What a node says of itself.

    Attributes:
        versions: of Python, Ray and `study`, by name; of `study` a digest of its files too, because a checkout changes
            under one version. "none" where it is missing.
        sizes: of the files that were asked for, in bytes; None where there is none.
        digests: SHA-256 of those whose path does not tell their content, 64 hexadecimal digits; None as with `sizes`.
        problem: why the study's folder is not shared; "" where it is.
    """

    host: str
    versions: dict[str, str]
    sizes: dict[str, int | None]
    digests: dict[str, str | None]
    problem: str


def probe(token: str, text: str, files: list[str], hashed: list[str], node: str) -> NodeAnswer:
    """This node's answer.

    Args:
        token: a file that the driver has written into the study's folder; a second one is written beside it. Or the address of
            a bucket's folder in which the driver has written it, by the name `text`.
        text: what the file must hold.
        files: that trials will read.
        hashed: those of them that are read now, for their digests.
        node: this node's id, for the name of the second file.
    """
    return {
        "host": socket.gethostname(),
        "versions": versions(),
        "sizes": {file: size_of(file) for file in files},
        "digests": {file: digest_of(file) for file in hashed},
        "problem": _address_problem(token, text, node) if "://" in token else _shared_folder_problem(Path(token), text, node),
    }


def versions() -> dict[str, str]:
    """Python's, Ray's and `study`'s as this process has them."""
    return {"Python": platform.python_version(), "Ray": _version("ray"), "study": _study()}


def size_of(file: str) -> int | None:
    """In bytes; None if it is not there."""
    try:
        return os.stat(file).st_size
    except OSError:
        return None


def digest_of(file: str | Path) -> str | None:
    """SHA-256, 64 hexadecimal digits; None if the file cannot be read."""
    try:
        with open(file, "rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return None


def write_piece(file: str, part: str, begin: int, piece: bytes, digest: str) -> str:
    """Writes a piece of a file that the node lacks, and puts the file in place with the last; the problem, or "".

    Args:
        part: the name of what this driver sends to this node: two drivers may send one file at once.
        begin: the piece's first byte in the file.
        digest: SHA-256 that the whole file must have, with its last piece; "" before.
    """
    path = Path(file)
    partial = path.with_name(f"{path.name}.{part}.partial")
    try:
        if begin == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
            _delete_abandoned(path)
        with partial.open("r+b" if begin else "wb") as opened:
            opened.seek(begin)
            opened.write(piece)
        if not digest:
            return ""
        arrived = digest_of(partial)
        if arrived == digest:
            partial.replace(path)
            return ""
        problem = f"it arrived damaged, with the SHA-256 {(arrived or 'none')[:16]} in place of {digest[:16]}"
    except OSError as error:
        problem = str(error)
    partial.unlink(missing_ok=True)
    return problem


def _delete_abandoned(path: Path) -> None:
    """Deletes what drivers sent of this file that died on the way."""
    for partial in path.parent.glob(f"{escape(path.name)}.*.partial"):
        with suppress(FileNotFoundError):  # another node that shares the folder put it in place, or deleted it
            if partial.stat().st_mtime < time.time() - ABANDONED_S:
                partial.unlink()


def _shared_folder_problem(token: Path, text: str, node: str) -> str:
    try:
        if token.read_text(encoding="utf-8") != text:
            return "another folder is there"
        token.with_name(f"{token.name}.{node}").write_text(text, encoding="utf-8")
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _address_problem(address: str, text: str, node: str) -> str:
    try:
        from pyarrow.fs import FileSystem

        system, folder = FileSystem.from_uri(address)
        with system.open_input_stream(f"{folder}/{text}") as stream:
            if stream.read().decode() != text:
                return "another folder is there"
        with system.open_output_stream(f"{folder}/{text}.{node}") as stream:
            stream.write(text.encode())
    except (ImportError, OSError, ValueError) as error:
        return str(error).splitlines()[0]
    return ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _study() -> str:
    """Version and digest of the package `study`."""
    found = importlib.util.find_spec("study")
    if found is None or found.origin is None:
        return "none"
    folder = Path(found.origin).parent
    hasher = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        hasher.update(str(file.relative_to(folder)).encode() + b"\0" + file.read_bytes())
    return f"{_version('study')} ({hasher.hexdigest()[:8]})"
