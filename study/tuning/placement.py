"""How many trials fit a cluster, node by node: a trial cannot lie on two nodes, nor its share of a GPU on two GPUs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from study.definition import Resources
from study.errors import DefinitionError

EPSILON = 1e-6  # shares that Ray itself counts in ten-thousandths: three times a third is one GPU


@dataclass(frozen=True)
class NodeResources:
    """What one node declares."""

    cpus: float
    gpus: float


@dataclass(frozen=True)
class Placement:
    """How trials fit the cluster.

    Attributes:
        cpus, gpus: of one trial; gpus is 0 where the cluster has none.
        num_concurrent: trials that run at once on the nodes that it was made for.
        max_concurrent: how many the definition allows; None where it does not say.
    """

    cpus: int
    gpus: float
    num_concurrent: int
    max_concurrent: int | None = None

    def fits(self, node: NodeResources) -> bool:
        """Whether a trial can run there."""
        return _num_fitting(self.cpus, self.gpus, node) > 0

    def num_on(self, nodes: Sequence[NodeResources]) -> int:
        """Trials that run at once on these nodes."""
        num_fitting = sum(_num_fitting(self.cpus, self.gpus, node) for node in nodes)
        return min(num_fitting, self.max_concurrent or num_fitting)


def check_gpus(resources: Resources) -> None:
    """Nothing, where a new study's trial takes at most one GPU; stored studies may ask for more, and get one (`place`).

    Raises:
        DefinitionError: if it asks for more.
    """
    if resources.gpus > 1:
        raise DefinitionError(
            f"a trial trains on one GPU at most, but [resources] asks for gpus = {resources.gpus:g}: the others would be held "
            f"and not used. Set gpus = 1 or less; trials run side by side on as many GPUs as there are."
        )


def place(resources: Resources, nodes: Sequence[NodeResources]) -> Placement:
    """How trials of these resources fit the nodes.

    Raises:
        DefinitionError: if no node has room for one.
    """
    has_gpus = any(node.gpus for node in nodes)
    gpus = min(resources.gpus, 1.0) if has_gpus else 0.0  # more was allowed when earlier studies began, and never used
    placement = Placement(resources.cpus, gpus, num_concurrent=0, max_concurrent=resources.max_concurrent)
    num_concurrent = placement.num_on(nodes)
    if num_concurrent == 0:
        largest = ", ".join(sorted({f"{node.cpus:g} CPUs and {node.gpus:g} GPUs" for node in nodes})) or "nothing"
        raise DefinitionError(
            f"a trial must fit a node of the cluster, but [resources] asks for cpus = {resources.cpus}, gpus = "
            f"{min(resources.gpus, 1.0):g} and the nodes have {largest}. Ask for less, or add nodes."
        )
    return replace(placement, num_concurrent=num_concurrent)


def _num_fitting(cpus: int, gpus: float, node: NodeResources) -> int:
    by_cpus = int(node.cpus // cpus)
    if not gpus:
        return by_cpus
    return min(by_cpus, int(node.gpus) * math.floor(1 / gpus + EPSILON))
