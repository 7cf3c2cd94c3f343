"""How many CPU threads a training's steps are worth."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Multiplications and additions of a step below which a second thread does not pay. A head on 512 features (2 million) takes
# 0.3 ms a step on one thread; on two, each of its operations waits for the slower thread: as long on an idle machine, and
# measured 270 times as long on one whose other core was busy.
SMALL_STEP_FLOPS = 100_000_000
# Forward, and backward for weights and inputs, each multiply and add. Source: Kaplan et al. 2020, appendix B, 6 N D.
FLOPS_PER_WEIGHT = 6


def is_small_step(num_weights: int, batch_size: int) -> bool:
    """Whether a step through linear layers of so many weights is too small to share between threads."""
    return num_weights * batch_size * FLOPS_PER_WEIGHT < SMALL_STEP_FLOPS


@contextmanager
def one_thread_if(is_small: bool) -> Iterator[None]:
    """Within it, torch's operations use one thread if `is_small`; afterwards as many as before."""
    num_threads = torch.get_num_threads()
    if is_small and num_threads > 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if torch.get_num_threads() != num_threads:
            torch.set_num_threads(num_threads)
