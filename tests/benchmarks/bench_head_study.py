"""A head-only study: 60 trials of 10 epochs on frozen backbones, against the tutorial's feature extractor and an expert's own.

    python -m tests.benchmarks.bench_head_study

The tutorial's loop is timed over 6 of its trials and over fewer epochs (its rate is constant), and then taken for all of them.
"""

import argparse
import itertools
import tempfile
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from study.data.study_data import StudyData
from study.models.weight_files import read_tensors
from study.models.weights import ResolvedWeights
from study.trial import ComputeConfig, Imbalance, OptimizerConfig, OptimizerName, TrialConfig
from tests.benchmarks import peer_bare_loop, peer_features_by_hand, peer_tutorial
from tests.benchmarks.core import Core, random_weights, subset
from tests.benchmarks.machine import describe_machine, describe_torch, seconds
from tests.benchmarks.photos import add_photos_argument, pack
from tests.benchmarks.report import Report, Row, add_report_argument, at_least, at_most, publish, table

BACKBONES = ("alexnet", "resnet18")
NUM_TRIALS, NUM_EPOCHS, BATCH_SIZE, SIZE_PX = 60, 10, 64, 224
NUM_TUTORIAL_TRIALS = 6
COMMAND = "python -m tests.benchmarks.bench_head_study"
Weights = dict[str, ResolvedWeights]


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_photos_argument(parser)
    add_report_argument(parser)
    parser.add_argument("--tutorial-epochs", type=int, default=1, help="that each of its 6 timed trials runs")
    parser.add_argument(
        "--rounds", type=int, default=2, help="of the study with no activations yet; three times as many with them"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{describe_machine()}\n{describe_torch()}\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data, packing_s = timed_packing(arguments.photos, folder)
        weights = {backbone: random_weights(backbone, folder) for backbone in BACKBONES}
        tutorial = run_tutorial(arguments.photos, weights, data.num_classes, arguments.tutorial_epochs)
        rows, details = compare(data, weights, folder, packing_s, tutorial, arguments.rounds)
        row, equality = compare_weights(subset(data, 64, 32), weights, folder)
    publish(Report("Head-only study", COMMAND, [*rows, row], f"{details}\n\n{equality}"), arguments)


def study_configs() -> list[TrialConfig]:
    """60 recipes in a fixed order: every imbalance with every optimiser on both backbones; lr from 1e-4 to 1e-2."""
    recipes = itertools.product(get_args(OptimizerName), get_args(Imbalance), BACKBONES)
    return [
        TrialConfig(
            backbone=backbone,
            freeze_depth=1.0,
            imbalance=imbalance,
            epochs=NUM_EPOCHS,
            batch_size=BATCH_SIZE,
            optimizer=OptimizerConfig(name=optimizer, lr=lr),
            compute=ComputeConfig(precision="float32", activation_cache="float32"),
        )
        for (optimizer, imbalance, backbone), lr in zip(
            itertools.islice(itertools.cycle(recipes), NUM_TRIALS), np.geomspace(1e-4, 1e-2, NUM_TRIALS).tolist(), strict=True
        )
    ]


def timed_packing(photos: Path, folder: Path) -> tuple[StudyData, float]:
    """The data, and the seconds that it took to make them of files."""
    data: list[StudyData] = []
    taken_s = seconds(lambda: data.append(pack(photos, SIZE_PX, folder)))
    return data[0], taken_s


def run_tutorial(photos: Path, weights: Weights, num_classes: int, num_epochs: int) -> dict[str, list[peer_tutorial.Trial]]:
    """Six trials of the tutorial, three on each backbone, with our batch size and as many workers as there are cores."""
    trials: dict[str, list[peer_tutorial.Trial]] = {backbone: [] for backbone in BACKBONES}
    for number in range(NUM_TUTORIAL_TRIALS):
        backbone = BACKBONES[number % len(BACKBONES)]
        path = weights[backbone].path
        assert path is not None
        trials[backbone].append(
            peer_tutorial.run_trial(
                photos,
                lambda backbone=backbone, path=path: peer_bare_loop.make_network_with(backbone, read_tensors(path)),  # type: ignore[misc]
                num_epochs,
                BATCH_SIZE,
                num_workers=2,
            )
        )
    return trials


def compare(
    data: StudyData,
    weights: Weights,
    folder: Path,
    packing_s: float,
    tutorial: dict[str, list[peer_tutorial.Trial]],
    num_rounds: int,
) -> tuple[list[Row], str]:
    """Trials an hour of all contestants."""
    configs = study_configs()
    cold, warm, features, by_hand = [], [], [], []
    for number in range(num_rounds):
        core = Core(folder / f"activations{number}")
        cold.append(seconds(lambda core=core: run_study(core, configs, data, weights)))  # type: ignore[misc]
        features_s, found = compute_features(data, weights)
        features.append(features_s)
        for _ in range(3):
            warm.append(seconds(lambda core=core: run_study(core, configs, data, weights)))  # type: ignore[misc]
            by_hand.append(seconds(lambda found=found: run_study_by_hand(configs, found)))  # type: ignore[misc]
    trial_s = {
        backbone: float(np.median([np.mean(one.epoch_s) * NUM_EPOCHS + one.rest_s for one in trials]))
        for backbone, trials in tutorial.items()
    }
    tutorial_s = sum(trial_s[config.backbone] for config in configs)
    cold_s, warm_s, features_s, by_hand_s = min(cold), min(warm), min(features), min(by_hand)
    whole_s = packing_s + cold_s
    work = f"head-only study, {NUM_TRIALS} trials × {NUM_EPOCHS} epochs, AlexNet and ResNet-18 frozen"
    rows = [
        Row(f"{work}: from photos to the end", "the tutorial's feature extractor", *at_least(tutorial_s / whole_s, 50)),
        Row(f"{work}: the same", "features by hand (an expert's script)", "", f"{(by_hand_s + features_s) / cold_s:.2f}×"),
        Row(f"{work}: once activations are there", "features by hand, likewise", "", f"{by_hand_s / warm_s:.2f}×"),
    ]
    lines = [
        ("the tutorial (packing nothing, keeping nothing)", *study_cells(tutorial_s)),
        ("ours, from photos to the end", *study_cells(whole_s)),
        ("ours, photos packed", *study_cells(cold_s)),
        ("ours, photos packed and activations there", *study_cells(warm_s)),
        ("by hand, photos packed", *study_cells(by_hand_s + features_s)),
        ("by hand, features there", *study_cells(by_hand_s)),
    ]
    seen = ", ".join(f"{backbone} {one:.1f} s" for backbone, one in trial_s.items())
    note = (
        f"{len(data.splits.train)} photos for training, {len(data.splits.val)} for validation, {data.image_size} px, batches "
        f"of {BATCH_SIZE}; random weights. The tutorial: {NUM_TUTORIAL_TRIALS} trials of {len(tutorial['alexnet'][0].epoch_s)} "
        f"epochs timed, a trial of {NUM_EPOCHS} taken as that often its epoch and once the rest ({seen}); batches of "
        f"{BATCH_SIZE} and 2 workers, where its text says 4 and 4, in its favour. It measures accuracy alone. Packing took "
        f"{packing_s:.1f} s. Ours and by hand: best of {len(cold)} rounds without activations, {len(warm)} with them."
    )
    return rows, f"{note}\n\n{table(('', 's for the study', 'trials an hour', 'ms a trial'), lines)}"


def study_cells(study_s: float) -> tuple[str, str, str]:
    """Seconds, trials an hour, ms a trial."""
    return f"{study_s:,.1f}", f"{NUM_TRIALS / study_s * 3600:,.0f}", f"{study_s / NUM_TRIALS * 1000:,.0f}"


def run_study(core: Core, configs: list[TrialConfig], data: StudyData, weights: Weights) -> None:
    """Trial after trial."""
    for number, config in enumerate(configs):
        core.train(config, data, weights[config.backbone], seed=number)


FeaturesOf = dict[str, tuple[peer_features_by_hand.Features, peer_features_by_hand.Features]]


def compute_features(data: StudyData, weights: Weights) -> tuple[float, FeaturesOf]:
    """The expert's features for training and validation by backbone, and the seconds that they took."""
    found: FeaturesOf = {}

    def compute() -> None:
        train, val = (peer_bare_loop.load_photos(data, split, is_tuned=True) for split in ("train", "val"))
        for backbone in BACKBONES:
            path = weights[backbone].path
            assert path is not None
            model = peer_bare_loop.make_model(backbone, read_tensors(path), data.num_classes, is_tuned=True)
            found[backbone] = (
                peer_features_by_hand.compute_features(model, train),
                peer_features_by_hand.compute_features(model, val),
            )

    return seconds(compute), found


def run_study_by_hand(configs: list[TrialConfig], features: FeaturesOf) -> None:
    """The same recipes."""
    for number, config in enumerate(configs):
        train, val = features[config.backbone]
        peer_features_by_hand.run_trial(
            train, val, config.imbalance, config.optimizer.name, config.optimizer.lr, config.epochs, seed=number
        )


def compare_weights(data: StudyData, weights: Weights, folder: Path) -> tuple[Row, str]:
    """The final weights of one trial of each optimiser and backbone, with float32 activations kept and with none."""
    core = Core(folder / "activations")
    lines, largest = [], 0.0
    for config in study_configs()[::5][:7]:  # every optimiser, every imbalance, both backbones
        kept = core.train(config, data, weights[config.backbone], seed=1).model.state_dict()
        off = config.model_copy(update={"compute": ComputeConfig(precision="float32", activation_cache="off")})
        computed = core.train(off, data, weights[config.backbone], seed=1).model.state_dict()
        another_seed = core.train(config, data, weights[config.backbone], seed=2).model.state_dict()
        difference = largest_difference(kept, computed)
        largest = max(largest, difference)
        control = f"{largest_difference(kept, another_seed):.1e}"
        lines.append((config.backbone, config.optimizer.name, config.imbalance, f"{difference:.1e}", control))
    row = Row(
        "head-only trial, largest difference of a final weight", "the same trial without a cache", *at_most(largest, 1e-6, "")
    )
    note = f"Largest difference of a final weight after {NUM_EPOCHS} epochs on {len(data.splits.train)} photos:"
    return row, f"{note}\n\n{table(('backbone', 'optimiser', 'imbalance', 'without a cache', 'control: another seed'), lines)}"


def largest_difference(state: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Of a weight of the head."""
    return max(float((state[name] - other[name]).abs().max()) for name in state if name.startswith("head."))


if __name__ == "__main__":
    main()
