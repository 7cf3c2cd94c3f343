"""One epoch of fine-tuning a whole ResNet-18, against the bare PyTorch loop; bf16 against float32; accuracy of both.

    python -m tests.benchmarks.bench_fine_tune                       # the race in float32
    python -m tests.benchmarks.bench_fine_tune --part bfloat16       # the same in bf16
    python -m tests.benchmarks.bench_fine_tune --part accuracy       # 10 trainings with real weights: long

Both sides see the same photos, weights, optimiser and batches; ours reads uint8 and normalises in the step, and measures.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from study.data.folds import Fold
from study.data.study_data import StudyData
from study.models.weight_files import read_tensors
from study.models.weights import ResolvedWeights, resolve_weights
from study.trial import ComputeConfig, OptimizerConfig, Precision, ScheduleConfig, TrialConfig
from tests.benchmarks import peer_bare_loop as peer
from tests.benchmarks.core import Core, random_weights, step_times, subset
from tests.benchmarks.machine import Taken, alternate, describe_machine, describe_torch, median_ratio
from tests.benchmarks.photos import SQUEEZENET_WEIGHTS, add_photos_argument, pack
from tests.benchmarks.report import Report, Row, add_report_argument, at_least, publish, table

BACKBONE = "resnet18"
BATCH_SIZE = 64
SEEDS = range(5)
COMMAND = "python -m tests.benchmarks.bench_fine_tune"


@dataclass(frozen=True)
class Epoch:
    """What one epoch took.

    Attributes:
        steps: from the end of its first step to the end of its last: loading, building and validation are outside.
        whole: training and validation; of ours also building the model and measuring.
    """

    steps: Taken
    whole: Taken


def main() -> None:
    """Prints the table of one part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_photos_argument(parser)
    add_report_argument(parser)
    parser.add_argument("--part", choices=["float32", "bfloat16", "accuracy"], default="float32")
    parser.add_argument("--size", type=int, default=128, help="side of the squares in pixels")
    parser.add_argument("--train", type=int, default=617, help="training photos, at most; half as many for validation")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=8, help="of each training of the part `accuracy`")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{describe_machine()}\n{describe_torch()}\n")
    with tempfile.TemporaryDirectory() as folder:
        data = subset(pack(arguments.photos, arguments.size, Path(folder)), arguments.train, arguments.train // 2)
        match arguments.part:
            case "float32":
                report = race_float32(data, Path(folder), arguments.rounds)
            case "bfloat16":
                report = race_bfloat16(data, Path(folder), arguments.rounds)
            case "accuracy":
                report = compare_accuracy(data, arguments.epochs)
    publish(report, arguments)


def race_float32(data: StudyData, folder: Path, num_rounds: int) -> Report:
    """Ours against the bare loop, plain and tuned, all in float32."""
    weights = random_weights(BACKBONE, folder)
    epochs = race(
        data,
        {
            "bare loop, as tutorials write it": bare(data, weights, is_tuned=False),
            "bare loop, channels last, fused optimiser": bare(data, weights, is_tuned=True),
            "ours": ours(data, weights, "float32"),
        },
        num_rounds,
    )
    rows = [
        Row(f"full fine-tune, ResNet-18, {data.image_size} px, float32", name, *goal_of(epochs, name, "ours", 0.97))
        for name in epochs
        if name != "ours"
    ]
    return Report("Full fine-tune", COMMAND, rows, details(data, epochs, "ours", num_rounds))


def race_bfloat16(data: StudyData, folder: Path, num_rounds: int) -> Report:
    """Ours in bf16 against ours in float32; the tuned bare loop in both shows what the kernels give."""
    weights = random_weights(BACKBONE, folder)
    epochs = race(
        data,
        {
            "bare loop tuned, float32": bare(data, weights, is_tuned=True),
            "bare loop tuned, bf16": bare(data, weights, is_tuned=True, is_bfloat16=True),
            "ours, float32": ours(data, weights, "float32"),
            "ours, bf16": ours(data, weights, "bfloat16"),
        },
        num_rounds,
    )
    work = f"bf16 and channels last, ResNet-18, {data.image_size} px"
    ceiling = speed_up(epochs, "bare loop tuned, float32", "bare loop tuned, bf16")
    itself = goal_of(epochs, "ours, float32", "ours, bf16", 1.8)
    rows = [
        Row(work, f"itself in float32 (the bare loop gains {ceiling:.2f}×)", *itself),
        Row(work, "bare loop tuned, bf16", *goal_of(epochs, "bare loop tuned, bf16", "ours, bf16", 0.97)),
    ]
    return Report("bf16", f"{COMMAND} --part bfloat16", rows, details(data, epochs, "ours, bf16", num_rounds))


def bare(
    data: StudyData, weights: ResolvedWeights, *, is_tuned: bool, is_bfloat16: bool = False
) -> Callable[[StudyData], Epoch]:
    """A contestant; its photos are normalised before the clock starts."""
    assert weights.path is not None
    state = read_tensors(weights.path)

    def run(shown: StudyData) -> Epoch:
        train, val = (peer.load_photos(shown, split, is_tuned=is_tuned) for split in ("train", "val"))
        model = peer.make_model(BACKBONE, state, data.num_classes, is_tuned=is_tuned)
        optimizer = peer.sgd(list(model.parameters()), is_tuned)

        def epoch() -> None:
            peer.train_epoch(model, optimizer, train, BATCH_SIZE, is_bfloat16=is_bfloat16)
            peer.validate(model, val, BATCH_SIZE, is_bfloat16=is_bfloat16)

        return timed(epoch)

    return run


def ours(data: StudyData, weights: ResolvedWeights, precision: Precision) -> Callable[[StudyData], Epoch]:
    """A contestant; its clock starts with the recipe, so that building the model counts as well."""
    config = TrialConfig(
        backbone=BACKBONE,
        freeze_depth=0.0,
        epochs=1,
        batch_size=BATCH_SIZE,
        optimizer=OptimizerConfig(name="sgd", lr=1e-3, momentum=0.9),
        compute=ComputeConfig(precision=precision),
    )

    return lambda shown: timed(lambda: Core().train(config, shown, weights))


def timed(epoch: Callable[[], object]) -> Epoch:
    """Ours and the peers by the same clock: at their optimisers' steps."""
    started = Taken.now()
    with step_times() as times:
        epoch()
    return Epoch(times[-1].since(times[0]), Taken.now().since(started))


def race(data: StudyData, contestants: dict[str, Callable[[StudyData], Epoch]], num_rounds: int) -> dict[str, list[Epoch]]:
    """One epoch of each a round, after two steps of each that do not count."""
    warm_up = subset(data, 2 * BATCH_SIZE, BATCH_SIZE)
    for run in contestants.values():
        run(warm_up)
    return alternate({name: lambda run=run: run(data) for name, run in contestants.items()}, num_rounds)  # type: ignore[misc]


def goal_of(epochs: dict[str, list[Epoch]], slow: str, fast: str, goal: float) -> tuple[str, str, bool]:
    """What a row says, of the clock; with the processor time, which a busy machine disturbs less."""
    asked, found, is_reached = at_least(speed_up(epochs, slow, fast), goal)
    by_processor_time = median_ratio(*([one.steps.cpu_s for one in epochs[name]] for name in (slow, fast)))
    return asked, f"{found}, by processor time {by_processor_time:.3g}×", is_reached


def speed_up(epochs: dict[str, list[Epoch]], slow: str, fast: str) -> float:
    """How many times the images/s of `slow`'s steps those of `fast` are: median of the rounds."""
    return median_ratio(*([one.steps.wall_s for one in epochs[name]] for name in (slow, fast)))


def details(data: StudyData, epochs: dict[str, list[Epoch]], reference: str, num_rounds: int) -> str:
    """Images/s of each contestant, and the reference against it in four ways."""
    num_timed, num_val = len(data.splits.train) - BATCH_SIZE, len(data.splits.val)
    lines = []
    for name, rounds in epochs.items():
        pairs = list(zip(rounds, epochs[reference], strict=True))
        walls = [one.steps.wall_s for one in rounds]
        ratios = (
            median(one.steps.wall_s / other.steps.wall_s for one, other in pairs),
            min(walls) / min(other.steps.wall_s for other in epochs[reference]),
            median(one.steps.cpu_s / other.steps.cpu_s for one, other in pairs),
            median(one.whole.wall_s / other.whole.wall_s for one, other in pairs),
        )
        lines.append(
            (name, f"{num_timed / median(walls):.1f}", f"{num_timed / min(walls):.1f}", *map("{:.3f}×".format, ratios))
        )
    heading = (
        "",
        "images/s, median",
        "best",
        f"{reference}: median of rounds",
        "best to best",
        "by processor time",
        "with validation",
    )
    return (
        f"{len(data.splits.train)} photos for training, {num_val} for validation, {data.image_size} px, batches of "
        f"{BATCH_SIZE}, {num_rounds} rounds in turns; random weights. Steps from the end of the first to the end of the last; "
        f"with validation: from the recipe to the epoch's measurement, which for ours includes building the model."
        f"\n\n{table(heading, lines)}"
    )


def median(values: Iterable[float]) -> float:
    """As a plain number."""
    return float(np.median(list(values)))


def compare_accuracy(data: StudyData, num_epochs: int) -> Report:
    """SqueezeNet 1.0 with its ImageNet weights, whole, once in each precision for each seed.

    Measured on the validation and the test photos together: nothing is chosen here, and more photos tell more.
    """
    splits = data.splits
    held_out = np.union1d(splits.val, splits.test)
    data = replace(data, folds=(Fold(replace(splits, val=held_out, test=splits.test[:0]), data.statistics),), fold=0)
    weights = resolve_weights("squeezenet1_0", str(SQUEEZENET_WEIGHTS.absolute()), Path.cwd())
    found = {
        precision: [100 * accuracy_of(data, weights, precision, num_epochs, seed) for seed in SEEDS]
        for precision in ("float32", "bfloat16")
    }
    differences = np.subtract(found["bfloat16"], found["float32"])
    error = differences.std(ddof=1) / np.sqrt(len(SEEDS))
    work = f"accuracy in bf16, SqueezeNet 1.0 with real weights, {len(SEEDS)} seeds"
    text = f"{differences.mean():+.2f} ± {error:.2f} points"
    row = Row(work, "itself in float32", "within 0.5 points", text, bool(abs(differences.mean()) <= 0.5))
    lines = [(name, *(f"{one:.1f}" for one in values), f"{np.mean(values):.2f}") for name, values in found.items()]
    per_photo = 100 / len(data.splits.val)
    note = (
        f"Accuracy in % on the {len(data.splits.val)} validation and test photos after {num_epochs} epochs on "
        f"{len(data.splits.train)} photos of {data.image_size} px (adamw, lr 1e-3, the backbone's a twentieth, clipped, "
        f"cosine); one photo is {per_photo:.2f} points; ± is one standard error."
    )
    heading = ("", *(f"seed {seed}" for seed in SEEDS), "mean")
    return Report("Accuracy in bf16", f"{COMMAND} --part accuracy", [row], f"{note}\n\n{table(heading, lines)}")


def accuracy_of(data: StudyData, weights: ResolvedWeights, precision: Precision, num_epochs: int, seed: int) -> float:
    """On the validation split, after the last epoch."""
    config = TrialConfig(
        backbone="squeezenet1_0",
        freeze_depth=0.0,
        epochs=num_epochs,
        batch_size=32,
        # The new head's first losses are 10 and more: unclipped, they undo the backbone's weights within an epoch.
        optimizer=OptimizerConfig(name="adamw", lr=1e-3, backbone_lr_ratio=0.05, weight_decay=0.01, gradient_clip=5.0),
        schedule=ScheduleConfig(name="cosine", warmup_epochs=1),
        compute=ComputeConfig(precision=precision),
    )
    return Core().train(config, data, weights, seed=seed).measurements[-1].metrics["val_accuracy"]


if __name__ == "__main__":
    main()
