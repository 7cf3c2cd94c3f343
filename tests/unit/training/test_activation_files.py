import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from study.training.activation_files import (
    LARGEST_FLOAT16,
    StoredActivations,
    TooLargeForFloat16Error,
    collect_activations,
    is_intact,
    map_activations,
    packed_batches,
    write_activations,
)

NUM_PHOTOS = 5


def maps(*, channels_last: bool = True) -> Tensor:
    values = torch.randn(NUM_PHOTOS, 4, 3, 2, generator=torch.Generator().manual_seed(0))
    return values.contiguous(memory_format=torch.channels_last) if channels_last else values


def written(file: Path, activations: Sequence[Tensor], dtype: torch.dtype = torch.float32) -> StoredActivations:
    """Written in batches of two photos, and mapped."""
    batches = [[one[start : start + 2] for one in activations] for start in range(0, NUM_PHOTOS, 2)]
    num_bytes = write_activations(file, packed_batches(batches, dtype), NUM_PHOTOS)
    assert num_bytes == file.stat().st_size
    mapped = map_activations(file)
    assert mapped is not None
    return mapped


def test_a_file_holds_what_was_written_and_numpy_opens_it(tmp_path: Path) -> None:
    pooled = torch.randn(NUM_PHOTOS, 7)
    stored = written(tmp_path / "a.npy", [pooled])
    assert torch.equal(stored.rows[:, 0], pooled)
    assert is_intact(tmp_path / "a.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy")[:, 0], pooled.numpy())


def test_maps_are_stored_in_the_order_in_memory_that_convolutions_left_them_in(tmp_path: Path) -> None:
    stored = written(tmp_path / "a.npy", [maps()])
    assert stored.description.is_channels_last
    assert torch.equal(stored.rows[:, 0].permute(0, 3, 1, 2), maps())
    other = written(tmp_path / "b.npy", [maps(channels_last=False)])
    assert not other.description.is_channels_last
    assert torch.equal(other.rows[:, 0], maps())


@pytest.mark.parametrize("computed", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_what_was_computed_in_half_precision_is_told_and_stored_without_loss(
    computed: torch.dtype, dtype: torch.dtype, tmp_path: Path
) -> None:
    activations = torch.linspace(-10, 10, NUM_PHOTOS * 7).view(NUM_PHOTOS, 7).to(computed)
    stored = written(tmp_path / "a.npy", [activations], dtype)
    assert stored.rows.dtype == dtype
    assert getattr(torch, stored.description.computed) == computed
    if computed != torch.float32:
        assert torch.equal(stored.rows[:, 0].to(computed), activations)


def test_the_mirrored_photo_is_the_second_variant(tmp_path: Path) -> None:
    stored = written(tmp_path / "a.npy", [maps(), 2 * maps()])
    assert stored.rows.shape == (NUM_PHOTOS, 2, 3, 2, 4)
    assert torch.equal(stored.rows[:, 1], 2 * stored.rows[:, 0])


def test_memory_holds_what_the_file_would(tmp_path: Path) -> None:
    batches = [[maps()[:3], -maps()[:3]], [maps()[3:], -maps()[3:]]]
    collected = collect_activations(packed_batches(batches, torch.float16), NUM_PHOTOS)
    stored = written(tmp_path / "a.npy", [maps(), -maps()], torch.float16)
    assert torch.equal(collected.rows, stored.rows)
    assert collected.description == stored.description


@pytest.mark.parametrize("value", [65520.0, -1e6, float("inf"), float("nan")])
def test_float16_never_makes_an_infinity_of_an_activation(value: float) -> None:
    activations = torch.full((3, 4), LARGEST_FLOAT16)
    assert next(iter(packed_batches([[activations]], torch.float16)))[1].isfinite().all()
    activations[2, 1] = value
    with pytest.raises(TooLargeForFloat16Error, match="too large for float16"):
        list(packed_batches([[activations]], torch.float16))
    assert list(packed_batches([[activations]], torch.float32))


def test_every_single_bit_that_flips_is_found(tmp_path: Path) -> None:
    file = tmp_path / "a.npy"
    written(file, [torch.randn(NUM_PHOTOS, 3)])
    content = file.read_bytes()
    for place in range(len(content)):
        file.write_bytes(content[:place] + bytes([content[place] ^ (1 << place % 8)]) + content[place + 1 :])
        assert not is_intact(file), f"byte {place}"
    file.write_bytes(content)
    assert is_intact(file)


@pytest.mark.parametrize("change", ["cut short", "emptied", "grown", "blanked", "swapped", "another's"])
def test_a_file_that_is_not_what_was_written_is_found(change: str, tmp_path: Path) -> None:
    file = tmp_path / "a.npy"
    written(file, [torch.randn(NUM_PHOTOS, 300)])
    content = file.read_bytes()
    changed = {
        "cut short": content[:-50],
        "emptied": b"",
        "grown": content + b"\0",
        "blanked": content[:500] + bytes(1000) + content[1500:],
        "swapped": content[:200] + content[600:1000] + content[200:600] + content[1000:],
        "another's": b"no activations",
    }
    file.write_bytes(changed[change])
    assert not is_intact(file)


def test_a_missing_file_is_neither_intact_nor_mapped(tmp_path: Path) -> None:
    assert not is_intact(tmp_path / "a.npy")
    assert map_activations(tmp_path / "a.npy") is None


def test_what_is_done_to_mapped_activations_does_not_reach_the_file(tmp_path: Path) -> None:
    stored = written(tmp_path / "a.npy", [maps()])
    before = (tmp_path / "a.npy").read_bytes()
    stored.rows.zero_()
    assert (tmp_path / "a.npy").read_bytes() == before


def test_mapped_activations_outlive_their_file(tmp_path: Path) -> None:
    stored = written(tmp_path / "a.npy", [maps()])
    (tmp_path / "a.npy").unlink()
    assert torch.equal(stored.rows[:, 0].permute(0, 3, 1, 2), maps())


def test_a_file_larger_than_the_memory_is_mapped(tmp_path: Path) -> None:
    """Linux refuses a writable private mapping of that size (numpy's "c") unless it is told not to reserve memory."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    num_rows = 2 * memory_bytes // 2**20
    file = tmp_path / "a.npy"
    written(file, [torch.zeros(NUM_PHOTOS, 3)])
    with file.open("rb") as stream:
        stream.seek(-100, os.SEEK_END)
        trailer = stream.read()
    described = trailer[trailer.index(b"{") :]
    with file.open("wb") as stream:
        header = {"descr": "<f4", "fortran_order": False, "shape": (num_rows, 1, 2**18)}
        np.lib.format.write_array_header_1_0(stream, header)
        stream.truncate(stream.tell() + num_rows * 2**20)  # a hole: takes no disk
        stream.seek(0, os.SEEK_END)
        stream.write(described)
    mapped = map_activations(file)
    assert mapped is not None
    assert mapped.rows[-1].eq(0).all()
