"""Trials are counted node by node: what is left on one node is no help to a trial on another."""

import pytest

from study.definition import Resources
from study.errors import DefinitionError
from study.tuning.placement import NodeResources, check_gpus, place

GPU_NODE = NodeResources(cpus=8, gpus=1)


@pytest.mark.parametrize(
    ("resources", "nodes", "num_concurrent"),
    [
        (Resources(cpus=1, gpus=0.25), [GPU_NODE] * 8, 32),
        (Resources(cpus=1, gpus=0.4), [GPU_NODE] * 8, 16),  # 0.2 of each GPU is left, and no trial fits into five rests
        (Resources(cpus=1, gpus=1 / 3), [GPU_NODE], 3),
        (Resources(cpus=1, gpus=0.1), [NodeResources(cpus=64, gpus=2)], 20),
        (Resources(cpus=2, gpus=0.25), [NodeResources(cpus=3, gpus=1)] * 2, 2),
        (Resources(cpus=2, gpus=1), [NodeResources(cpus=3, gpus=0)] * 2, 2),  # no GPU anywhere: on the CPU
        (Resources(cpus=2, gpus=1), [NodeResources(cpus=64, gpus=0), GPU_NODE], 1),
        (Resources(cpus=1, gpus=0.25, max_concurrent=5), [GPU_NODE] * 8, 5),
    ],
)
def test_as_many_trials_run_at_once_as_fit_the_nodes(
    resources: Resources, nodes: list[NodeResources], num_concurrent: int
) -> None:
    assert place(resources, nodes).num_concurrent == num_concurrent


@pytest.mark.parametrize("resources", [Resources(cpus=2, gpus=0), Resources(cpus=1, gpus=1)])
def test_a_trial_that_fits_the_cluster_but_no_node_is_refused(resources: Resources) -> None:
    nodes = [NodeResources(cpus=1, gpus=0), NodeResources(cpus=1, gpus=0), NodeResources(cpus=0, gpus=1)]
    with pytest.raises(DefinitionError, match="must fit a node"):
        place(resources, nodes)


def test_a_stored_study_of_several_gpus_a_trial_goes_on_with_one() -> None:
    placement = place(Resources(cpus=1, gpus=2), [NodeResources(cpus=8, gpus=2), GPU_NODE])
    assert (placement.gpus, placement.num_concurrent) == (1, 3)


def test_a_trial_of_several_gpus_is_refused_in_one_line() -> None:
    with pytest.raises(DefinitionError, match="one GPU at most, but .* gpus = 2") as raised:
        check_gpus(Resources(gpus=2))
    assert "\n" not in str(raised.value)
    check_gpus(Resources(gpus=1))
