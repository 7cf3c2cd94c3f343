"""Nodes that join a cluster while a study runs on it."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from study.search.advisor import Advisor
from study.search.algorithms import open_storage
from study.tracking.tracker import MemoryTracker
from study.trial import TrialState
from study.tuning.cluster import ray_executor
from study.tuning.ledger import Ledger
from study.tuning.preparation import PreparedStudy
from study.tuning.ray_adapters import StudyTrainable
from tests.clusters import node_with_own_mounts, simulated_cluster, why_no_own_mounts

from .conftest import TINY, Workplace
from .test_nodes import prepared_study

pytestmark = pytest.mark.skipif(why_no_own_mounts() is not None, reason=str(why_no_own_mounts()))
PATIENCE_S = 100.0
SHORT = TINY[: TINY.index("pruner =")].replace("trials = 6", "trials = 3").replace("epochs = 3", "epochs = 1")


def wait_for(is_time: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not is_time() and time.monotonic() < deadline_s:
        time.sleep(0.05)


def holding_until(folder: Path, is_time: Callable[[], bool]) -> type[StudyTrainable]:
    """Real trials that leave a file named by their node, and end when it is time."""

    class Holding(StudyTrainable):
        def step(self) -> dict[str, Any]:
            import ray

            (folder / ray.get_runtime_context().get_node_id()).touch()
            wait_for(is_time)
            return super().step()

    return Holding


def places(folder: Path) -> set[str]:
    """Nodes on which a trial began."""
    return {file.name for file in folder.iterdir()}


def living(cluster: Cluster) -> set[str]:
    """Ids of the nodes."""
    return {node["NodeID"] for node in cluster.global_state.node_table() if node["Alive"]}  # type: ignore[no-untyped-call]


@contextmanager
def meanwhile(action: Callable[[threading.Event], None]) -> Iterator[None]:
    """Runs the action beside; the event tells it that the rest is over."""
    is_over = threading.Event()
    thread = threading.Thread(target=action, args=(is_over,))
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def states_of(prepared: PreparedStudy, trainable: type[StudyTrainable], notice: Callable[[str], None]) -> list[TrialState]:
    """What became of the trials."""
    advisor = Advisor.create(prepared.definition, open_storage(prepared.settings.storage), {})
    tracker = MemoryTracker()
    parent = tracker.begin_study("tiny", "tiny", {}, "", "")
    with ray_executor(prepared, is_verbose=False, notice=notice) as executor:
        assert executor.num_concurrent == 1
        ledger = Ledger(advisor, tracker, parent, prepared.definition.objective)
        replace(executor, trainable=trainable).run(ledger)
    return [outcome.state for outcome in advisor.outcomes()]


def on_cluster(workplace: Workplace, cluster: Cluster, cache: Path) -> PreparedStudy:
    cache.mkdir()
    prepared = prepared_study(replace(workplace, environment={**workplace.environment, "STUDY_CACHE": str(cache)}), SHORT)
    return replace(prepared, settings=prepared.settings.on_cluster(cluster.address))


def test_a_node_that_joins_later_with_an_empty_cache_is_sent_the_photos_and_used(workplace: Workplace, tmp_path: Path) -> None:
    began, cache, told = tmp_path / "began", tmp_path / "cache", list[str]()
    began.mkdir()
    sent: list[str] = []

    with simulated_cluster(1, cpus=1) as cluster:
        prepared = on_cluster(workplace, cluster, cache)

        def join(is_over: threading.Event) -> None:
            wait_for(lambda: bool(places(began)))
            with node_with_own_mounts(cluster, [["-t", "tmpfs", "tmpfs", str(cache)]]) as root:
                is_over.wait()
                sent.extend(file.suffix for file in (root / cache.relative_to("/")).rglob("*.np*"))

        with meanwhile(join):
            states = states_of(prepared, holding_until(began, lambda: len(places(began)) == 2), told.append)
    assert states == [TrialState.COMPLETE] * 3
    assert len(places(began)) == 2
    assert {".npy", ".npz"} <= set(sent)
    assert [message.split(": ")[1] for message in told] == ["up to 2 trials run at once."]


@pytest.mark.long  # three nodes start one after the other
def test_a_node_with_other_code_that_joins_later_takes_no_trial_even_where_it_is_the_only_one_left(
    workplace: Workplace, tmp_path: Path, project: Path
) -> None:
    began, told, joined = tmp_path / "began", list[str](), set[str]()
    began.mkdir()
    changed = tmp_path / "errors.py"
    changed.write_text((project / "study" / "errors.py").read_text() + "# changed\n")
    mounts: Sequence[Sequence[str]] = [["--bind", str(changed), str(project / "study" / "errors.py")]]
    refusal = tmp_path / "refused"

    def notice(message: str) -> None:
        told.append(message)
        refusal.touch()

    with simulated_cluster(1, cpus=1) as cluster:
        [first] = cluster.worker_nodes
        prepared = on_cluster(workplace, cluster, tmp_path / "cache")

        def join_and_lose(is_over: threading.Event) -> None:
            wait_for(lambda: bool(places(began)))
            before = living(cluster)
            with node_with_own_mounts(cluster, mounts):
                joined.update(living(cluster) - before)
                wait_for(refusal.exists)
                cluster.remove_node(first, allow_graceful=False)
                wait_for(lambda: first._node_id not in living(cluster))
                with node_with_own_mounts(cluster, []):
                    is_over.wait()

        with meanwhile(join_and_lose):
            states = states_of(prepared, holding_until(began, lambda: len(places(began)) == 2), notice)
    assert states == [TrialState.COMPLETE] * 3
    assert len(joined) == 1
    assert len(places(began) - joined) == 2  # the first, and the third that joined
    assert "takes no trials: all nodes must run the same code as the driver, but study is" in told[0]
    assert len(told) == 2  # the third node's joining
