"""The answer first: what was asked, what was found, what to use, and how far to trust it."""

from collections.abc import Sequence
from dataclasses import dataclass

from study.analysis.report.material import Material
from study.analysis.report.words import cost_text, counted, sentence, shown
from study.trial import TrialState

EXPLORATORY = (
    "The search chose its trials by earlier results, so the intervals of factor effects are narrower than they should be (see "
    "the method below): take them as hints. What was confirmed on the test split is not concerned."
)


@dataclass(frozen=True)
class Recommendation:
    """The recipe to use.

    Attributes:
        result: with its interval, or why there is none.
        recipe: what was searched, by key.
    """

    title: str
    result: str
    basis: str
    cost: str
    recipe: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    """What a stranger reads first."""

    questions: Sequence[str]
    sentences: Sequence[str]
    recommendation: Recommendation | None
    warnings: Sequence[str]
    summary: str


def answer(material: Material) -> Answer:
    """The top of the page."""
    comparison = material.comparison
    sentences = list(map(sentence, comparison.answer)) or [f"Nothing can be said: {_why_nothing(material)}."]
    warnings = ([EXPLORATORY] if material.is_exploratory else []) + list(map(sentence, comparison.warnings))
    questions = [one.definition.question for one in material.evidence if one.definition.question]
    return Answer(list(dict.fromkeys(questions)), sentences, _recommendation(material), warnings, _summary(material))


def _why_nothing(material: Material) -> str:
    if not material.trials:
        return "no trial has ended"
    if all(trial.state is TrialState.FAIL for trial in material.trials):
        return "all trials failed" if len(material.trials) > 1 else "the only trial failed"
    if not any(trial.state is TrialState.COMPLETE for trial in material.trials):
        return "no trial was completed"
    return "the trials show no difference"


def _recommendation(material: Material) -> Recommendation | None:
    confirmed = material.recommended_recipe
    quality, comparison, number = material.quality, material.comparison, material.comparison.recommended
    if number is None:
        return _best_so_far(material)
    title = f"Recommended: the recipe of trial {material.label(comparison.recommended_study, number)}"
    if confirmed is not None and confirmed.test is not None:
        basis = f"{quality.name} on the test split, mean of {counted(confirmed.test.n, 'repetition')} with its 95 % interval"
        recipe = material.searched_part(confirmed.recipe)
        return Recommendation(title, quality.estimate(confirmed.test), basis, cost_text(confirmed.cost), _pairs(recipe))
    return _best_so_far(material)


def _best_so_far(material: Material) -> Recommendation | None:
    """The best completed trial, which nobody recommends; None where there is none, or one for each of several photos."""
    best = next(iter(material.comparison.leaderboard), None)
    if best is None or best.state != TrialState.COMPLETE or not best.is_answer or best.value is None:
        return None
    if len(material.comparison.leaderboards) > 1:
        return None
    name = material.label(best.study, best.number)
    is_repeated = best.num_repetitions > 1 and best.recipe_mean is not None
    value = best.recipe_mean if is_repeated and best.recipe_mean is not None else best.value
    result = f"{material.quality.text(value)} on validation, not confirmed"
    trainings = f"the mean of {best.num_repetitions} trainings of a recipe" if is_repeated else "one training"
    basis = f"{trainings}, which the search picked as its best: too good on average, and without an interval"
    return Recommendation(f"Best so far: trial {name}", result, basis, cost_text(best.cost), _pairs(dict(best.searched)))


def _pairs(recipe: dict[str, object]) -> list[tuple[str, str]]:
    return [(key, shown(value)) for key, value in recipe.items()]


def _summary(material: Material) -> str:
    """How much evidence there is: `24 trials (17 complete, 6 pruned, 1 failed), 15 repetitions`."""
    names = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned early", TrialState.FAIL: "failed"}
    states = [trial.state for trial in material.trials]
    told = ", ".join(f"{states.count(state):,} {name}" for state, name in names.items() if state in states)
    num_repetitions = sum(len(one.repetitions) for one in material.evidence)
    repeated = f", then {counted(num_repetitions, 'repetition')} of the best recipes" if num_repetitions else ""
    studies = (
        f"{counted(len(material.evidence), 'study')}: "
        if len(material.evidence) == 1
        else f"{len(material.evidence)} studies: "
    )
    return f"{studies}{counted(len(states), 'trial')}{f' ({told})' if told else ''}{repeated}"
