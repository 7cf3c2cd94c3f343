"""Which nodes may run trials as they come and go; Ray itself is not started."""

import time
from io import StringIO

import pytest

from study.definition import Resources
from study.errors import DefinitionError
from study.tuning import admission
from study.tuning.newcomers import Newcomers
from study.tuning.nodes import Node
from study.tuning.placement import NodeResources, place


def node(name: str, cpus: float = 2) -> Node:
    return Node(name, f"10.0.0.{name}", NodeResources(cpus, 0))


class Cluster:
    """Nodes that are there, those that were prepared, and what was said of each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *nodes: Node, max_concurrent: int | None = None) -> None:
        self.nodes = list(nodes)
        self.prepared: list[str] = []
        self.told: list[str] = []
        self.said: dict[str, str] = {}
        monkeypatch.setattr(admission, "admit", lambda node_id: self.said.update({node_id: "admitted"}))
        monkeypatch.setattr(admission, "refuse", lambda node_id, reason: self.said.update({node_id: reason}))
        placement = place(Resources(cpus=1, max_concurrent=max_concurrent), [node.resources for node in nodes])
        self.newcomers = Newcomers(self.nodes, placement, self.prepare, self.told.append, lambda: self.nodes)

    def prepare(self, node: Node) -> None:
        assert node.node_id not in self.said, "no trial may begin there before it is prepared"
        if node.node_id == "9":
            raise DefinitionError("all nodes must run the same code as the driver, but study is 1 here and 2 on nine.")
        self.prepared.append(node.node_id)


def test_a_node_that_joins_is_prepared_before_it_is_admitted_and_its_places_count(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, node("1"))
    assert cluster.newcomers.num_concurrent == 2
    cluster.nodes = [*cluster.nodes, node("2", cpus=3)]
    cluster.newcomers.look()
    assert (cluster.prepared, cluster.said) == (["2"], {"2": "admitted"})
    assert cluster.newcomers.num_concurrent == 5
    assert cluster.told == ["10.0.0.2 joined the cluster: up to 5 trials run at once."]
    cluster.newcomers.look()
    assert (len(cluster.told), cluster.prepared) == (1, ["2"])


def test_a_node_that_cannot_be_prepared_is_refused_in_one_notice_and_the_others_are_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster(monkeypatch, node("1"))
    cluster.nodes = [*cluster.nodes, node("9"), node("2")]
    cluster.newcomers.look()
    cluster.newcomers.look()
    assert cluster.newcomers.refused == {"9"}
    assert cluster.said["9"].startswith("all nodes must run the same code")
    assert cluster.said["2"] == "admitted"
    assert cluster.newcomers.num_concurrent == 4
    assert [message for message in cluster.told if "takes no trials: all nodes must" in message] == cluster.told[:1]


def test_the_watch_goes_on_though_a_notice_cannot_be_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, node("1"))
    monkeypatch.setattr("study.tuning.newcomers.LOOK_INTERVAL_S", 0.01)
    monkeypatch.setattr(admission, "forget", lambda node_ids: None)
    closed = StringIO()
    closed.close()
    monkeypatch.setattr(cluster.newcomers, "_notice", closed.write)
    with cluster.newcomers:
        cluster.nodes = [*cluster.nodes, node("2")]
        cluster.newcomers.settle(patience_s=5)
        cluster.nodes = [*cluster.nodes, node("3")]
        cluster.newcomers.settle(patience_s=5)
    assert cluster.said == {"1": "admitted", "2": "admitted", "3": "admitted"}


def test_no_more_trials_are_begun_than_a_lost_node_leaves_places_for(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, node("1"), node("2"))
    cluster.nodes = cluster.nodes[:1]
    cluster.newcomers.look()
    assert cluster.newcomers.num_concurrent == 2
    cluster.nodes = []
    cluster.newcomers.look()
    assert cluster.newcomers.num_concurrent == 1  # it waits for the next node


def test_the_definitions_limit_holds_on_a_cluster_that_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, node("1"), max_concurrent=3)
    cluster.nodes = [*cluster.nodes, node("2")]
    cluster.newcomers.look()
    assert cluster.newcomers.num_concurrent == 3


def test_a_node_too_small_for_a_trial_is_not_sent_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, node("1"))
    cluster.nodes = [*cluster.nodes, node("2", cpus=0)]
    cluster.newcomers.look()
    assert (cluster.prepared, cluster.told, cluster.newcomers.num_concurrent) == ([], [], 2)


def test_a_process_that_died_waits_for_the_decision_about_a_node_that_has_just_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, node("1"))
    cluster.nodes = [*cluster.nodes, node("9")]
    slept: list[float] = []

    def decide(seconds: float) -> None:
        slept.append(seconds)
        cluster.newcomers.look()

    monkeypatch.setattr(time, "sleep", decide)
    cluster.newcomers.settle(patience_s=10.0)
    assert len(slept) == 1
    assert cluster.newcomers.refused == {"9"}
