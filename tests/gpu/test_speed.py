"""A GPU is kept busy: ours against the same compiled step on one resident batch (tests/benchmarks/bench_gpu.py)."""

from collections.abc import Iterator

import pytest
import torch

from tests.benchmarks.bench_gpu import BACKBONES, Setting, count_flop, make_report, make_setting, measure, peak_of

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
MOST_DATA_WAIT = 0.02


@needs_gpu
@pytest.mark.timeout(600)  # compiling both sides takes minutes
@pytest.mark.parametrize("backbone", BACKBONES)
def test_training_reaches_nine_tenths_of_the_step_on_a_resident_batch(backbone: str) -> None:
    found = measure(backbone, make_setting(torch.device("cuda"), [backbone]))
    assert found.ratio >= 0.9, found
    assert found.data_share is not None
    assert found.data_share < MOST_DATA_WAIT, found


@pytest.fixture
def tiny() -> Iterator[Setting]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield make_setting(torch.device("cpu"), ["squeezenet1_1"], is_tiny=True)
    torch.set_num_threads(before)


def test_the_benchmark_itself_runs_on_a_cpu(tiny: Setting) -> None:
    found = measure("squeezenet1_1", tiny)
    report = make_report([found], long_s=1.0, setting=tiny)
    assert found.ours > 0
    assert found.resident > 0
    assert "squeezenet1_1" in report.details


def test_flop_are_counted_forward_and_backward(tiny: Setting) -> None:
    # Forward 1.814 GMAC at 224 px (torchvision's table), each of which is two operations. Backward is twice as much, less the
    # gradient of the photo, which nobody needs: 0.118 GMAC of the first convolution.
    expected = 2e9 * (3 * 1.814 - 0.118) * (64 / 224) ** 2
    assert count_flop("resnet18", tiny) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    ("name", "tflops"), [("NVIDIA H100 80GB HBM3", 989), ("NVIDIA H100 PCIe", 756), ("NVIDIA L40S", 362), ("NVIDIA L4", 121)]
)
def test_the_peak_is_found_by_the_devices_name(name: str, tflops: int) -> None:
    assert peak_of(name) == tflops * 1e12


def test_an_unknown_device_has_no_peak() -> None:
    assert peak_of("Voodoo 2") is None
