"""Ray clusters of several nodes on one machine: raylets of our own, some of which see other files than the rest."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import study.tuning.cluster  # noqa: F401  Ray's environment, before Ray

from ray.cluster_utils import Cluster  # isort: skip

STORE_BYTES = 80 * 2**20  # the least that Ray takes is 75 MiB
NODE_S = 60.0


# Ray asks a node every 3 s whether it lives, and gives it up at the fifth time: a lost one would be waited for 15 s. A node
# that is only slow has 10 s for each answer, so none is given up for that.
QUICK_TO_NOTICE = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 500, "health_check_failure_threshold": 3}


@contextmanager
def simulated_cluster(num_nodes: int, cpus: int, gpus: int = 0) -> Iterator[Cluster]:
    """A head that takes no trial, and nodes that declare what they are told to."""
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "object_store_memory": STORE_BYTES,
            "include_dashboard": False,
            "_system_config": QUICK_TO_NOTICE,
        },
    )
    try:
        for _ in range(num_nodes):
            cluster.add_node(wait=False, num_cpus=cpus, num_gpus=gpus, object_store_memory=STORE_BYTES)
        cluster.wait_for_nodes(timeout=NODE_S)
        yield cluster
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]


def why_no_own_mounts() -> str | None:
    """Why a process cannot be given files of its own here; None where it can."""
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    return None if tried.returncode == 0 else f"no mounts of a process's own: {tried.stderr.decode().strip()}"


@contextmanager
def node_with_own_mounts(cluster: Cluster, mounts: Sequence[Sequence[str]]) -> Iterator[Path]:
    """A node of one CPU that joins a cluster and sees mounts that nobody else does; yields its root folder as it sees it.

    Args:
        mounts: arguments of `mount`.
    """
    node = [str(Path(sys.executable).with_name("ray")), "start", "--address", cluster.address, "--num-cpus", "1", "--block"]
    node += ["--num-gpus", "0", "--object-store-memory", str(STORE_BYTES)]
    lines = [shlex.join(["mount", *mount]) for mount in mounts] + [f"exec {shlex.join(node)}"]
    known = _num_alive(cluster)
    process = subprocess.Popen(
        ["unshare", "--mount", "sh", "-ec", "\n".join(lines)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
    )
    try:
        _wait_for_nodes(cluster, known + 1)
        yield Path(f"/proc/{process.pid}/root")
    finally:
        known = _num_alive(cluster)  # others may have come or gone meanwhile
        process.send_signal(signal.SIGTERM)  # Ray stops what it started
        process.wait(30)
        _wait_for_nodes(cluster, known - 1)


def _wait_for_nodes(cluster: Cluster, number: int) -> None:
    deadline_s = time.monotonic() + NODE_S
    while _num_alive(cluster) != number:
        assert time.monotonic() < deadline_s, f"there are not {number} nodes, but {_num_alive(cluster)}"
        time.sleep(0.2)


def _num_alive(cluster: Cluster) -> int:
    return sum(node["Alive"] for node in cluster.global_state.node_table())  # type: ignore[no-untyped-call]
