"""`docker-compose.yml` and what belongs to it, as far as they can be held without Docker's engine.

What a running deployment does is walked through by `python -m tests.integration.compose.run`.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCRIPTS = ("init", "start", "backup", "restore", "rotate", "postgres/databases.sh")
compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
services: Mapping[str, Mapping[str, Any]] = compose["services"]


@pytest.fixture
def deployment(tmp_path: Path) -> Path:
    """A folder with the files that Compose reads."""
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    shutil.copytree(ROOT / "cluster", tmp_path / "cluster")
    return tmp_path


@pytest.mark.parametrize("name", services)
def test_a_service_is_confined_and_looked_after(name: str) -> None:
    service = services[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert service["restart"] == "unless-stopped"
    assert "max-size" in service["logging"]["options"]
    assert {"mem_limit", "healthcheck", "networks"} <= service.keys()


def test_nothing_is_published_beyond_this_machine_unless_asked_for() -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published.keys() >= {"mlflow", "ray-head"}
    assert all(port.startswith("${BIND_ADDRESS:-127.0.0.1}:") for ports in published.values() for port in ports)


def test_only_its_users_share_a_network_with_the_database() -> None:
    assert compose["networks"]["database"] == {"internal": True}
    assert services["postgres"]["networks"] == ["database"]
    assert {name for name, service in services.items() if "database" in service["networks"]} == {
        "postgres",
        "mlflow",
        "ray-head",
    }


def test_no_secret_has_a_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    secrets = re.findall(r"\$\{(\w*(?:PASSWORD|TOKEN|SECRET_KEY)\w*)(:?[-?][^}]*)?\}", text)
    assert len(secrets) >= 6
    for name, default in secrets:
        # The second mention of a secret may lean on the first, which asks for it; those of S3 may be empty.
        assert default.startswith(":?") or default == "" or (name.startswith("AWS") and default == ":-"), name
    written = {line.split("=")[0] for line in (ROOT / "cluster/init").read_text().splitlines() if "$(secret" in line}
    assert {name for name, _ in secrets if not name.startswith("AWS")} == written


def test_init_writes_secrets_for_its_owner_only_and_once(deployment: Path) -> None:
    first = subprocess.run(["cluster/init"], cwd=deployment, check=True, capture_output=True, text=True)
    file = deployment / ".env"
    assert file.stat().st_mode & 0o777 == 0o600
    assert (deployment / "photos").stat().st_mode & 0o777 == 0o755, "containers read it as another user"
    values = dict(line.split("=") for line in file.read_text().splitlines() if "=" in line and not line.startswith("#"))
    secrets = [value for name, value in values.items() if re.search("PASSWORD|TOKEN|SECRET", name)]
    assert len(set(secrets)) == len(secrets) == 7
    assert all(len(secret) >= 24 for secret in secrets)
    assert not any(secret in first.stdout for secret in secrets)
    written = file.read_text()
    second = subprocess.run(["cluster/init"], cwd=deployment, check=False, capture_output=True, text=True)
    assert second.returncode == 2
    assert ".env exists and is kept" in second.stderr
    assert file.read_text() == written


def test_init_chooses_workers_with_gpus(deployment: Path) -> None:
    subprocess.run(["cluster/init", "--gpu"], cwd=deployment, check=True, capture_output=True)
    assert "COMPOSE_PROFILES=gpu" in (deployment / ".env").read_text()
    refused = subprocess.run(["cluster/init", "--gpus"], cwd=deployment, check=False, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "--gpu, but it was given '--gpus'" in refused.stderr


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is not installed")
@pytest.mark.parametrize("options", [[], ["--gpu"]])
def test_compose_takes_the_file(deployment: Path, options: list[str]) -> None:
    subprocess.run(["cluster/init", *options], cwd=deployment, check=True, capture_output=True)
    done = subprocess.run(["docker-compose", "config"], cwd=deployment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    worker = "ray-worker-gpu" if options else "ray-worker"
    assert worker in yaml.safe_load(done.stdout)["services"]


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is not installed")
def test_without_secrets_compose_says_what_to_do(deployment: Path) -> None:
    done = subprocess.run(["docker-compose", "config"], cwd=deployment, check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert "run cluster/init first, it writes .env with random secrets" in done.stderr


@pytest.mark.parametrize("role", ["ray-head", "ray-worker", "mlflow"])
def test_a_container_without_its_variables_says_which(role: str) -> None:
    done = subprocess.run(
        [ROOT / "cluster/start", role], env={"PATH": "/usr/bin:/bin"}, check=False, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert re.fullmatch(rf"start {role}: \w+ must be set, but it is empty\. .*cluster/init.*\n", done.stderr)


def test_restore_takes_only_a_whole_backup(tmp_path: Path) -> None:
    done = subprocess.run([ROOT / "cluster/restore", tmp_path], check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"name a folder that cluster/backup wrote to its end; {tmp_path} is none" in done.stderr


def test_restore_deletes_nothing_for_a_backup_that_is_damaged(tmp_path: Path) -> None:
    for name in ("mlflow.dump", "mlflow_auth.dump", "study.dump", "studies.tar"):
        (tmp_path / name).write_bytes(b"something")
    subprocess.run(["tar", "--create", "--file", tmp_path / "artifacts.tar", "--files-from", "/dev/null"], check=True)
    done = subprocess.run([ROOT / "cluster/restore", tmp_path, "--yes"], check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "studies.tar is damaged; nothing was changed." in done.stderr


def test_a_backup_of_a_service_that_does_not_run_is_none(deployment: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Compose ends with 1 then, as tar does where a file changed while it was read."""
    programs = tmp_path_factory.mktemp("programs")
    compose = programs / "docker"
    compose.write_text('#!/bin/sh\ncase "$*" in *version*) exit 0 ;; *pg_dump*) echo dump ;; *) exit 1 ;; esac\n')
    compose.chmod(0o755)
    environment = {"PATH": f"{programs}:/usr/bin:/bin"}
    done = subprocess.run(
        [deployment / "cluster/backup", deployment / "kept"], env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert not (deployment / "kept" / "artifacts.tar").exists()


SIGN_IN = """
import os, mlflow_login
database = os.environ["DATABASE"]
mlflow_login.write_settings(database)
mlflow_login.set_password(database, "admin", "the new password")  # there is no user yet: the server makes it
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore
users = SqlAlchemyStore()
users.init_db(database)
users.create_user("admin", "the old password", is_admin=True)
for _ in range(2):
    mlflow_login.set_password(database, "admin", "the new password")
print(users.authenticate_user("admin", "the new password"), users.authenticate_user("admin", "the old password"))
"""


def test_the_administrators_password_is_that_of_the_environment(tmp_path: Path) -> None:
    """At every start; MLflow itself reads it only while there is no such user."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "cluster"),
        "DATABASE": f"sqlite:///{tmp_path}/users.db",
        "MLFLOW_AUTH_CONFIG_PATH": str(tmp_path / "auth.ini"),
    }
    done = subprocess.run([sys.executable, "-c", SIGN_IN], env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("has a new password") == 1
    assert done.stdout.endswith("True False\n")
    assert f"database_uri = {environment['DATABASE']}" in (tmp_path / "auth.ini").read_text()


def rotate(deployment: Path, *, status: str = "[]", psql: str = "cat") -> subprocess.CompletedProcess[str]:
    """`cluster/rotate` with a Compose that knows a status and a database."""
    programs = deployment / "programs"
    programs.mkdir(exist_ok=True)
    docker = programs / "docker"
    answers = f"*'study status'*) echo '{status}' ;; *postgres*) {psql} > said ;;"
    docker.write_text(f'#!/bin/sh\ncase "$*" in {answers} *) exit 0 ;; esac\n')
    docker.chmod(0o755)
    environment = {"PATH": f"{programs}:/usr/bin:/bin"}
    return subprocess.run([deployment / "cluster/rotate"], env=environment, check=False, capture_output=True, text=True)


def test_rotating_makes_every_secret_new_and_keeps_settings(deployment: Path) -> None:
    subprocess.run(["cluster/init"], cwd=deployment, check=True, capture_output=True)
    file = deployment / ".env"
    file.write_text(file.read_text() + "WORKERS=3\n")
    before = file.read_text().splitlines()
    done = rotate(deployment)
    assert done.returncode == 0, done.stderr
    changed = {old.split("=")[0] for old, new in zip(before, file.read_text().splitlines(), strict=True) if old != new}
    assert changed == {
        *("POSTGRES_PASSWORD", "MLFLOW_DATABASE_PASSWORD", "STUDY_DATABASE_PASSWORD"),
        *("MLFLOW_SECRET_KEY", "MLFLOW_ADMIN_PASSWORD", "RAY_AUTH_TOKEN"),
    }
    assert file.stat().st_mode & 0o777 == 0o600
    secrets = re.findall(r"^(?:STUDY|MLFLOW)_DATABASE_PASSWORD=(\w+)", file.read_text(), re.MULTILINE)
    assert all(f"PASSWORD '{secret}';" in (deployment / "said").read_text() for secret in secrets)


def test_rotating_keeps_a_last_line_without_an_end(deployment: Path) -> None:
    subprocess.run(["cluster/init"], cwd=deployment, check=True, capture_output=True)
    file = deployment / ".env"
    file.write_text(file.read_text().strip() + "-of-mine")
    assert rotate(deployment).returncode == 0
    assert file.read_text().endswith("\nPHOTOS=./photos-of-mine\n")


def test_rotating_asks_for_every_databases_line(deployment: Path) -> None:
    subprocess.run(["cluster/init"], cwd=deployment, check=True, capture_output=True)
    file = deployment / ".env"
    file.write_text("".join(line for line in file.read_text().splitlines(True) if not line.startswith("STUDY_DATABASE")))
    done = rotate(deployment)
    assert done.returncode == 2
    assert ".env must have a line STUDY_DATABASE_PASSWORD=…, but it has none; nothing was changed." in done.stderr
    assert not (deployment / ".env.new").exists()


def test_containers_may_read_what_they_are_given_whatever_the_umask(deployment: Path) -> None:
    for file in (deployment / "cluster").rglob("*"):
        file.chmod(0o700 if file.is_dir() or file.name == "init" else 0o600)
    subprocess.run(["sh", "-c", "umask 077; cluster/init"], cwd=deployment, check=True, capture_output=True)
    assert (deployment / "cluster/postgres/databases.sh").stat().st_mode & 0o044 == 0o044
    assert "chmod -R a+rX /opt/cluster" in (ROOT / "cluster/Dockerfile").read_text()


def test_postgres_is_healthy_only_with_its_databases() -> None:
    assert "--username study --dbname study" in " ".join(services["postgres"]["healthcheck"]["test"])


def test_rotating_leaves_a_running_study_alone(deployment: Path) -> None:
    subprocess.run(["cluster/init"], cwd=deployment, check=True, capture_output=True)
    before = (deployment / ".env").read_text()
    done = rotate(deployment, status='[{"study": "pets", "state": "running"}]')
    assert done.returncode == 2
    assert "no study may be running" in done.stderr
    assert (deployment / ".env").read_text() == before


def test_a_rotation_that_was_cut_off_goes_on_with_the_same_secrets(deployment: Path) -> None:
    subprocess.run(["cluster/init"], cwd=deployment, check=True, capture_output=True)
    before = (deployment / ".env").read_text()
    assert rotate(deployment, psql="exit 1").returncode != 0
    assert (deployment / ".env").read_text() == before, "the database did not take them"
    chosen = (deployment / ".env.new").read_text()
    assert rotate(deployment).returncode == 0
    assert (deployment / ".env").read_text() == chosen


def test_a_rotation_that_goes_on_keeps_what_was_set_since_it_was_cut_off(deployment: Path) -> None:
    subprocess.run(["cluster/init"], cwd=deployment, check=True, capture_output=True)
    assert rotate(deployment, psql="exit 1").returncode != 0
    chosen = (deployment / ".env.new").read_text()
    file = deployment / ".env"
    file.write_text(file.read_text().replace("MLFLOW_PORT=5000", "MLFLOW_PORT=5001") + "WORKERS=3\n")
    assert rotate(deployment).returncode == 0
    assert file.read_text() == chosen.replace("MLFLOW_PORT=5000", "MLFLOW_PORT=5001") + "WORKERS=3\n"
    assert not list(deployment.glob(".env.*"))


def test_secrets_that_the_database_may_know_are_kept_where_a_line_is_missing_since(deployment: Path) -> None:
    subprocess.run(["cluster/init"], cwd=deployment, check=True, capture_output=True)
    assert rotate(deployment, psql="exit 1").returncode != 0
    chosen = (deployment / ".env.new").read_text()
    file = deployment / ".env"
    file.write_text("".join(line for line in file.read_text().splitlines(True) if not line.startswith("STUDY_DATABASE")))
    assert rotate(deployment).returncode == 2
    assert (deployment / ".env.new").read_text() == chosen


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_hold_what_shellcheck_asks(script: str) -> None:
    subprocess.run(["sh", "-n", ROOT / "cluster" / script], check=True)
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(["shellcheck", "-x", f"cluster/{script}"], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_image_pins_all_that_the_project_asks_for() -> None:
    pins = dict(re.findall(r"^([\w.-]+)(?:\[[^]]*\])?==(\S+)", (ROOT / "cluster/constraints.txt").read_text(), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["cluster"], *extras["timm"], *extras["onnx"]]
    names = {re.match(r"[\w.-]+", one).group().lower().replace("_", "-") for one in asked}  # type: ignore[union-attr]
    assert names <= pins.keys()


def test_the_image_holds_only_what_is_copied_on_purpose() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    copied = re.findall(r"^COPY (.+) \S+$", (ROOT / "cluster/Dockerfile").read_text(), re.MULTILINE)
    files = {file for line in copied for file in line.split()}
    assert {f"!{file}" for file in files} <= set(lines)
    assert all((ROOT / file).exists() for file in files)
