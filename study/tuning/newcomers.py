"""Nodes that join while trials run: each is prepared before its first trial, or refused once and for all, in one notice."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from ray.exceptions import RayError

from study.errors import StudyError
from study.tuning import admission
from study.tuning.nodes import Node, living_nodes
from study.tuning.placement import Placement

logger = logging.getLogger(__name__)

LOOK_INTERVAL_S = 2.0  # asking takes 2 ms; starting a trial's process on a new node takes seconds
STOP_S = 10.0  # a node that is being sent photos is not waited for longer


class Newcomers:
    """The nodes that trials may run on, as they come and go. A context manager: it looks while it is entered.

    A trial's process that is placed on a node before it is prepared waits there (`wait_until_admitted`).
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        placement: Placement,
        prepare: Callable[[Node], None],
        notice: Callable[[str], None],
        find_nodes: Callable[[], list[Node]] = living_nodes,
    ) -> None:
        """Args:
        nodes: that were there, and prepared, before the first trial.
        prepare: checks a node and sends it what it lacks; its StudyError is why the node is refused.
        notice: told of each node that joins.
        find_nodes: the living ones.
        """
        self._known = {node.node_id for node in nodes}
        self._admitted = {node.node_id for node in nodes if placement.fits(node.resources)}
        self._refused: frozenset[str] = frozenset()
        self._placement = placement
        self._prepare = prepare
        self._notice = notice
        self._find_nodes = find_nodes
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look_until_over, name="newcomers", daemon=True)
        self.num_concurrent = placement.num_concurrent

    @property
    def refused(self) -> frozenset[str]:
        """Ids of the nodes on which no trial may run."""
        return self._refused

    def settle(self, patience_s: float) -> None:
        """Waits until every node that has joined is admitted or refused."""
        deadline_s = time.monotonic() + patience_s
        while self._strangers(self._find_nodes()) and time.monotonic() < deadline_s:
            time.sleep(0.1)

    def __enter__(self) -> Self:
        for node_id in self._admitted:
            admission.admit(node_id)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._is_over.set()
        self._thread.join(STOP_S)
        with suppress(RayError):  # a cluster that is gone has forgotten by itself; why it went is the news
            admission.forget(self._known)

    def look(self) -> None:
        """Decides about every node that has joined since the last look, and counts the places that there are now."""
        living = self._find_nodes()
        joined = self._strangers(living)
        for node in joined:
            self._decide(node)
            self._known.add(node.node_id)
        usable = [node.resources for node in living if node.node_id in self._admitted]
        self.num_concurrent = max(1, self._placement.num_on(usable))  # with none left, trials wait for the next
        for node in joined:
            if node.node_id in self._admitted:
                self._notice(f"{node.address} joined the cluster: up to {self.num_concurrent} trials run at once.")

    def _strangers(self, nodes: Sequence[Node]) -> list[Node]:
        return [node for node in nodes if node.node_id not in self._known]

    def _decide(self, node: Node) -> None:
        if not self._placement.fits(node.resources):
            return
        try:
            self._prepare(node)
        except (StudyError, OSError) as error:
            self._refused |= {node.node_id}
            admission.refuse(node.node_id, str(error))
            self._notice(f"{node.address} joined the cluster, but takes no trials: {error}")
        else:
            self._admitted.add(node.node_id)
            admission.admit(node.node_id)

    def _look_until_over(self) -> None:
        while not self._is_over.wait(LOOK_INTERVAL_S):
            try:
                self.look()
            except RayError:  # the cluster's head is away: the next look tells
                continue
            except (StudyError, OSError, RuntimeError, ValueError) as error:  # nodes that join later wait for this watch
                logger.warning("nodes that joined are looked at again: %s", error)
