"""What a training step reads where the frozen stages' output was computed once."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from study.training.activation_files import StoredActivations
from study.training.batches import Entered, Indices
from study.training.photo_reading import NUM_AHEAD, ahead

# Batches up to this size together are one gather, and then views of it. On a CPU more would be slower: 16 MiB and above come
# from fresh pages each time (measured for an epoch of 125 batches of 64 rows of 512 float32: 8 to 9 µs a batch at
# 0.5 to 4 MiB as for each batch alone, 94 to 130 µs at 16 to 64 MiB). A GPU keeps its memory, and there calls cost the most.
GATHER_BYTES = 4 * 2**20
GPU_GATHER_BYTES = 128 * 2**20


@dataclass(frozen=True, eq=False)
class ActivationInputs:
    """Activations at the boundary; see `Inputs`.

    A raw batch is [n * num_views, num_variants, …] as stored; half precision and a second variant become what the trainable
    stages take in `enter`, on the device.

    Attributes:
        stored: on the CPU (a memory-mapped file is shared with the node's other trials), or on `device`.
        rows: which of the stored rows are each example's photos, int64 [num_examples, num_views]; -1 where there is none.
        flip: probability of the mirrored photo in training.
        device: where batches go.
    """

    stored: StoredActivations
    rows: Indices
    flip: float
    device: torch.device

    @property
    def num_views(self) -> int:
        """Photos of an example."""
        return int(self.rows.shape[1])

    def examples_in(self, num_bytes: int) -> int:
        """How many examples take that much memory as they are stored; at least one."""
        return max(1, num_bytes * len(self.stored.rows) // (self.stored.num_bytes * self.num_views))

    def read(self, batches: Sequence[Indices]) -> Iterator[Tensor]:
        """See `Inputs.read`.

        Raises:
            ValueError: if one of the examples has no activations (those of the test split have none).
        """
        if not batches:
            return iter(())
        rows = torch.from_numpy(self.rows[np.concatenate(batches)].reshape(-1))
        if rows.amin() < 0:
            raise ValueError("activations are kept of the training and validation splits only, but others were asked for")
        sizes = [self.num_views * len(batch) for batch in batches]
        if self.stored.rows.device.type == self.device.type:
            return self._read_here(rows.to(self.device), sizes)
        return _read_ahead(self._gather_pinned, torch.split(rows, sizes), self.device)

    def enter(self, raw: Tensor, generator: torch.Generator | None) -> Entered:
        """See `Inputs.enter`; the generator draws which photos are mirrored."""
        activations = self._pick(raw, generator).to(getattr(torch, self.stored.description.computed))
        if self.stored.description.is_channels_last:
            activations = activations.permute(0, 3, 1, 2)
        return Entered(activations)

    def _pick(self, raw: Tensor, generator: torch.Generator | None) -> Tensor:
        num_photos, num_variants = raw.shape[:2]
        if num_variants == 1 or generator is None:
            return raw[:, 0]
        is_mirrored = torch.rand(num_photos, generator=generator) < self.flip
        places = 2 * torch.arange(num_photos) + is_mirrored
        return raw.flatten(0, 1).index_select(0, places.to(raw.device))

    def _read_here(self, rows: Tensor, sizes: Sequence[int]) -> Iterator[Tensor]:
        most_bytes = GATHER_BYTES if self.device.type == "cpu" else GPU_GATHER_BYTES
        row_bytes = self.stored.num_bytes // len(self.stored.rows)
        at_once = max(1, most_bytes // (row_bytes * max(sizes)))
        start = 0
        for first in range(0, len(sizes), at_once):
            group = list(sizes[first : first + at_once])
            gathered = self.stored.rows.index_select(0, rows[start : start + sum(group)])
            start += sum(group)
            yield from torch.split(gathered, group)

    def _gather_pinned(self, rows: Tensor) -> Tensor:
        pinned = self.stored.rows.new_empty((len(rows), *self.stored.rows.shape[1:]), pin_memory=True)
        return torch.index_select(self.stored.rows, 0, rows, out=pinned)


def _read_ahead(gather: Callable[[Tensor], Tensor], batches: Sequence[Tensor], device: torch.device) -> Iterator[Tensor]:
    """Batches on a GPU, gathered and copied while it works on those before them.

    Args:
        gather: some rows in pinned memory; runs in a thread of its own, without Python's lock.
    """
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def load(rows: Tensor) -> tuple[Tensor, torch.cuda.Event]:
        with torch.cuda.stream(stream):
            # torch's allocator of pinned memory gives it to nobody else before the copy is done.
            copied = gather(rows).to(device, non_blocking=True)
            return copied, stream.record_event()

    for batch, is_copied in ahead(load, batches, NUM_AHEAD):
        current = torch.cuda.current_stream(device)
        current.wait_event(is_copied)
        batch.record_stream(current)  # its memory was taken on the other stream: not given away while this one reads it
        yield batch
