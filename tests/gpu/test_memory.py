"""The most memory that a trial took on a GPU, in a process that trained others before."""

import pytest
import torch

from study.training.memory import MIB, count_peak_anew, peak_memory_mib

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def test_the_peak_of_a_small_trial_is_not_that_of_the_large_one_before_it() -> None:
    device = torch.device("cuda")
    large = torch.zeros(512 * MIB, dtype=torch.uint8, device=device)
    before = peak_memory_mib(device)
    del large
    count_peak_anew(device)
    small = torch.zeros(8 * MIB, dtype=torch.uint8, device=device)
    assert before >= 512
    assert 8 <= peak_memory_mib(device) <= before - 500
    assert small.is_cuda
