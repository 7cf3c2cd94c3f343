import numpy as np
import pytest
import torch

from study.training import activation_inputs
from study.training.activation_files import Description, StoredActivations
from study.training.activation_inputs import ActivationInputs

CPU = torch.device("cpu")


def inputs_of(rows: torch.Tensor, num_views: int = 1) -> ActivationInputs:
    """Example i has the rows i * num_views and those after it."""
    stored = StoredActivations(rows[:, None], Description(computed="float32", is_channels_last=False))
    return ActivationInputs(stored, np.arange(len(rows)).reshape(-1, num_views), 0.0, CPU)


@pytest.mark.parametrize("num_views", [1, 2])
@pytest.mark.parametrize("gather_bytes", [2**30, 700, 1])  # an epoch at once, some batches, each alone
def test_batches_come_in_order_whatever_is_gathered_at_once(
    num_views: int, gather_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activation_inputs, "GATHER_BYTES", gather_bytes)
    rows = torch.randn(40, 8)
    inputs = inputs_of(rows, num_views)
    order = np.random.default_rng(0).permutation(40 // num_views)
    batches = [order[:7], order[7:14], order[14:15], order[15:]]
    found = [inputs.enter(raw, None).activations for raw in inputs.read(batches)]
    expected = [rows.view(-1, num_views, 8)[batch].flatten(0, 1) for batch in batches]
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_an_epoch_of_few_pooled_features_is_gathered_once_and_its_batches_are_views_of_it() -> None:
    inputs = inputs_of(torch.randn(40, 8))
    batches = np.array_split(np.arange(40), 5)
    assert len({raw.untyped_storage().data_ptr() for raw in inputs.read(batches)}) == 1


def test_no_batches_are_none() -> None:
    assert list(inputs_of(torch.randn(40, 8)).read([])) == []
