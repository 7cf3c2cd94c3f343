"""Images for `docker-compose.yml` where no container registry can be reached: Debian by debootstrap, Python, PostgreSQL.

Debian's packages of Docker, Compose and debootstrap, root, and a mirror of Debian's packages are all that is needed.
"""

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
DEBIAN, PYTHON, POSTGRES = "study-test/debian", "study-test/python:3.11", "study-test/postgres:15"
ENGINE_S = 30.0


def require_engine(data_folder: Path) -> None:
    """Docker's engine, started here where none answers."""
    if _answers():
        return
    data_folder.mkdir(parents=True, exist_ok=True)
    with (data_folder / "dockerd.log").open("wb") as log:
        subprocess.Popen(["dockerd", "--data-root", str(data_folder / "data")], stdout=log, stderr=log, start_new_session=True)
    deadline_s = time.monotonic() + ENGINE_S
    while not _answers():
        if time.monotonic() > deadline_s:
            raise SystemExit(f"dockerd must answer, but did not within {ENGINE_S:.0f} s: see {data_folder / 'dockerd.log'}")
        time.sleep(0.5)


def _answers() -> bool:
    return subprocess.run(["docker", "version"], capture_output=True, check=False).returncode == 0


def make_images() -> str:
    """The three, where they are not there yet; what they are."""
    if not _has(DEBIAN):
        _import_debian()
    for image, name in ((PYTHON, "python"), (POSTGRES, "postgres")):
        if not _has(image):
            _build(image, name)
    return "Debian, Python, PostgreSQL, by debootstrap and Debian's packages"


def _has(image: str) -> bool:
    return subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False).returncode == 0


def _import_debian() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        subprocess.run(["debootstrap", "--variant=minbase", "bookworm", str(root)], check=True, stdout=subprocess.DEVNULL)
        tar = subprocess.Popen(["tar", "--create", "--directory", str(root), "."], stdout=subprocess.PIPE)
        subprocess.run(["docker", "import", "--change", 'CMD ["bash"]', "-", DEBIAN], stdin=tar.stdout, check=True)
        if tar.wait() != 0:
            raise SystemExit("tar could not read what debootstrap made")


def _build(image: str, name: str) -> None:
    with tempfile.TemporaryDirectory() as context:
        shutil.copy("/etc/ssl/certs/ca-certificates.crt", context)  # a proxy's own authority, where there is one
        shutil.copy(HERE / "postgres-entrypoint", context)
        dockerfile = HERE / f"{name}.Dockerfile"
        subprocess.run(
            ["docker", "build", "--quiet", "--network", "host", "--file", str(dockerfile), "--tag", image, context],
            check=True,
            stdout=subprocess.DEVNULL,
        )
