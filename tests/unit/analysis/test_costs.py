import pytest

from study.analysis.costs import cost_known_of, is_cheaper


@pytest.mark.parametrize(
    ("name", "cost", "is_saving"),
    [
        ("seconds", 4.67, False),  # against 5: what a neighbour on the node makes of it
        ("seconds", 3.7, True),
        ("latency_ms", 4.6, False),
        ("latency_ms", 4.5, True),
        ("parameters_m", 4.7, True),
        ("flops_g", 4.8, False),
    ],
)
def test_a_saving_must_be_more_than_its_measurement_differs_by(name: str, cost: float, is_saving: bool) -> None:
    assert is_cheaper(name, {name: cost}, {name: 5.0}) is is_saving


def test_what_a_prediction_costs_counts_before_what_training_took() -> None:
    both = {"seconds": 3.0, "parameters_m": 2.0}
    assert cost_known_of([both, {**both, "latency_ms": 1.0}]) == "parameters_m"
    assert cost_known_of([both, {"flops_g": 1.0}]) is None
