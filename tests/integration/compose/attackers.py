"""Who should not get in: calls without credentials, and a scan of every port from another network namespace."""

import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.integration.compose.browser import open_page
from tests.integration.compose.deployment import PROJECT, Deployment, inspect, status_of

NAMESPACE, OUTER, INNER = "studyscan", "10.199.7.1", "10.199.7.2"
SERVICES = ("postgres", "mlflow", "ray-head", "ray-worker")
PUBLISHED = {"mlflow": 5000, "ray-head": 8265}
FIRST_DOCKER_THAT_HIDES = 28  # older ones let a neighbour that routes to a container's own address reach what is published
JOIN_CLUSTER = "import ray; ray.init('ray-head:6379', logging_level='CRITICAL'); print('joined')"
SIGN_IN = "import os, psycopg; psycopg.connect('postgresql://study{}@postgres:5432/study', connect_timeout=5)"


def refusals(deployment: Deployment) -> str:
    """Every door without a key, and with a wrong one."""
    mlflow = f"{deployment.mlflow_address}/api/2.0/mlflow/experiments/search?max_results=1"
    name, password = deployment.login
    assert status_of(mlflow) == 401
    assert status_of(mlflow, (name, "wrong")) == 401
    assert status_of(f"{deployment.mlflow_address}/api/2.0/mlflow-artifacts/artifacts") == 401
    assert status_of(mlflow, (name, password)) == 200, "the right one must do"

    jobs = f"{deployment.jobs_address}/api/jobs/"
    job = {"entrypoint": "touch /tmp/entered"}
    assert status_of(jobs) == 401
    assert requests.post(jobs, json=job, timeout=20).status_code == 401
    assert status_of(jobs, Authorization="Bearer " + 64 * "0") in (401, 403)
    assert status_of(jobs, Authorization=f"Bearer {deployment.settings['RAY_AUTH_TOKEN']}") == 200, "the right one must do"

    assert not _is_open("127.0.0.1", 5432), "PostgreSQL is not published"
    for password_given in ("", ":wrong"):
        done = deployment.compose("exec", "-T", "ray-head", "python", "-c", SIGN_IN.format(password_given), check=False)
        assert re.search("password authentication failed|no password supplied", done.stderr), done.stderr[-500:]
    done = deployment.compose("exec", "-T", "ray-worker", "python", "-c", SIGN_IN.format(""), check=False)
    assert re.search("resolve|Name or service|name resolution", done.stderr), "workers do not even see it"

    for environment in (("RAY_AUTH_MODE=disabled",), ("RAY_AUTH_MODE=token", f"RAY_AUTH_TOKEN={64 * '0'}")):
        options = [part for one in environment for part in ("--env", one)]
        command = ["docker", "run", "--rm", "--network", f"{PROJECT}_cluster", *options, "study-test/study"]
        joined = subprocess.run(
            [*command, "timeout", "60", "python", "-c", JOIN_CLUSTER], capture_output=True, text=True, check=False
        )
        assert "joined" not in joined.stdout, "a node without the token must not join"
    return "MLflow 401, Ray jobs 401/403, Ray's own port, PostgreSQL: refused without and with wrong credentials"


def _is_open(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((host, port)) == 0


def scan_from_elsewhere(deployment: Deployment) -> str:
    """All 65,535 ports of the host and of each container, as a neighbour on the network sees them."""
    ours = {int(deployment.settings["MLFLOW_PORT"]), int(deployment.settings["RAY_DASHBOARD_PORT"])}
    assert all(_is_open("127.0.0.1", port) for port in ours), "open to this machine itself"
    engine = subprocess.run(
        ["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True, check=True
    )
    hides = int(engine.stdout.split(".")[0]) >= FIRST_DOCKER_THAT_HIDES
    with _another_namespace():
        at_host = _open_ports(OUTER)
        assert not at_host & (ours | {5432, 6379, 8080, 10001}), f"open at the host: {at_host}"
        found = {}
        for service in SERVICES:
            for container in deployment.containers(service):
                for address in inspect(container, "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}").split():
                    open_ports = _open_ports(address)
                    meant = set() if hides else {PUBLISHED.get(service)}
                    assert open_ports <= meant, f"{service} at {address}: {open_ports}"
                    found[f"{service} {address}"] = open_ports
    seen = sorted({port for ports in found.values() for port in ports})
    behind = f", {seen} at containers' own addresses (Docker older than 28), behind a login" if seen else ""
    return f"host: none of ours; {len(found)} addresses of containers: nothing else open{behind}"


def _open_ports(address: str) -> set[int]:
    scan = ["nmap", "-Pn", "-n", "-p-", "--min-rate", "10000", "--max-retries", "1", "-oG", "-", address]
    done = subprocess.run(["ip", "netns", "exec", NAMESPACE, *scan], capture_output=True, text=True, check=True)
    return {int(port) for port in re.findall(r"(\d+)/open/tcp", done.stdout)}


@contextmanager
def _another_namespace() -> Iterator[None]:
    """A neighbour: a host of its own on a cable to this one, which it takes for its router."""
    commands = (
        f"netns add {NAMESPACE}",
        "link add studyscan0 type veth peer name studyscan1",
        f"link set studyscan1 netns {NAMESPACE}",
        f"addr add {OUTER}/24 dev studyscan0",
        "link set studyscan0 up",
        f"-n {NAMESPACE} addr add {INNER}/24 dev studyscan1",
        f"-n {NAMESPACE} link set studyscan1 up",
        f"-n {NAMESPACE} route add default via {OUTER}",
    )
    try:
        for command in commands:
            subprocess.run(["ip", *command.split()], check=True)
        yield
    finally:
        subprocess.run(["ip", "netns", "del", NAMESPACE], check=False)


def login_pages(deployment: Deployment, work: Path) -> str:
    """What a browser shows without and with the password; the picture is to be looked at."""
    assert status_of(deployment.mlflow_address) == 401, "the first page asks"
    parent = deployment.parent_run("clothes")
    picture = work / "mlflow.png"
    page = f"{deployment.mlflow_address}/#/experiments/{parent.info.experiment_id}/runs/{parent.info.run_id}"
    open_page(f"{page}?workflowType=machine_learning", deployment.login, "Which head and normalization", picture)
    return f"401 without; with the password the study's page with its answer ({picture.name})"
