"""Clusters of several nodes, simulated on this machine: where trials run, what nodes must have, what the loss of one costs."""

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from ray import tune
from ray._raylet import GcsClient  # type: ignore[attr-defined]  # it is compiled
from ray.cluster_utils import Cluster
from rich.console import Console

from study.definition import parse_definition
from study.progress import PlainLines
from study.search.advisor import Advisor
from study.search.algorithms import open_storage
from study.settings import settings_from
from study.tracking.mlflow_tracker import MlflowTracker
from study.tracking.tracker import MemoryTracker
from study.trial import TrialState
from study.tuning.cluster import ray_executor
from study.tuning.launch import Launch
from study.tuning.ledger import Ledger
from study.tuning.preparation import PreparedStudy, prepare
from study.tuning.ray_adapters import StudyTrainable
from tests.clusters import node_with_own_mounts, simulated_cluster, why_no_own_mounts

from .conftest import TINY, Workplace
from .test_study import assert_both_stores_agree

own_mounts = pytest.mark.skipif(why_no_own_mounts() is not None, reason=str(why_no_own_mounts()))
REFUSED = 2  # exit code


def prepared_study(workplace: Workplace, text: str) -> PreparedStudy:
    definition = parse_definition(text, workplace.folder / "tiny.toml")
    return prepare(definition, settings_from(workplace.environment, workplace.folder))


def holding(folder: Path, num_together: int) -> type[tune.Trainable]:
    """Trials that hold their place until `num_together` have begun, and leave behind when and where they ran.

    The class is sent to the nodes as it stands here: without `study`, a process of it starts in a second.
    """
    measurement = {"epoch": 1, "metrics": {"val_balanced_accuracy": 0.5}, "timestamp_ms": 1, "is_last": True}
    report = json.dumps({"measurements": [measurement], "is_last": True})

    class Holding(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self.number = config["number"]

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.number = new_config["number"]
            return True

        def step(self) -> dict[str, Any]:
            import ray

            context = ray.get_runtime_context()
            place = f"{context.get_node_id()} {context.get_accelerator_ids()['GPU']}"
            began_s = time.time()
            (folder / f"{self.number}.began").touch()
            while len(list(folder.glob("*.began"))) < num_together and time.time() < began_s + 200:
                time.sleep(0.05)
            (folder / f"{self.number}.json").write_text(json.dumps([place, began_s, time.time()]))
            return {"report": report, "done": True}

    return Holding


def most_together(intervals: list[tuple[float, float]]) -> int:
    """The largest number of intervals that have a moment in common."""
    changes = sorted([(begin, 1) for begin, _ in intervals] + [(end, -1) for _, end in intervals])
    together = most = 0
    for _, change in changes:
        together += change
        most = max(most, together)
    return most


# Eight nodes and 41 processes take minutes on two busy cores (measured: 187 s at load 25): by hand, `pytest -m long`.
@pytest.mark.parametrize(
    ("num_nodes", "num_trials"), [(2, 16), pytest.param(8, 32, marks=pytest.mark.long)], ids=["two_nodes", "eight_nodes"]
)
def test_a_quarter_of_a_gpu_is_four_trials_a_gpu_and_never_more(
    num_nodes: int, num_trials: int, workplace: Workplace, tmp_path: Path
) -> None:
    text = TINY.replace("trials = 6", f"trials = {num_trials}").replace("epochs = 3", "epochs = 1")
    text += "[resources]\ncpus = 1\ngpus = 0.25\n"
    num_places = 4 * num_nodes
    with simulated_cluster(num_nodes, cpus=6, gpus=1) as cluster:
        prepared = prepared_study(workplace, text)
        prepared = replace(prepared, settings=prepared.settings.on_cluster(cluster.address))
        advisor = Advisor.create(prepared.definition, open_storage(prepared.settings.storage), {})
        tracker = MemoryTracker()
        parent = tracker.begin_study("tiny", "tiny", {}, "", "")
        with ray_executor(prepared, is_verbose=False) as executor:
            assert (executor.num_concurrent, executor.gpus) == (num_places, 0.25)
            ledger = Ledger(advisor, tracker, parent, prepared.definition.objective, gpus=executor.gpus)
            replace(executor, trainable=holding(tmp_path, num_places)).run(ledger)
    assert [outcome.state for outcome in advisor.outcomes()] == [TrialState.COMPLETE] * num_trials
    by_gpu: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for file in tmp_path.glob("*.json"):
        place, began_s, ended_s = json.loads(file.read_text())
        by_gpu[place].append((began_s, ended_s))
    assert {place: most_together(intervals) for place, intervals in by_gpu.items()} == dict.fromkeys(by_gpu, 4)
    assert len(by_gpu) == num_nodes
    assert most_together([interval for intervals in by_gpu.values() for interval in intervals]) == num_places


def traced(folder: Path) -> type[tune.Trainable]:
    """Real trials that are saved at each epoch, take their time, and leave behind where each epoch was told."""

    class Traced(StudyTrainable):
        def setup(self, config: dict[str, Any]) -> None:
            from study.tuning import worker

            worker.REPORT_INTERVAL_S = 0.0
            worker._SaveClock.save_if_due = lambda self, save: save()  # type: ignore[method-assign]
            self.trial_number = config["number"]
            super().setup(config)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.trial_number = new_config["number"]
            return bool(super().reset_config(new_config))

        def step(self) -> dict[str, Any]:
            import ray

            result = super().step()
            for told in json.loads(result["report"])["measurements"]:
                entry = [self.trial_number, ray.get_runtime_context().get_node_id(), told["epoch"], told["timestamp_ms"]]
                with (folder / "trace").open("a") as trace:
                    trace.write(json.dumps(entry) + "\n")
            time.sleep(0.1)
            return result

    return Traced


def entries(folder: Path) -> list[tuple[int, str, int, int]]:
    """Trial, node, epoch and time of every epoch that was told."""
    file = folder / "trace"
    return [tuple(json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


def lose_a_busy_node(cluster: Cluster, folder: Path) -> None:
    """Kills all processes of a node, as a power cut does, once a trial on it is at its fifth epoch."""
    nodes = {node._node_id: node for node in cluster.worker_nodes}
    deadline_s = time.monotonic() + 120
    while time.monotonic() < deadline_s:
        for _, node_id, epoch, _ in entries(folder):
            if epoch >= 5:
                (folder / "lost").write_text(node_id)
                cluster.remove_node(nodes[node_id], allow_graceful=False)
                return
        time.sleep(0.05)


def test_trials_of_a_lost_node_go_on_from_their_last_saved_epoch_on_another(workplace: Workplace, tmp_path: Path) -> None:
    text = TINY[: TINY.index("pruner =")].replace("trials = 6", "trials = 3").replace("epochs = 3", "epochs = 30")
    with simulated_cluster(2, cpus=1) as cluster:
        prepared = prepared_study(workplace, text)
        prepared = replace(prepared, settings=prepared.settings.on_cluster(cluster.address))
        advisor = Advisor.create(prepared.definition, open_storage(prepared.settings.storage), {})
        tracker = MlflowTracker(prepared.settings.tracking_uri)
        run_id = tracker.begin_study("tiny", "tiny", {}, text, "")
        listener = PlainLines(Console(file=StringIO()))
        with ray_executor(prepared, is_verbose=False) as executor:
            loss = threading.Thread(target=lose_a_busy_node, args=(cluster, tmp_path))
            loss.start()
            Launch(prepared, advisor, tracker, run_id, listener, time.monotonic()).run(
                replace(executor, trainable=traced(tmp_path))
            )
            loss.join()
    assert_both_stores_agree(workplace, num_trials=3)
    assert [outcome.state for outcome in advisor.outcomes()] == [TrialState.COMPLETE] * 3
    lost = (tmp_path / "lost").read_text()
    first = {(trial, epoch): at for trial, node, epoch, at in entries(tmp_path) if node == lost}
    second = {(trial, epoch): at for trial, node, epoch, at in entries(tmp_path) if node != lost}
    moved = {trial for trial, _ in first} & {trial for trial, _ in second}
    assert moved
    for trial in moved:
        saved = [epoch for epoch in range(1, 31) if first.get((trial, epoch)) == second.get((trial, epoch)) is not None]
        assert saved == list(range(1, saved[-1] + 1))
        assert saved[-1] >= 4  # trained on the lost node, told again on the other with the time of the first
        assert second[trial, 30]


@pytest.fixture(scope="module")
def head() -> Iterator[Cluster]:
    """A cluster that cannot run a trial yet."""
    with simulated_cluster(0, cpus=0) as cluster:
        yield cluster


@pytest.fixture
def on_head(head: Cluster, make_workplace: Callable[..., Workplace]) -> Workplace:
    return make_workplace(RAY_ADDRESS=head.address)


@own_mounts
def test_a_node_that_does_not_share_the_studys_folder_is_refused_in_one_line(head: Cluster, on_head: Workplace) -> None:
    output = on_head.folder / "studies"
    output.mkdir()
    with node_with_own_mounts(head, [["-t", "tmpfs", "tmpfs", str(output)]]):
        refused = on_head.run("run", on_head.write(TINY), code=REFUSED)
    assert refused.stderr.count("\n") == 1
    assert "STUDY_OUTPUT must be a folder that all nodes share" in refused.stderr
    assert str(output / "tiny") in refused.stderr
    assert on_head.json("list") == []
    assert not list(output.rglob(".nodes-*"))


@own_mounts
def test_a_node_with_other_code_is_refused_in_one_line(head: Cluster, on_head: Workplace, project: Path) -> None:
    changed = on_head.folder / "errors.py"
    changed.write_text((project / "study" / "errors.py").read_text() + "# changed\n")
    with node_with_own_mounts(head, [["--bind", str(changed), str(project / "study" / "errors.py")]]):
        refused = on_head.run("run", on_head.write(TINY), code=REFUSED)
    assert refused.stderr.count("\n") == 1
    assert "all nodes must run the same code as the driver, but study is" in refused.stderr


@own_mounts
def test_photos_that_a_node_lacks_are_sent_to_it_once(head: Cluster, on_head: Workplace, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    on_head = replace(on_head, environment={**on_head.environment, "STUDY_CACHE": str(cache)})
    short = TINY.replace("trials = 6", "trials = 2").replace("epochs = 3", "epochs = 1")
    with node_with_own_mounts(head, [["-t", "tmpfs", "tmpfs", str(cache)]]) as root:
        there = root / cache.relative_to("/")
        assert on_head.json("run", on_head.write(short))["counts"] == {"COMPLETE": 2}
        sent = {file: file.stat().st_mtime_ns for file in there.rglob("*.np*")}
        assert {file.suffix for file in sent} == {".npy", ".npz"}
        for file in sent:
            assert file.read_bytes() == (cache / file.relative_to(there)).read_bytes()
        on_head.run("run", on_head.write(short.replace('"tiny"', '"again"')))
        assert {file: file.stat().st_mtime_ns for file in there.rglob("*.np*")} == sent


def test_a_cluster_of_another_ray_is_refused_in_one_line(head: Cluster, on_head: Workplace) -> None:
    key, room = b"CLUSTER_METADATA", b"cluster"
    client = GcsClient(address=head.address)
    text = client.internal_kv_get(key, room)
    try:
        client.internal_kv_put(key, text.replace(b"2.60", b"2.59"), True, room)
        refused = on_head.run("run", on_head.write(TINY), code=REFUSED)
    finally:
        client.internal_kv_put(key, text, True, room)
    assert refused.stderr.count("\n") == 1
    assert "the cluster's versions of Ray and Python" in refused.stderr
