"""The running mean of a model's weights: what it is measured and kept with, while the weights themselves are trained on."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from study.models.classifier import Classifier

NUM_UPDATES = "num_updates"


class RunningMean:
    """An exponential moving average of all that training changes, on the model's device.

    That is the trainable parameters and the statistics of batch norms among them, which are averaged likewise: a mean of
    weights needs the statistics of the same time. Counters (whole numbers) are not averaged, and frozen stages do not change.
    Source: timm's ModelEmaV3, and the `ExponentialMovingAverage` of torchvision's references, which is so too.

    Args:
        model: its weights are where the mean begins; on the device that it is trained on.
        decay: what is kept of the mean at a step, in (0, 1); less at first, see `update`.
    """

    def __init__(self, model: Classifier, decay: float) -> None:
        self._decay = decay
        self._num_updates = 0
        self._names, self._values = _changing_tensors(model)
        self._means = [value.clone() for value in self._values]
        self._is_applied = False

    @torch.no_grad()
    def update(self) -> None:
        """Takes the weights after a step into the mean.

        The step with n before it keeps min(decay, (1 + n) / (10 + n)) of the mean: so that 10 steps leave 1e-5 of the initial
        weights, and not 0.99 as a decay of 0.999 would.
        Source: `num_updates` of TensorFlow's tf.train.ExponentialMovingAverage.
        """
        assert not self._is_applied, "the model holds its mean"
        decay = min(self._decay, (1 + self._num_updates) / (10 + self._num_updates))
        torch._foreach_lerp_(self._means, self._values, 1 - decay)
        self._num_updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within it the model has the mean for its weights; after it, its own again, bit for bit."""
        own = [value.clone() for value in self._values]
        self._put(self._means)
        self._is_applied = True
        try:
            yield
        finally:
            self._put(own)
            self._is_applied = False

    def state_tensors(self) -> dict[str, Tensor]:
        """The mean by the names of the model's tensors, and `num_updates`; they change with the next update."""
        return {**dict(zip(self._names, self._means, strict=True)), NUM_UPDATES: torch.tensor(self._num_updates)}

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Goes on from what `state_tensors` of another one returned, whose model was built alike."""
        for name, mean in zip(self._names, self._means, strict=True):
            mean.copy_(tensors[name])
        self._num_updates = int(tensors[NUM_UPDATES])

    @torch.no_grad()
    def _put(self, tensors: list[Tensor]) -> None:
        """Into the model's own memory: compiled code and optimizers know its addresses."""
        torch._foreach_copy_(self._values, tensors)


def _changing_tensors(model: Classifier) -> tuple[list[str], list[Tensor]]:
    """Names and tensors of the parameters and floating-point buffers that training changes."""
    frozen = {id(buffer) for stage in model.frozen_stages for buffer in stage.buffers()}
    named = {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}
    named |= {name: buffer for name, buffer in model.named_buffers() if id(buffer) not in frozen and buffer.is_floating_point()}
    return list(named), list(named.values())
