import gc

import torch

from study.training.recycling import RecycledMemory


def test_memory_is_given_out_again_when_its_tensor_is_gone() -> None:
    memory = RecycledMemory()
    first = memory.take((4, 5))
    assert (first.dtype, first.shape) == (torch.float32, (4, 5))
    place = first.data_ptr()
    del first
    smaller = memory.take((3, 5))
    assert smaller.data_ptr() == place
    assert memory.take((3, 5)).data_ptr() != place
    del smaller
    assert memory.take((4, 5)).data_ptr() == place


def test_memory_that_is_too_small_is_not_given_out() -> None:
    memory = RecycledMemory()
    memory.take((2,))
    assert memory.take((100,)).numel() == 100


def test_a_view_keeps_the_memory() -> None:
    memory = RecycledMemory()
    view = memory.take((4, 5))[1:, :2].permute(1, 0)
    view.fill_(7)
    gc.collect()
    memory.take((4, 5)).zero_()
    assert (view == 7).all()


def test_a_graph_that_saved_a_tensor_keeps_its_memory() -> None:
    memory = RecycledMemory()
    weight = torch.ones((2, 3), requires_grad=True)
    inputs = memory.take((2, 3)).fill_(5)
    loss = (weight * inputs).sum()
    del inputs
    gc.collect()
    memory.take((2, 3)).zero_()
    loss.backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert (weight.grad == 5).all()


def test_tensors_that_outlive_the_giver_stay_as_they_are() -> None:
    kept = RecycledMemory().take((3,)).fill_(2)
    gc.collect()
    assert kept.tolist() == [2, 2, 2]
