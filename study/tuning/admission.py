"""Which nodes may run trials: said by the driver, asked by a trial's process before its first trial.

In Ray's own store of the cluster, not in a file: a node that does not share the study's folder must hear it too, and a shared
folder may show a new file a minute late (NFS remembers that there was none).
"""

import time
from collections.abc import Iterable

import ray
from ray.experimental import internal_kv

from study.errors import TrialError

ROOM = b"study"  # the namespace of our keys
ADMITTED = b""  # else the reason why not
POLL_S = 0.2
WAIT_S = 3600.0  # photos and weights are sent to a node first: 100 GB at 30 MB/s


def admit(node_id: str) -> None:
    """Lets trials of this driver run on a node."""
    internal_kv._internal_kv_put(_key(node_id), ADMITTED, overwrite=True, namespace=ROOM)


def refuse(node_id: str, reason: str) -> None:
    """Sends away trials of this driver that come to a node."""
    internal_kv._internal_kv_put(_key(node_id), reason.encode(), overwrite=True, namespace=ROOM)


def forget(node_ids: Iterable[str]) -> None:
    """Takes back what was said of nodes."""
    for node_id in node_ids:
        internal_kv._internal_kv_del(_key(node_id), namespace=ROOM)


def wait_until_admitted(patience_s: float = WAIT_S) -> None:
    """Returns once trials may run on this process's node: at once, unless the node has only just joined.

    Raises:
        TrialError: if the node is refused, or the driver says nothing of it for `patience_s`.
    """
    key = _key(ray.get_runtime_context().get_node_id())
    deadline_s = time.monotonic() + patience_s
    while (answer := internal_kv._internal_kv_get(key, namespace=ROOM)) is None:
        if time.monotonic() >= deadline_s:
            raise TrialError(
                f"a node must be prepared before a trial runs on it, but the driver said nothing of this one for "
                f"{patience_s:.0f} s. Look at the driver's output, and go on with `study resume`."
            )
        time.sleep(POLL_S)
    if answer != ADMITTED:
        raise TrialError(answer.decode())


def _key(node_id: str) -> str:
    """One driver's word: another on the same cluster may have other code and other photos."""
    return f"{ray.get_runtime_context().get_job_id()}:{node_id}"
