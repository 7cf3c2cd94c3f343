"""Studies and their comparisons as plain data, for tests of what is made from them: no training, no store, known effects."""

import io
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from study.analysis.evidence import StudyEvidence, TrialEvidence
from study.analysis.findings import (
    Comparison,
    ConfirmedRecipe,
    Contrast,
    Estimate,
    FactorEffect,
    Interaction,
    Level,
    PairedComparison,
    RankedTrial,
)
from study.analysis.report.extras import Calibration, CalibrationBin, Confusion, ReportExtras, SaliencyExample
from study.data.report import DataReport, DuplicateReport, Example, LeftOut
from study.definition import StudyDefinition, parse_definition
from study.trial import TrialState

DEFINITION = """
name = "clothing"
question = "Which transfer recipe sorts ten kinds of clothing best?"
[data]
folder = "clothing10"
image_size = 96
[trial]
epochs = 12
weights = "imagenet"
[space]
backbone = { choices = ["alexnet", "squeezenet1_0", "resnet18"] }
head = { choices = ["replace", "append"] }
imbalance = { choices = ["none", "weighted_loss", "weighted_sampling"] }
"optimizer.name" = { choices = ["adam", "sgd"] }
"optimizer.lr" = { low = 1e-4, high = 1e-1, log = true }
"optimizer.momentum" = { low = 0.8, high = 0.99, when = { "optimizer.name" = ["sgd"] } }
[search]
trials = 24
pruner = { name = "median", n_startup_trials = 5 }
[confirm]
top = 3
seeds = 5
"""
CLASSES = ("dress", "hat", "longsleeve", "outwear", "pants", "shirt", "shoes", "shorts", "skirt", "t-shirt")
PARAMETERS_M = {"alexnet": 57.0, "squeezenet1_0": 0.74, "resnet18": 11.2}
LATENCY_MS = {"alexnet": 4.1, "squeezenet1_0": 6.3, "resnet18": 9.8}
EFFECTS = {
    "backbone": {"alexnet": 0.0, "squeezenet1_0": 0.02, "resnet18": 0.09},
    "head": {"replace": 0.01, "append": 0.0},
    "imbalance": {"none": 0.0, "weighted_loss": 0.03, "weighted_sampling": 0.025},
    "optimizer.name": {"adam": 0.005, "sgd": 0.0},
}
NUM_EPOCHS = 12


def definition(**changes: Any) -> StudyDefinition:
    """That of the example, some of its fields replaced."""
    return parse_definition(DEFINITION, Path("/example/clothing.toml")).model_copy(update=changes)


def study_example(num_trials: int = 24, seed: int = 0) -> StudyEvidence:
    """A study of classes with effects as in `EFFECTS`: about a third pruned, one in twelve failed, 15 repetitions."""
    draw = random.Random(seed)
    trials = [_trial(number, draw) for number in range(num_trials)]
    valued = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    best = sorted(valued, key=lambda trial: -(trial.value or 0.0))[:3]
    tags = {
        "study.version": "0.1.0",
        "study.torch": "2.15.0",
        "mlflow.source.git.commit": "0123456789abcdef0123456789abcdef01234567",
    }
    repetitions = [_repetition(number, best[number % 3], draw) for number in range(15)] if len(best) == 3 else []
    return StudyEvidence("clothing", "run-parent", definition(), trials, repetitions, "digest-of-data", tags)


def with_trials(study: StudyEvidence, trials: Sequence[TrialEvidence]) -> StudyEvidence:
    """The study with other trials, and no repetition."""
    return replace(study, trials=trials, repetitions=())


def compared(study: StudyEvidence, *, is_exploratory: bool = True) -> Comparison:
    """What a comparison may find in it: means of levels, with intervals from their standard deviation."""
    valued = [trial for trial in study.trials if trial.value is not None]
    effects = [_effect(factor, valued, is_exploratory) for factor in EFFECTS] if len(valued) > 1 else []
    ranked = sorted(study.trials, key=lambda trial: (trial.state is not TrialState.COMPLETE, -(trial.value or -1.0)))
    confirmed = _confirmed(study)
    return Comparison(
        studies=[study.name],
        objective=study.definition.objective.key,
        is_maximized=study.definition.objective.is_maximized,
        answer=[
            "Use resnet18: it beats squeezenet1_0 by 7.1 points (4.0 to 10.2, n = 16).",
            "Weighted loss helps by 2.9 points (0.6 to 5.2, n = 16); of the head no difference is shown.",
        ]
        if effects
        else [],
        effects=effects,
        interactions=_interactions() if effects else [],
        leaderboard=[_ranked(trial) for trial in ranked],
        confirmed=confirmed,
        pairs=_pairs(confirmed),
        recommended=confirmed[0].trial if confirmed else None,
        method="A regression on all searched factors; in 500 simulated studies its intervals covered the truth in 95 %.",
        warnings=["One study on one data set: other photos may want another recipe."],
    )


def extras_example(classes: Sequence[str] = CLASSES, seed: int = 0) -> ReportExtras:
    """Everything that a report can show beside the trials."""
    random_numbers = np.random.default_rng(seed)
    counts = random_numbers.integers(0, 4, (len(classes), len(classes))) + np.diag(random_numbers.integers(5, 60, len(classes)))
    bins = [CalibrationBin(0.1 * place + 0.05, max(0.0, 0.1 * place - 0.03), 5 + 3 * place) for place in range(2, 10)]
    scaled = [replace(one, accuracy=one.confidence + 0.01) for one in bins]
    pictures = [
        SaliencyExample(_picture(place), f"hat, called {'hat' if place < 3 else 'dress'}", place < 3) for place in range(6)
    ]
    return ReportExtras(
        confusion=Confusion(classes, counts.tolist(), "the best trial's model, validation split"),
        calibration=Calibration(bins, scaled, 1.41, "the best trial's model, validation split"),
        saliency=pictures,
        data={"clothing": _data_report(classes)},
        mlflow_address="http://localhost:5000/#/experiments/1/runs/run-parent",
    )


def _trial(number: int, draw: random.Random) -> TrialEvidence:
    searched: dict[str, Any] = {factor: draw.choice(list(levels)) for factor, levels in EFFECTS.items()}
    searched["optimizer.lr"] = 10 ** draw.uniform(-4, -1)
    if searched["optimizer.name"] == "sgd":
        searched["optimizer.momentum"] = draw.uniform(0.8, 0.99)
    quality = 0.62 + sum(levels[searched[factor]] for factor, levels in EFFECTS.items()) + draw.gauss(0, 0.015)
    quality -= 0.03 * (math.log10(searched["optimizer.lr"]) + 2.5) ** 2
    curve = [quality - 0.35 * math.exp(-epoch / 2.5) + draw.gauss(0, 0.006) for epoch in range(1, NUM_EPOCHS + 1)]
    state = TrialState.COMPLETE
    if number % 12 == 7:
        state, curve = TrialState.FAIL, []
    elif number > 4 and quality < 0.66:
        state, curve = TrialState.PRUNED, curve[: draw.randint(3, 7)]
    value = {TrialState.COMPLETE: max(curve, default=0.0), TrialState.PRUNED: curve[-1] if curve else 0.0}.get(state)
    costs = {"parameters_m": PARAMETERS_M[searched["backbone"]], "latency_ms": LATENCY_MS[searched["backbone"]]}
    recipe = {"epochs": NUM_EPOCHS, **searched}
    seconds = (4 + LATENCY_MS[searched["backbone"]]) * max(1, len(curve)) * draw.uniform(0.9, 1.1)
    return TrialEvidence("clothing", number, state, f"run-{number}", recipe, searched, value, curve, {}, costs, seconds)


def _repetition(number: int, trial: TrialEvidence, draw: random.Random) -> TrialEvidence:
    value = (trial.value or 0.0) - 0.01 + draw.gauss(0, 0.01)
    metrics = {"test_balanced_accuracy": value - 0.02 + draw.gauss(0, 0.01)}
    searched = {**trial.searched, "seed": number // 3, "fold": 0}
    return replace(trial, study="clothing.confirm", number=number, searched=searched, value=value, metrics=metrics)


def _recipe(trial: TrialEvidence) -> dict[str, Any]:
    return {key: value for key, value in trial.searched.items() if key not in ("seed", "fold")}


def _mean(values: Sequence[float]) -> Estimate:
    spread = 2 * float(np.std(values)) / math.sqrt(len(values)) + 0.004
    mean = float(np.mean(values))
    return Estimate(mean, mean - spread, mean + spread, len(values))


def _effect(factor: str, trials: Sequence[TrialEvidence], is_exploratory: bool) -> FactorEffect:
    levels = []
    for name in EFFECTS[factor]:
        having = [trial for trial in trials if trial.searched[factor] == name]
        if having:
            num_complete = sum(trial.state is TrialState.COMPLETE for trial in having)
            marginal = _mean([trial.value or 0.0 for trial in having])
            levels.append(Level(name, marginal, num_complete, len(having) - num_complete))
    levels.sort(key=lambda level: -level.marginal.value)
    contrasts = [_contrast(factor, one, other) for one, other in combinations(levels, 2)]
    width = levels[0].marginal.value - levels[-1].marginal.value
    shown = [one for one in contrasts if one.is_shown]
    sentence = (
        f"{shown[0].level} beats {shown[0].reference} by {100 * shown[0].difference.value:.1f} points."
        if shown
        else "No difference shown."
    )
    return FactorEffect(factor, min(1.0, 5 * width), levels, contrasts, is_exploratory, sentence)


def _contrast(factor: str, one: Level, other: Level) -> Contrast:
    gap, half = one.marginal.value - other.marginal.value, 0.02
    difference = Estimate(gap, gap - half, gap + half, one.marginal.n + other.marginal.n)
    return Contrast(factor, one.name, other.name, difference, 0.01, 0.03 if gap > half else 0.4, gap > half)


def _interactions() -> list[Interaction]:
    told = "Appending a head costs 4.2 points with alexnet (1.1 to 7.3), and nothing with resnet18."
    return [
        Interaction(("backbone", "head"), Estimate(0.042, 0.011, 0.073, 22), 0.03, True, told),
        Interaction(("head", "imbalance"), Estimate(0.006, -0.02, 0.032, 22), 0.7, False, "No interaction shown."),
    ]


def _ranked(trial: TrialEvidence) -> RankedTrial:
    cost = {**trial.costs, **({"seconds": trial.seconds} if trial.seconds is not None else {})}
    return RankedTrial(
        trial.study, trial.number, trial.run_id, trial.state.value, trial.value, len(trial.curve), trial.searched, cost
    )


def _confirmed(study: StudyEvidence) -> list[ConfirmedRecipe]:
    recipes = []
    for place, first in enumerate(study.repetitions[:3]):
        own = [one for one in study.repetitions if _recipe(one) == _recipe(first)]
        test = [one.metrics["test_balanced_accuracy"] for one in own]
        number = next(trial.number for trial in study.trials if trial.searched == _recipe(first))
        role = ("winner", "runner-up", "baseline")[place]
        val = [one.value or 0.0 for one in own]
        cost = {**first.costs, "seconds": first.seconds or 0.0}
        recipes.append(
            ConfirmedRecipe(number, role, first.recipe, _mean(val), float(np.std(val)), _mean(test), float(np.std(test)), cost)
        )
    return recipes


def _pairs(recipes: Sequence[ConfirmedRecipe]) -> list[PairedComparison]:
    pairs = []
    for one, other in combinations(recipes, 2):
        if one.test is None or other.test is None:
            continue
        gap = one.test.value - other.test.value
        is_shown = abs(gap) > 0.012
        verb = "differ" if is_shown else "do not differ significantly"
        sentence = f"Trial {one.trial} and trial {other.trial} {verb}: {100 * gap:+.1f} points."
        pairs.append(
            PairedComparison(one.trial, other.trial, Estimate(gap, gap - 0.012, gap + 0.012, 5), 0.2, is_shown, sentence)
        )
    return pairs


def _picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    written = io.BytesIO()
    Image.fromarray(pixels).resize((96, 96)).save(written, format="PNG")
    return written.getvalue()


def _data_report(classes: Sequence[str]) -> DataReport:
    counts = {
        name: {"train": 20 + 17 * place, "val": 4 + 3 * place, "test": 5 + 3 * place} for place, name in enumerate(classes)
    }
    splits = {split: sum(one[split] for one in counts.values()) for split in ("train", "val", "test")}
    num_kept = sum(splits.values())
    return DataReport(
        origin="folder clothing10",
        digest="digest-of-data",
        image_size=96,
        num_bytes=num_kept * 96 * 96 * 3,
        num_listed=num_kept + 5,
        num_kept=num_kept,
        dropped={
            "copies of held-out photos": LeftOut(
                num_photos=3, examples=(Example(photo="train/hat/1.jpg", detail="as test/hat/7.jpg"),)
            )
        },
        quarantined={"truncated": LeftOut(num_photos=2, examples=(Example(photo="train/shoes/9.jpg", detail=""),))},
        duplicates=DuplicateReport(num_sets=4, num_exact_sets=1, num_photos=9, num_leaks=3),
        splits=splits,
        classes=counts,
    )


def hostile_names(number: int) -> Iterator[str]:
    """Class names that would break a careless page."""
    nasty = ("<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "$5 & {{ 7 * 7 }}", "日本 – ĳ", "a" * 60)
    yield from (*nasty[:number], *(f"class {place}" for place in range(number - len(nasty))))
