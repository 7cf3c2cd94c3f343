"""Training whole networks on a GPU in bf16, against the same compiled step on one batch that never leaves it.

    python -m tests.benchmarks.bench_gpu
    python -m tests.benchmarks.bench_gpu --device cpu --tiny          # that the script itself runs

Photos are noise, made on the spot: no speed depends on them. The peer's batch is normalised once and lies on the device, and
its loop reads no loss and measures nothing.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torchvision
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from study.models.weights import RANDOM_DIGEST, ResolvedWeights
from study.trial import ComputeConfig, OptimizerConfig, TrialConfig
from tests.benchmarks.core import Core, noise_data
from tests.benchmarks.machine import describe_machine, describe_torch
from tests.benchmarks.report import Report, Row, add_report_argument, at_least, at_most, publish, table

RANDOM = ResolvedWeights(None, RANDOM_DIGEST)
NUM_CLASSES = 10
BACKBONES = ("resnet18", "resnet50", "vit_b_16", "vgg16", "alexnet")
COMMAND = "python -m tests.benchmarks.bench_gpu"
# bf16 with float32 accumulation, dense, FLOP/s; the first name that the device's contains. Source: NVIDIA's data sheets of
# H100 (PCIe: 756, SXM: 989), H200, B200, A100, L40S, L4, and the Ada and Ampere whitepapers for the GeForce cards.
PEAKS = {
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "H200": 989e12,
    "B200": 2250e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
}


@dataclass(frozen=True)
class Setting:
    """How large all of it is.

    Attributes:
        num_steps: of an epoch; the first epoch, which compiles and tunes, does not count.
        num_long: photos of the training of ResNet-18 that is timed as a whole.
    """

    device: torch.device
    size_px: int
    batch_size: int
    num_steps: int
    num_epochs: int
    num_long: int
    num_long_epochs: int
    is_compiled: bool
    backbones: tuple[str, ...]

    def make_config(self, backbone: str) -> TrialConfig:
        """A whole network in bf16, compiled."""
        return TrialConfig(
            backbone=backbone,
            weights="none",
            freeze_depth=0.0,
            epochs=self.num_epochs,
            batch_size=self.batch_size,
            optimizer=OptimizerConfig(name="sgd", lr=1e-3, momentum=0.9),
            compute=ComputeConfig(precision="bfloat16", compile=self.is_compiled),
        )


@dataclass(frozen=True)
class Speed:
    """Of one backbone, in photos trained on a second.

    Attributes:
        data_share: of the training's time that is spent on waiting for data; None where the core does not tell.
        flop_per_image: forward and backward, counted.
    """

    backbone: str
    ours: float
    resident: float
    data_share: float | None
    flop_per_image: float

    @property
    def ratio(self) -> float:
        """Ours as a share of the resident batch's."""
        return self.ours / self.resident


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_report_argument(parser)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="sizes that a CPU manages: shows that the script runs, no more")
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES))
    parser.add_argument("--batch-size", type=int, default=256)
    arguments = parser.parse_args()
    setting = make_setting(torch.device(arguments.device), arguments.backbones, arguments.batch_size, is_tiny=arguments.tiny)
    print(f"{describe_machine()}\n{describe_torch()}\n{device_name(setting.device)}\n")
    speeds = [measure(backbone, setting) for backbone in setting.backbones]
    publish(make_report(speeds, time_long_training(setting), setting), arguments)


def make_setting(device: torch.device, backbones: Sequence[str], batch_size: int = 256, *, is_tiny: bool = False) -> Setting:
    """224 px and 20 steps an epoch; or 64 px and 2 steps."""
    if is_tiny:
        return Setting(device, 64, 4, 2, 2, 16, 2, is_compiled=False, backbones=tuple(backbones))
    return Setting(device, 224, batch_size, 20, 4, 8000, 10, is_compiled=True, backbones=tuple(backbones))


def device_name(device: torch.device) -> str:
    """As its driver calls it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"no GPU ({device})"


def measure(backbone: str, setting: Setting) -> Speed:
    """Ours and the peer, one after the other: a GPU of one's own is quiet."""
    torch.compiler.reset()
    data = noise_data(setting.num_steps * setting.batch_size, setting.size_px, NUM_CLASSES)
    trained = Core(device=setting.device).train(setting.make_config(backbone), data, RANDOM)
    torch.compiler.reset()
    return Speed(
        backbone,
        ours=trained.train_images_per_s,
        resident=resident_images_per_s(backbone, setting),
        data_share=trained.data_share,
        flop_per_image=count_flop(backbone, setting),
    )


def make_peer(backbone: str, setting: Setting) -> nn.Module:
    """torchvision's own network, channels last."""
    options = {"image_size": setting.size_px} if backbone.startswith("vit") else {}
    model: nn.Module = torchvision.models.get_model(backbone, weights=None, num_classes=NUM_CLASSES, **options)
    return model.to(setting.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def resident_images_per_s(backbone: str, setting: Setting) -> float:
    """The bare step in bf16 on one normalised batch, as many times as ours, of which the last epoch counts."""
    model = make_peer(backbone, setting).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, fused=True)
    shape = (setting.batch_size, 3, setting.size_px, setting.size_px)
    images = torch.randn(shape, device=setting.device).to(memory_format=torch.channels_last)
    labels = torch.arange(setting.batch_size, device=setting.device) % NUM_CLASSES
    forward = torch.compile(model) if setting.is_compiled else model

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(setting.device.type, torch.bfloat16):
            loss = functional.cross_entropy(forward(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def run_epoch() -> float:
        wait_for(setting.device)
        started_s = time.perf_counter()
        for _ in range(setting.num_steps):
            step()
        wait_for(setting.device)
        return time.perf_counter() - started_s

    # An expert lets cuDNN try its algorithms: the batch has one shape.
    with torch.backends.cudnn.flags(enabled=True, benchmark=True):
        last_s = [run_epoch() for _ in range(setting.num_epochs)][-1]
    return setting.num_steps * setting.batch_size / last_s


def wait_for(device: torch.device) -> None:
    """Until all that was asked of it is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def count_flop(backbone: str, setting: Setting) -> float:
    """Floating-point operations of a forward and a backward pass, a photo; a multiplication and its addition are two."""
    model = make_peer(backbone, setting).train()
    images = torch.randn((2, 3, setting.size_px, setting.size_px), device=setting.device)
    counter = FlopCounterMode(display=False)
    with counter:
        model(images).sum().backward()
    return counter.get_total_flops() / len(images)


def time_long_training(setting: Setting) -> float:
    """Seconds of a whole ResNet-18 training, validation included, as its recipe is by default: not compiled."""
    config = setting.make_config("resnet18").model_copy(
        update={"epochs": setting.num_long_epochs, "compute": ComputeConfig(precision="bfloat16")}
    )
    data = noise_data(setting.num_long, setting.size_px, NUM_CLASSES)
    trained = Core(device=setting.device).train(config, data, RANDOM)
    wait_for(setting.device)
    return trained.wall_s


def peak_of(name: str) -> float | None:
    """FLOP/s of the device in bf16; None where it is not in the table."""
    return next((peak for known, peak in PEAKS.items() if known in name), None)


def make_report(speeds: Sequence[Speed], long_s: float, setting: Setting) -> Report:
    """A row for each backbone, one for the wait, one for the long training."""
    name = device_name(setting.device)
    rows = [
        Row(
            f"{one.backbone}, {setting.size_px} px, bf16, {name}",
            "the compiled step on one resident batch",
            *(at_least(one.ratio, 0.9) if setting.device.type == "cuda" else ("", f"{one.ratio:.2f}×")),
        )
        for one in speeds
    ]
    waits = [one.data_share for one in speeds if one.data_share is not None]
    if waits:
        rows.append(Row("the data wait, largest of them", "its training step", *at_most(100 * max(waits), 2, " %")))
    work = f"ResNet-18, {setting.num_long:,} photos, {setting.num_long_epochs} epochs, {name}"
    rows.append(Row(work, "—", "about 8 s on an H100", f"{long_s:.1f} s"))
    peak = peak_of(name)
    lines = [
        (
            one.backbone,
            f"{one.ours:,.0f}",
            f"{one.resident:,.0f}",
            f"{one.ratio:.3f}",
            "not told" if one.data_share is None else f"{one.data_share:.1%}",
            f"{one.flop_per_image / 1e9:.1f}",
            "unknown peak" if peak is None else f"{one.ours * one.flop_per_image / peak:.1%}",
        )
        for one in speeds
    ]
    heading = ("", "images/s", "on a resident batch", "ratio", "data wait", "GFLOP a photo", "share of the bf16 peak")
    note = (
        f"{name}; batches of {setting.batch_size} photos of {setting.size_px} px, {setting.num_steps} steps an epoch, the last "
        f"of {setting.num_epochs} epochs; {'compiled' if setting.is_compiled else 'not compiled'}, channels last, sgd."
    )
    return Report("On a GPU", COMMAND, rows, f"{note}\n\n{table(heading, lines)}")


if __name__ == "__main__":
    main()
