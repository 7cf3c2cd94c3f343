"""Small tensors from the host to the device."""

import torch
from torch import Tensor


def send(values: Tensor, device: torch.device) -> Tensor:
    """`values`, made on the host, on `device`; the host does not wait for a GPU.

    From ordinary memory a copy returns only when the GPU has done all that it was asked before, and then it has nothing to do
    until the host has asked for more. From pinned memory it takes its turn.
    Source: https://docs.pytorch.org/tutorials/intermediate/pinmem_nonblock.html
    """
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)
