"""Records learning curves of thousands of real head trials, for the search to be tried out on without training.

    python -m tests.benchmarks.record_curves ../shared/data/clothing10 \
        ../shared/data/weights/squeezenet1_0_imagenet.safetensors studies/curves_clothing10.npz --minutes 60

Each recipe is drawn at random from the space below and trained with each seed, on the frozen features of SqueezeNet. The file
is written every few minutes; started again, the recording goes on where it stopped.
"""

import argparse
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from study.data.dataset import prepare_data
from study.data.study_data import StudyData
from study.definition import StudyDefinition, parse_definition
from study.errors import NonFiniteLossError
from study.models.classifier import build_classifier
from study.models.loaded_networks import LoadedNetworks
from study.models.weights import ResolvedWeights, resolve_weights
from study.search.simulator.curves import CurveTable
from study.space import Choices, Distribution
from study.training.activation_cache import ActivationCache
from study.training.loop import fit
from study.training.training import start_training
from study.trial import TrialConfig, with_values
from tests.benchmarks.machine import describe_machine

EPOCHS = 16
SEEDS = (0, 1, 2)
SAVE_EVERY_S = 120.0
# Ranges wider than anybody would search on purpose: failures are part of a landscape.
TEXT = """
name = "head"
[data]
folder = "{folder}"
image_size = 224
[trial]
backbone = "squeezenet1_0"
weights = "{weights}"
freeze_depth = 1.0
epochs = {epochs}
compute = {{ precision = "float32", activation_cache = "float32" }}
[space]
head = {{ choices = ["replace", "append"] }}
normalization = {{ choices = ["imagenet", "global", "local"] }}
imbalance = {{ choices = ["none", "weighted_loss", "balanced_subset", "weighted_sampling"] }}
"optimizer.name" = {{ choices = ["adam", "sgd"] }}
"optimizer.lr" = {{ low = 1e-5, high = 1.0, log = true }}
"optimizer.momentum" = {{ low = 0.5, high = 0.99, when = {{ "optimizer.name" = ["sgd"] }} }}
"optimizer.weight_decay" = {{ low = 1e-6, high = 1e-1, log = true }}
"schedule.name" = {{ choices = ["constant", "cosine"] }}
label_smoothing = {{ low = 0.0, high = 0.3 }}
dropout = {{ low = 0.0, high = 0.8 }}
batch_size = {{ low = 16, high = 256, log = true }}
"""


def head_definition(folder: str = "photos", weights: str = "weights.safetensors", search: str = "") -> StudyDefinition:
    """The study whose space is recorded, for who records it and for who searches it."""
    text = TEXT.format(folder=folder, weights=weights, epochs=EPOCHS) + search
    return parse_definition(text, Path("/recorded/head.toml"))


def recipes(definition: StudyDefinition) -> Iterator[dict[str, Any]]:
    """Random recipes without end, always the same."""
    rng = np.random.default_rng(0)
    while True:
        values, recipe = definition.fixed_values, dict[str, Any]()
        for key, distribution in definition.space.items():
            if definition.space.is_active(key, values):
                values[key] = recipe[key] = _draw(distribution, rng)
        yield recipe


def _draw(distribution: Distribution, rng: np.random.Generator) -> Any:
    if isinstance(distribution, Choices):
        return distribution.choices[rng.integers(len(distribution.choices))]
    low, high = float(distribution.low), float(distribution.high)
    value = np.exp(rng.uniform(np.log(low), np.log(high))) if distribution.log else rng.uniform(low, high)
    return round(value) if distribution.is_integer else float(value)


class Recorder:
    """Trains recipes one after the other, with everything that they share kept."""

    def __init__(self, definition: StudyDefinition, data: StudyData, weights: ResolvedWeights, cache_folder: Path) -> None:
        self._definition, self._data, self._weights = definition, data, weights
        self._cache = ActivationCache(cache_folder / "activations")
        self._networks = LoadedNetworks()

    def curve(self, recipe: Mapping[str, Any], seed: int) -> tuple[list[float], float]:
        """The objective after each epoch, and seconds of an epoch; a training that diverges stays at 0."""
        config = with_values(self._definition.trial, {**recipe, "seed": seed})
        began_s = time.perf_counter()
        values: list[float] = []
        with suppress(NonFiniteLossError):
            for value in self._values(config, seed):
                values.append(value)  # one by one: those before a failure count
        elapsed_s = time.perf_counter() - began_s
        return values + [0.0] * (EPOCHS - len(values)), elapsed_s / max(1, len(values))

    def _values(self, config: TrialConfig, seed: int) -> Iterator[float]:
        model = build_classifier(
            config, self._data.num_outputs, self._weights, seed, image_size=self._data.image_size, networks=self._networks
        )
        training = start_training(
            model,
            self._data,
            config,
            seed=seed,
            device=torch.device("cpu"),
            weights_digest=self._weights.digest,
            objective=self._definition.objective,
            cache=self._cache,
        )
        for measurement in fit(training):
            yield measurement.metrics[self._definition.objective.key]


def record(recorder: Recorder, definition: StudyDefinition, file: Path, num_recipes: int, minutes: float) -> CurveTable | None:
    """Trains until there are so many recipes or the time is up; what was recorded in `file` counts."""
    before = CurveTable.load(file, definition.space) if file.exists() else None
    done = list(before.recipes) if before else []
    curves = [list(curve) for curve in before.curves] if before else []
    epoch_s = [float(value) for value in before.epoch_s] if before else []
    ends_s, saved_s = time.monotonic() + 60 * minutes, time.monotonic()
    table = before
    for recipe in islice(recipes(definition), len(done), num_recipes):
        trained = [recorder.curve(recipe, seed) for seed in SEEDS]
        done.append(recipe)
        curves.append([np.array(values) for values, _ in trained])
        epoch_s.append(float(np.median([taken_s for _, taken_s in trained])))
        is_last = time.monotonic() > ends_s or len(done) == num_recipes
        if is_last or time.monotonic() - saved_s > SAVE_EVERY_S:
            # float16 is exact to 0.0005 below 1, where a photo of the validation split counts 0.002 at least
            table = CurveTable(definition.space, done, np.array(curves, dtype=np.float16), np.array(epoch_s, dtype=np.float32))
            table.save(file)
            saved_s = time.monotonic()
            print(f"{len(done)} recipes, best {table.best_quality:.4f}, {np.mean(epoch_s) * 1000:.1f} ms an epoch", flush=True)
        if is_last:
            break
    return table


def main() -> None:
    """Parses the command line and records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="a folder with one folder a class, or train and val folders of these")
    parser.add_argument("weights", type=Path, help="SqueezeNet 1.0's, as .safetensors")
    parser.add_argument("file", type=Path, help="the table to write or go on with, .npz")
    parser.add_argument("--recipes", type=int, default=3000)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--cache", type=Path, default=Path(".cache"), help="packed photos and activations")
    options = parser.parse_args()
    print(describe_machine())
    torch.set_num_threads(1)
    definition = head_definition(str(options.photos.resolve()), str(options.weights.resolve()))
    data = prepare_data(definition, options.cache)
    weights = resolve_weights("squeezenet1_0", definition.trial.weights, Path.cwd())
    recorder = Recorder(definition, data, weights, options.cache)
    record(recorder, definition, options.file, options.recipes, options.minutes)


if __name__ == "__main__":
    main()
