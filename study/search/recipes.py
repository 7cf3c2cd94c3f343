"""A trial's whole recipe: what the definition fixes, what was searched, and a seed of its own."""

import hashlib
from collections.abc import Mapping
from typing import Any

from study.definition import StudyDefinition
from study.trial import TrialConfig, with_values

REPETITION_KEYS = ("seed", "fold")  # what repeats a recipe


def config_of(definition: StudyDefinition, number: int, searched: Mapping[str, Any]) -> TrialConfig:
    """Of a trial; its seed is derived from its number where the definition says nothing of seeds."""
    has_seed = definition.trial.seed is not None or "seed" in definition.space.parameters
    seed = {} if has_seed else {"seed": derive_seed(definition.search.seed, number)}
    return with_values(definition.trial, {**searched, **seed})


def recipe_of(searched: Mapping[str, Any]) -> dict[str, Any]:
    """The searched values that make a recipe; seeds and folds make none."""
    return {key: value for key, value in searched.items() if key not in REPETITION_KEYS}


def derive_seed(study_seed: int, number: int) -> int:
    """A trial's own seed in [0, 2**31), the same wherever and whenever the trial runs."""
    return int.from_bytes(hashlib.sha256(f"{study_seed}/{number}".encode()).digest()[:4], "big") % 2**31
