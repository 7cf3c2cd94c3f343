"""Which of two recipes is the cheaper: by what, and by how much at least."""

from collections.abc import Mapping, Sequence

# The first that is known of both says it; seconds are those of training.
COST_ORDER = ("latency_ms", "flops_g", "parameters_m", "seconds")
# Of the dearer's cost: less is no reason to take another. What is counted is exact; latencies of one network differ by a tenth
# between two measurements, seconds of one recipe by a quarter between two nodes, or with who computes the shared activations.
SMALLEST_SAVING = {"latency_ms": 0.1, "flops_g": 0.05, "parameters_m": 0.05, "seconds": 0.25}


def cost_known_of(costs: Sequence[Mapping[str, float]]) -> str | None:
    """The first quantity in COST_ORDER that is known of all."""
    return next((name for name in COST_ORDER if all(name in cost for cost in costs)), None)


def is_cheaper(name: str, cost: Mapping[str, float], other: Mapping[str, float]) -> bool:
    """Whether `cost` is below `other` by as much as counts."""
    return cost[name] <= (1 - SMALLEST_SAVING[name]) * other[name]
