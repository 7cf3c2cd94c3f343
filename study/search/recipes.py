"""A trial's whole recipe: what the definition fixes, what was searched, and a seed of its own."""

import hashlib
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from study.definition import StudyDefinition
from study.trial import REPETITION_KEYS, TrialConfig, with_values
from study.validation import explain


def config_of(definition: StudyDefinition, number: int, searched: Mapping[str, Any]) -> TrialConfig:
    """Of a trial; its seed is derived from its number where the definition says nothing of seeds.

    Raises:
        DefinitionError: if the values cannot be together.
    """
    has_seed = definition.trial.seed is not None or "seed" in definition.space.parameters
    seed = {} if has_seed else {"seed": derive_seed(definition.search.seed, number)}
    try:
        return with_values(definition.trial, {**searched, **seed})
    except ValidationError as error:
        raise explain(error, TrialConfig, f"a recipe of {definition.file.name} [space]") from None


def recipe_of(searched: Mapping[str, Any]) -> dict[str, Any]:
    """The searched values that make a recipe; seeds and folds make none."""
    return {key: value for key, value in searched.items() if key not in REPETITION_KEYS}


def derive_seed(study_seed: int, number: int) -> int:
    """A trial's own seed in [0, 2**31), the same wherever and whenever the trial runs."""
    return int.from_bytes(hashlib.sha256(f"{study_seed}/{number}".encode()).digest()[:4], "big") % 2**31
