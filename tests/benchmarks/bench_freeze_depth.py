"""Fixed recipes at every boundary of three backbones, with activations kept against the same loop that computes them.

    python -m tests.benchmarks.bench_freeze_depth
    python -m tests.benchmarks.bench_freeze_depth --backbones resnet18

Two recipes (sgd, adamw) at each boundary: 44 for ResNet-18 (6), AlexNet (8) and VGG-16 (8), so that each boundary counts alike.
Few photos, because a ratio needs no more; AlexNet's at full size, where its first layers cost what they cost in a study.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torchvision
from torch.nn import functional

from study.data.study_data import StudyData
from study.models.backbones import cut
from study.models.weight_files import read_tensors
from study.models.weights import ResolvedWeights
from study.trial import ComputeConfig, OptimizerConfig, OptimizerName, TrialConfig
from tests.benchmarks import peer_bare_loop as peer
from tests.benchmarks.core import Core, random_weights, subset
from tests.benchmarks.machine import Taken, describe_machine, describe_torch, seconds, taken
from tests.benchmarks.photos import add_photos_argument, pack
from tests.benchmarks.report import Report, Row, add_report_argument, at_least, publish, table

OPTIMIZERS: tuple[OptimizerName, ...] = ("sgd", "adamw")
BATCH_SIZE = 64
SIZES_PX = {"resnet18": 128, "alexnet": 224, "vgg16": 64}
COMMAND = "python -m tests.benchmarks.bench_freeze_depth"


@dataclass(frozen=True)
class Boundary:
    """What the recipes at one boundary took, in the order of `OPTIMIZERS`.

    Attributes:
        name: of the first stage that is trained, "head" where none is.
        bare: the bare loop with these layers frozen.
        computed: our loop without a cache.
        ours: the first finds no activations yet and computes them.
        ceiling: how much faster training can be where what is frozen costs nothing, measured apart.
    """

    backbone: str
    num_frozen: int
    name: str
    bare: list[Taken]
    computed: list[Taken]
    ours: list[Taken]
    ceiling: float


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_photos_argument(parser)
    add_report_argument(parser)
    parser.add_argument("--backbones", nargs="+", choices=[*SIZES_PX], default=[*SIZES_PX])
    parser.add_argument("--train", type=int, default=64, help="training photos; half as many for validation")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{describe_machine()}\n{describe_torch()}\n")
    with tempfile.TemporaryDirectory() as folder:
        boundaries = []
        for backbone in arguments.backbones:
            packed = pack(arguments.photos, SIZES_PX[backbone], Path(folder))
            data = subset(packed, arguments.train, arguments.train // 2)
            for num_frozen in range(len(stage_names(backbone)) + 1):
                boundaries.append(measure(backbone, num_frozen, data, arguments.epochs, Path(folder)))
    publish(make_report(boundaries, arguments.train, arguments.epochs), arguments)


def stage_names(backbone: str) -> list[str]:
    """Input first."""
    with torch.device("meta"):
        return list(cut(backbone, torchvision.models.get_model(backbone)).stages)


def measure(backbone: str, num_frozen: int, data: StudyData, num_epochs: int, folder: Path) -> Boundary:
    """The contestants take turns, recipe by recipe."""
    names = stage_names(backbone)
    weights = random_weights(backbone, folder)
    keeping, computing = Core(folder / "activations"), Core()
    boundary = Boundary(backbone, num_frozen, [*names, "head"][num_frozen], [], [], [], 1.0)
    for optimizer in OPTIMIZERS:
        config = TrialConfig(
            backbone=backbone,
            freeze_depth=num_frozen / len(names),
            epochs=num_epochs,
            batch_size=BATCH_SIZE,
            optimizer=OptimizerConfig(name=optimizer, lr=1e-4),
            compute=ComputeConfig(precision="float32"),
        )
        off = config.model_copy(update={"compute": ComputeConfig(precision="float32", activation_cache="off")})
        boundary.bare.append(taken(bare(config, num_frozen, data, weights)))
        boundary.ours.append(taken(lambda config=config: keeping.train(config, data, weights)))  # type: ignore[misc]
        boundary.computed.append(taken(lambda config=off: computing.train(config, data, weights)))  # type: ignore[misc]
    return replace(boundary, ceiling=ceiling_of(config, data, weights))


def bare(config: TrialConfig, num_frozen: int, data: StudyData, weights: ResolvedWeights) -> Callable[[], None]:
    """The whole trial in the bare loop; its photos are normalised before the clock starts."""
    assert weights.path is not None
    train, val = (peer.load_photos(data, split) for split in ("train", "val"))
    model = peer.make_model(config.backbone, read_tensors(weights.path), data.num_classes)
    set_train = peer.freeze(config.backbone, model, num_frozen)
    parameters = [one for one in model.parameters() if one.requires_grad]
    kind = torch.optim.AdamW if config.optimizer.name == "adamw" else torch.optim.SGD
    optimizer = kind(parameters, lr=config.optimizer.lr)

    def run() -> None:
        for _ in range(config.epochs):
            peer.train_epoch(model, optimizer, train, BATCH_SIZE, set_train=set_train)
            peer.validate(model, val, BATCH_SIZE)

    return run


def ceiling_of(config: TrialConfig, data: StudyData, weights: ResolvedWeights) -> float:
    """An epoch with frozen stages computed over one without them: each part timed alone, best of 3, on one batch."""
    model = Core().build(config, data, weights).to(memory_format=torch.channels_last)
    images, labels = peer.load_photos(data, "train", is_tuned=True).read(torch.arange(BATCH_SIZE))
    optimizer = peer.sgd(list(model.trainable_parameters()), is_tuned=True)
    activations = model.prefix(images)

    def step() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(model.suffix(activations), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def look() -> None:
        with torch.no_grad():
            model.suffix(activations)

    prefix_s, step_s, look_s = (min(seconds(part) for _ in range(3)) for part in (lambda: model.prefix(images), step, look))
    num_train, num_val = len(data.splits.train), len(data.splits.val)
    trained_s = num_train * step_s + num_val * look_s
    return 1 + (num_train + num_val) * prefix_s / trained_s


def make_report(boundaries: Sequence[Boundary], num_train: int, num_epochs: int) -> Report:
    """Two rows for each backbone and for all; a line for each boundary."""
    backbones = list(dict.fromkeys(one.backbone for one in boundaries))
    groups = {name: [one for one in boundaries if one.backbone == name] for name in backbones}
    if len(groups) > 1:
        groups["all of them"] = list(boundaries)
    rows = [row for name, group in groups.items() for row in rows_of(name, group)]
    heading = (
        *("backbone", "stages frozen (first trained)", "bare loop, s", "no cache, s", "ours: first recipe, s", "second, s"),
        *("ours against the bare loop", "against no cache", "by processor time", "second against no cache", "ceiling"),
    )
    sizes = ", ".join(f"{name} at {SIZES_PX[name]} px" for name in backbones)
    note = (
        f"{num_train} photos for training, {num_train // 2} for validation, {sizes}, batches of {BATCH_SIZE}, {num_epochs} "
        f"epochs, {len(OPTIMIZERS)} recipes a boundary ({', '.join(OPTIMIZERS)}), float32, random weights. The first recipe "
        f"finds no activations and computes them. Ceiling: the same epoch with and without the frozen stages' forward pass, "
        f"from its parts timed alone on one batch; reading costs nothing in it."
    )
    return Report("Freeze depth", COMMAND, rows, f"{note}\n\n{table(heading, [cells_of(one) for one in boundaries])}")


def cells_of(one: Boundary) -> Sequence[str]:
    """A line of the table."""
    first, second = (taken.wall_s for taken in one.ours)
    return (
        *(one.backbone, f"{one.num_frozen} ({one.name})"),
        *(f"{taken_s:.2f}" for taken_s in (wall_s(one.bare), wall_s(one.computed), first, second)),
        f"{wall_s(one.bare) / wall_s(one.ours):.2f}×",
        f"{wall_s(one.computed) / wall_s(one.ours):.2f}×",
        f"{cpu_s(one.computed) / cpu_s(one.ours):.2f}×",
        f"{one.computed[1].wall_s / second:.2f}×",
        f"{one.ceiling:.2f}×",
    )


def rows_of(name: str, group: Sequence[Boundary]) -> list[Row]:
    """All boundaries of a group weigh the same; the ceiling is what their sum would be without the frozen stages."""
    computed_s = sum(wall_s(one.computed) for one in group)
    ceiling = computed_s / sum(wall_s(one.computed) / one.ceiling for one in group)
    work = f"{len(OPTIMIZERS) * len(group)} recipes, all boundaries of {name} (ceiling {ceiling:.2f}×)"
    ours_s = sum(wall_s(one.ours) for one in group)
    by_processor_time = sum(cpu_s(one.computed) for one in group) / sum(cpu_s(one.ours) for one in group)
    later = sum(one.computed[1].wall_s for one in group) / sum(one.ours[1].wall_s for one in group)
    goal, found, is_reached = at_least(computed_s / ours_s, 1.3)
    peer_name = "the same loop, layers frozen, no cache"
    return [
        Row(work, peer_name, goal, f"{found}, by processor time {by_processor_time:.3g}×", is_reached),
        Row(f"the same for {name}, once activations are there", peer_name, "", f"{later:.2f}×"),
    ]


def wall_s(several: Sequence[Taken]) -> float:
    """Together."""
    return sum(one.wall_s for one in several)


def cpu_s(several: Sequence[Taken]) -> float:
    """Together."""
    return sum(one.cpu_s for one in several)


if __name__ == "__main__":
    main()
