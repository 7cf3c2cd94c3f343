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


class PostgresServer:
    """A server in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder's database cluster; `start` starts it."""
        self._folder, self._user = folder, _user()
        if self._user is not None:
            shutil.chown(folder, self._user)
        self._numbers = itertools.count()
        self._call("initdb", "--pgdata", str(folder / "data"), "--username", "study", "--auth", "trust", "--no-sync")

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        # What a killed server has written is in the system's memory: it is safe without `fsync` too.
        options = f"-k {self._folder} -c listen_addresses= -c fsync=off -c full_page_writes=off"
        log = str(self._folder / "log")
        self._call("pg_ctl", "start", "--pgdata", str(self._folder / "data"), "--log", log, "--wait", "--options", options)

    def kill(self) -> None:
        """Ends it as a crash does: nothing is put in order, the next start recovers."""
        self._call("pg_ctl", "stop", "--pgdata", str(self._folder / "data"), "--mode", "immediate")

    def make_database(self) -> str:
        """The address of an empty database."""
        name = f"study{next(self._numbers)}"  # a schema of one database: a database of its own is 8 MB of files
        self._call("psql", "--host", str(self._folder), "--username", "study", "--command", f"CREATE SCHEMA {name}", "postgres")
        return f"postgresql+psycopg://study@/postgres?host={self._folder}&options=-csearch_path%3D{name}"

    def _call(self, program: str, *arguments: str) -> None:
        programs = _programs()
        assert programs is not None, "ask why_not first"
        command = [str(programs / program), *arguments]
        subprocess.run(command, user=self._user, cwd=self._folder, check=True, capture_output=True, timeout=60)


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A server that runs, and ends with the context."""
    folder = Path(tempfile.mkdtemp(prefix="study-postgres-"))
    try:
        server = PostgresServer(folder)
        server.start()
        yield server
        server.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_postgres() -> Iterator[MakeDatabase]:
    """Starts a server; each call of what is yielded makes an empty database and returns its address."""
    with postgres_server() as server:
        yield server.make_database


def _programs() -> Path | None:
    """The folder of the newest version's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda file: int(file.parts[-3]))
    return found[-1].parent if found else None


def _user() -> str | None:
    """Who runs the server: Debian's own user where the tests are root, else whoever runs the tests."""
    if os.geteuid() != 0:
        return None
    return next((entry.pw_name for entry in pwd.getpwall() if entry.pw_name == "postgres"), None)
