"""Whether a version may take the champion's place: rules on evidence, and nothing done about them here."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from scipy.stats import t as student_t

from study.analysis.findings import Comparison, ConfirmedRecipe, Estimate, PairedComparison

CONFIDENCE = 0.95
# The first of these that is known of both says which is cheaper; seconds are those of training.
COST_ORDER = ("latency_ms", "flops_g", "parameters_m", "seconds")
# Versions are equal where the interval of their difference leaves no room for a loss of more than this: of a share, as it is;
# else of the champion's figure. "No difference shown" alone is not equality: the fewer the repetitions, the easier it is had.
EQUAL_WITHIN = 0.02
SHARES = ("accuracy", "balanced_accuracy", "macro_f1", "top5_accuracy", "calibration_error")
MIN_ALIKE = 6  # differences that are all the same: by the sign test, fewer are no proof (0.5^5 = 0.031)
SMALLEST_SAVING = 0.05  # of a cost: latencies of one network differ by so much between two measurements

CONFIRMATION_TAG = "study.confirmation"  # a Standing's figures as JSON
EVIDENCE_TAG = "study.evidence"
SEARCH_ONLY, CONFIRMED = "search only", "confirmed"


class Rule(StrEnum):
    """What decided."""

    IS_CHAMPION = "is the champion already"
    CONFIRMED = "must be confirmed on the test split"
    NO_CHAMPION = "there is no champion yet"
    SAME_QUESTION = "must be measured by the champion's metric"
    SAME_DATA = "must be measured on the champion's data"
    CHAMPION_CONFIRMED = "must be compared with a champion that is confirmed"
    BETTER = "is better beyond the interval"
    NOT_WORSE = "must not be worse"
    CHEAPER = "is equal and cheaper"
    NOT_CHEAPER = "must be better, or equal and cheaper"
    FORCED = "was forced"


@dataclass(frozen=True)
class Standing:
    """What is known of one registered version.

    Attributes:
        label: how sentences call it: "version 3 (trial 7 of pets)".
        data_digest: of the photos and their split: equal digests mean the same test photos.
        metric: of `test`: test_balanced_accuracy …
        test: mean over the repetitions with its interval; None where there are none.
        cost: quantities by name with the unit in it.
    """

    label: str
    study: str
    trial: int
    data_digest: str
    metric: str
    is_maximized: bool
    test: Estimate | None = None
    cost: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Decision:
    """Whether the candidate takes the champion's place.

    Attributes:
        sentences: the rule that decided, and the figures.
        difference: on the test split, candidate minus champion, turned so that more is better; None where none was formed.
    """

    is_granted: bool
    rule: Rule
    sentences: tuple[str, ...]
    difference: Estimate | None = None


def decide(candidate: Standing, champion: Standing | None, pairs: Sequence[PairedComparison] = ()) -> Decision:
    """The first rule that settles it.

    Args:
        champion: None where there is none yet.
        pairs: differences on the same seeds and folds; where one is of these two versions' recipes, it decides, else Welch's
            interval of the difference of the two means.
    """
    if champion is not None and (champion.study, champion.trial) == (candidate.study, candidate.trial):
        evidence = _told(candidate) if candidate.test else "it has no repetitions on the test split"
        return Decision(True, Rule.IS_CHAMPION, (f"{candidate.label} is the champion already: {evidence}.",))
    if candidate.test is None:
        return _refused(
            Rule.CONFIRMED,
            f"{candidate.label} has no repetitions on the test split. Give its study a [confirm] table and run it.",
        )
    if champion is None:
        return Decision(True, Rule.NO_CHAMPION, (f"There is no champion yet; {candidate.label}: {_told(candidate)}.",))
    return _incomparable(candidate, champion) or _compared(candidate, champion, pairs)


def forced(decision: Decision, reason: str) -> Decision:
    """The same figures, granted all the same."""
    return Decision(True, Rule.FORCED, (*decision.sentences, f"Forced: {reason}"), decision.difference)


def welch(first: Estimate, second: Estimate) -> Estimate:
    """`first` minus `second` with its 95 % interval, of two means whose repetitions have nothing in common.

    The errors are read off the intervals with n - 1 degrees of freedom. Where the interval of a mean over folds had fewer,
    its error comes out larger than it is, never smaller.

    Source: Welch 1947, "The generalization of Student's problem when several different population variances are involved";
        degrees of freedom after Satterthwaite 1946, with n - 1 of each mean.
    """
    errors = [(one.high - one.low) / 2 / _quantile(one.n - 1) for one in (first, second)]
    difference, total = first.value - second.value, sum(error**2 for error in errors)
    if total == 0:
        return Estimate(difference, difference, difference, first.n + second.n)
    degrees = total**2 / sum(error**4 / (one.n - 1) for error, one in zip(errors, (first, second), strict=True))
    half = _quantile(degrees) * math.sqrt(total)
    return Estimate(difference, difference - half, difference + half, first.n + second.n)


def standing_of(
    label: str, tags: Mapping[str, str], recipe: ConfirmedRecipe | None = None, comparison: Comparison | None = None
) -> Standing:
    """A version's standing by its tags; figures of a comparison that has its recipe are newer and come first.

    Args:
        tags: of the version (`study.name`, `study.trial_number`, `study.data_digest`, and `CONFIRMATION_TAG` if confirmed).
    """
    recorded = json.loads(tags.get(CONFIRMATION_TAG, "{}"))
    test = recipe.test if recipe is not None else None
    if test is None and recorded.get("test"):
        test = Estimate(**recorded["test"])
    cost = {**recorded.get("cost", {}), **json.loads(tags.get("study.cost", "{}"))}
    return Standing(
        label=label,
        study=tags.get("study.name", ""),
        trial=int(tags.get("study.trial_number", -1)),
        data_digest=tags.get("study.data_digest", ""),
        metric=f"test_{comparison.objective.removeprefix('val_')}" if comparison else recorded.get("metric", ""),
        is_maximized=comparison.is_maximized if comparison else recorded.get("is_maximized", True),
        test=test,
        cost={**cost, **recipe.cost} if recipe is not None else cost,
    )


def confirmation_tags(standing: Standing) -> dict[str, str]:
    """Tags that `standing_of` reads back; for people, the figures in words too."""
    if standing.test is None:
        return {}
    figures = {
        "metric": standing.metric,
        "is_maximized": standing.is_maximized,
        "test": asdict(standing.test),
        "cost": dict(standing.cost or {}),
    }
    return {
        EVIDENCE_TAG: CONFIRMED,
        CONFIRMATION_TAG: json.dumps(figures, sort_keys=True),
        f"study.{standing.metric}": interval_text(standing.test),
    }


def recipe_of(comparison: Comparison, study: str, trial: int) -> ConfirmedRecipe | None:
    """What the repetitions of one trial's recipe found; None where it has none."""
    if study not in comparison.studies:
        return None
    return next((recipe for recipe in comparison.confirmed if recipe.trial == trial), None)


def interval_text(estimate: Estimate) -> str:
    """As "0.713 (0.690 to 0.736, n = 5)"."""
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f}, n = {estimate.n})"


def _incomparable(candidate: Standing, champion: Standing) -> Decision | None:
    if champion.data_digest != candidate.data_digest:
        return _refused(
            Rule.SAME_DATA,
            f"{candidate.label} was measured on data {candidate.data_digest[:12] or 'unknown'}, the champion, "
            f"{champion.label}, on {champion.data_digest[:12] or 'unknown'}: other test photos, other figures. "
            f"Run the champion's recipe on the new data too, confirm both, and promote from that study.",
        )
    if champion.test is None:
        return _refused(
            Rule.CHAMPION_CONFIRMED,
            f"{candidate.label} has {_told(candidate)}, but the champion, {champion.label}, has no repetitions on the test "
            f"split to compare with. Confirm its study and promote that first.",
        )
    if (champion.metric, champion.is_maximized) != (candidate.metric, candidate.is_maximized):
        return _refused(
            Rule.SAME_QUESTION,
            f"{candidate.label} was confirmed by {candidate.metric}, the champion, {champion.label}, by {champion.metric}. "
            f"Run the study with the champion's metric.",
        )
    return None


def _compared(candidate: Standing, champion: Standing, pairs: Sequence[PairedComparison]) -> Decision:
    assert candidate.test is not None, "asked before"
    assert champion.test is not None, "asked before"
    paired = _paired(candidate, champion, pairs)
    difference = paired or welch(candidate.test, champion.test)
    better = (
        difference if candidate.is_maximized else Estimate(-difference.value, -difference.high, -difference.low, difference.n)
    )
    method = "paired on the same seeds and folds" if paired else "Welch's interval: not compared in pairs"
    figures = (
        f"{candidate.label}: {_told(candidate)}; champion, {champion.label}: {_told(champion)}.",
        f"Difference in the candidate's favour: {better.value:+.3f} (95 % {better.low:+.3f} to {better.high:+.3f}, {method}).",
    )
    is_proof = better.high > better.low or better.n >= MIN_ALIKE
    if better.low > 0 and is_proof:
        return Decision(True, Rule.BETTER, (*figures, "Better beyond the interval."), better)
    if better.high < 0 and is_proof:
        return Decision(False, Rule.NOT_WORSE, (*figures, "Worse beyond the interval."), better)
    margin = EQUAL_WITHIN * (1.0 if champion.metric.removeprefix("test_") in SHARES else abs(champion.test.value))
    if better.low < -margin:
        unsure = (
            f"No difference shown, but it may be worse by {-better.low:.3f}, which is not equal (within {margin:.3g}). "
            f"Confirm both with more seeds or folds."
        )
        return Decision(False, Rule.NOT_CHEAPER, (*figures, unsure), better)
    name = next((name for name in COST_ORDER if name in (candidate.cost or {}) and name in (champion.cost or {})), None)
    if name is None or candidate.cost is None or champion.cost is None:
        return Decision(False, Rule.NOT_CHEAPER, (*figures, "No difference shown, and no cost is known of both."), better)
    costs = f"{name} {candidate.cost[name]:.4g} against {champion.cost[name]:.4g}"
    if candidate.cost[name] < (1 - SMALLEST_SAVING) * champion.cost[name]:
        return Decision(True, Rule.CHEAPER, (*figures, f"No difference shown, and cheaper: {costs}."), better)
    return Decision(False, Rule.NOT_CHEAPER, (*figures, f"No difference shown, and not cheaper: {costs}."), better)


def _paired(candidate: Standing, champion: Standing, pairs: Sequence[PairedComparison]) -> Estimate | None:
    """Candidate minus champion on the same seeds and folds, where they have such."""
    if candidate.study != champion.study:
        return None
    for pair in pairs:
        if (pair.first, pair.second) == (candidate.trial, champion.trial):
            return pair.difference
        if (pair.second, pair.first) == (candidate.trial, champion.trial):
            turned = pair.difference
            return Estimate(-turned.value, -turned.high, -turned.low, turned.n)
    return None


def _refused(rule: Rule, sentence: str) -> Decision:
    return Decision(False, rule, (sentence,))


def _told(standing: Standing) -> str:
    assert standing.test is not None, "asked before"
    return f"{standing.metric} {interval_text(standing.test)}"


def _quantile(degrees: float) -> float:
    return float(student_t.ppf((1 + CONFIDENCE) / 2, degrees))
