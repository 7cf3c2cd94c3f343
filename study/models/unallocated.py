"""Networks built to be filled from a file: their parameters take neither time nor memory before."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class UnallocatedParameters(TorchFunctionMode):
    """A context in which `torch.empty` makes tensors without memory: what torch's layers draw their parameters in.

    Drawing 138 million weights of a VGG only to overwrite them costs 1.1 s. `torch.device("meta")` would do as much to all
    tensors, and so break networks that compute their widths with tensors (RegNet) and lose what no file holds (tables of
    positions in buffers).
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Called by torch in place of each of its functions."""
        kwargs = dict(kwargs or {})
        if func is torch.empty and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)
