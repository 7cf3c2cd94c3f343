"""Activations that are sent to a GPU ahead of its work, or stay there."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from study.training.activation_files import Description, StoredActivations
from study.training.activation_inputs import ActivationInputs

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def test_batches_read_ahead_are_those_of_resident_activations() -> None:
    device = torch.device("cuda")
    rows = torch.randn(500, 2, 14, 14, 64).half()
    stored = StoredActivations(rows, Description(computed="float32", is_channels_last=True))
    from_host = ActivationInputs(stored, np.arange(500)[:, None], 0.5, device)
    resident = replace(from_host, stored=stored.to(device))
    order = np.random.default_rng(0)
    batches = np.array_split(order.permutation(500), 20)
    for raw, other in zip(from_host.read(batches), resident.read(batches), strict=True):
        assert raw.device.type == other.device.type == "cuda"
        a, b = (one.enter(raw, torch.Generator().manual_seed(0)).activations for one in (from_host, resident))
        assert torch.equal(raw, other)
        assert torch.equal(a, b)
        assert a.is_contiguous(memory_format=torch.channels_last)
        # The next batches arrive while this one's work is still queued.
        torch.cuda._sleep(1_000_000)  # type: ignore[no-untyped-call]
    assert torch.equal(raw.cpu(), rows[batches[-1]])


def test_a_reader_that_stops_early_leaves_no_thread_waiting() -> None:
    stored = StoredActivations(torch.randn(500, 1, 64), Description(computed="float32", is_channels_last=False))
    inputs = ActivationInputs(stored, np.arange(500)[:, None], 0.0, torch.device("cuda"))
    reading = inputs.read(np.array_split(np.arange(500), 50))
    next(reading)
    reading.close()  # type: ignore[attr-defined]
