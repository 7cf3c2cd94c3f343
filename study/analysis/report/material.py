"""Everything that sections are made from, and what several of them ask of it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from study.analysis.evidence import StudyEvidence, TrialEvidence
from study.analysis.findings import Comparison, ConfirmedRecipe, FactorEffect
from study.analysis.report.extras import ReportExtras
from study.analysis.report.words import Quality
from study.trial import TrialState


@dataclass(frozen=True)
class Material:
    """What is known."""

    evidence: Sequence[StudyEvidence]
    comparison: Comparison
    extras: ReportExtras

    @cached_property
    def quality(self) -> Quality:
        """The objective."""
        return Quality(self.comparison.objective.removeprefix("val_").removeprefix("test_"), self.comparison.is_maximized)

    @cached_property
    def trials(self) -> Sequence[TrialEvidence]:
        """Of all studies, each study's by number."""
        return [trial for one in self.evidence for trial in one.trials]

    @cached_property
    def effects(self) -> Sequence[FactorEffect]:
        """Those that moved the objective first, then by importance; those of unknown importance last.

        Importance alone would mislead: it tells which factors separate the best trials from the others, so one without any
        difference between its levels may lead it.
        """
        return sorted(self.comparison.effects, key=lambda one: (not has_moved(one), -(one.importance or 0.0)))

    @cached_property
    def keys(self) -> Sequence[str]:
        """Searched keys, the most important first."""
        known = [effect.factor for effect in self.effects]
        searched = {key: None for trial in self.trials for key in trial.searched}
        return [*(key for key in known if key in searched), *(key for key in searched if key not in known)]

    @property
    def has_several_studies(self) -> bool:
        """Whether a trial's number alone does not name it."""
        return len(self.evidence) > 1

    @property
    def is_of_numbers(self) -> bool:
        """Whether the studies predict a number, and so have no classes."""
        return bool(self.evidence) and all(one.definition.data.task == "number" for one in self.evidence)

    @property
    def is_exploratory(self) -> bool:
        """Whether intervals of effects are narrower than they should be."""
        return any(effect.is_exploratory for effect in self.comparison.effects)

    def label(self, study: str, number: int) -> str:
        """What a trial is called."""
        return f"{study} {number}" if study and self.has_several_studies else f"{number}"

    def is_better(self, value: float, other: float) -> bool:
        """Whether `value` beats `other`."""
        return value > other if self.comparison.is_maximized else value < other

    @cached_property
    def recommended_recipe(self) -> ConfirmedRecipe | None:
        """The recommended trial's repetitions; None where it has none."""
        number = self.comparison.recommended
        found = (one for one in self.comparison.confirmed if one.trial == number and self._is_of_recommended(one.study))
        return next(found, None)

    def _is_of_recommended(self, study: str) -> bool:
        return not study or not self.comparison.recommended_study or study == self.comparison.recommended_study

    def searched_part(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        """What of a recipe was searched, the most important key first; all of it where nothing was."""
        return {key: recipe[key] for key in self.keys if key in recipe} or dict(recipe)


def has_moved(effect: FactorEffect) -> bool:
    """Whether a difference between two of its levels is shown."""
    return any(contrast.is_shown for contrast in effect.contrasts)


def is_valued(trial: TrialEvidence, *states: TrialState) -> bool:
    """Whether a trial has a finite value and, where states are named, one of them."""
    return trial.value is not None and math.isfinite(trial.value) and (not states or trial.state in states)
