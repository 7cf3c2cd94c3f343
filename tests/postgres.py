"""A private PostgreSQL of the tests' own: Debian's programs, a folder that goes away, a socket instead of a port."""

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

MakeDatabase = Callable[[], str]


def why_not() -> str | None:
    """Why PostgreSQL cannot be tried here; None where it can."""
    if _programs() is None:
        return "Debian's PostgreSQL is not installed (apt-get install postgresql)"
    if find_spec("psycopg") is None:
        return "psycopg, PostgreSQL's driver, is not installed"
    if os.geteuid() == 0 and _user() is None:
        return "PostgreSQL refuses to run as root, and there is no user `postgres`"
    return None


@contextmanager
def running_postgres() -> Iterator[MakeDatabase]:
    """Starts a server; each call of what is yielded makes an empty database and returns its address."""
    programs, user = _programs(), _user()
    assert programs is not None, "ask why_not first"
    folder = Path(tempfile.mkdtemp(prefix="study-postgres-"))
    if user is not None:
        shutil.chown(folder, user)

    def call(program: str, *arguments: str) -> None:
        subprocess.run([programs / program, *arguments], user=user, cwd=folder, check=True, capture_output=True, timeout=60)

    call("initdb", "--pgdata", str(folder / "data"), "--username", "study", "--auth", "trust", "--no-sync")
    options = f"-k {folder} -c listen_addresses= -c fsync=off -c full_page_writes=off"
    call("pg_ctl", "start", "--pgdata", str(folder / "data"), "--log", str(folder / "log"), "--wait", "--options", options)
    numbers = itertools.count()

    def make_database() -> str:
        name = f"study{next(numbers)}"  # a schema of one database: a database of its own is 8 MB of files
        call("psql", "--host", str(folder), "--username", "study", "--command", f"CREATE SCHEMA {name}", "postgres")
        return f"postgresql+psycopg://study@/postgres?host={folder}&options=-csearch_path%3D{name}"

    try:
        yield make_database
    finally:
        call("pg_ctl", "stop", "--pgdata", str(folder / "data"), "--mode", "immediate")
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path | None:
    """The folder of the newest version's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda file: int(file.parts[-3]))
    return found[-1].parent if found else None


def _user() -> str | None:
    """Who runs the server: Debian's own user where the tests are root, else whoever runs the tests."""
    if os.geteuid() != 0:
        return None
    return next((entry.pw_name for entry in pwd.getpwall() if entry.pw_name == "postgres"), None)
