"""What was said before beside what a study found: confirmed, refuted, or not shown."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

from study.analysis.factors import format_value
from study.analysis.findings import Comparison, Contrast, Estimate, FactorEffect
from study.analysis.report.words import Quality
from study.analysis.sentences import negated
from study.claim_definition import Claim
from study.definition import StudyDefinition

SMALLEST_P = 0.001  # below it, the exact number tells nobody more


class Verdict(StrEnum):
    """What the evidence says of a claim."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    NOT_SHOWN = "not shown"
    ANSWERED = "answered"  # the claim left open which level is better, and now it is known
    NOT_MEASURED = "not measured"  # in words only, or its study has no result


@dataclass(frozen=True)
class Judgement:
    """One claim with what was found.

    Attributes:
        study: that was to judge it.
        quality: of its objective.
        found: the values that were measured, in words.
        sureness: the interval that the verdict rests on, in words.
    """

    study: str
    claim: Claim
    quality: Quality
    verdict: Verdict
    found: str
    sureness: str


@dataclass(frozen=True)
class _Measured:
    """A contrast the way round in which the claim speaks of it: a positive difference is for `better`."""

    difference: Estimate
    contrast: Contrast

    def is_within(self, margin: float) -> bool:
        return -margin < self.difference.low and self.difference.high < margin

    def is_beyond(self, margin: float) -> bool:
        return self.difference.low > margin or self.difference.high < -margin


def judge(definition: StudyDefinition, comparison: Comparison | None) -> list[Judgement]:
    """Each claim of a study.

    Args:
        comparison: of this study alone; None where it has no result.
    """
    objective = definition.objective
    quality = Quality(objective.metric, objective.is_maximized)
    return [Judgement(definition.name, claim, quality, *_judged(claim, comparison, quality)) for claim in definition.claims]


def _judged(claim: Claim, comparison: Comparison | None, quality: Quality) -> tuple[Verdict, str, str]:
    if comparison is None:
        return Verdict.NOT_MEASURED, "the study has no result yet", ""
    if claim.against is not None:
        return Verdict.NOT_MEASURED, f"judged where a suite runs this study and {claim.against}", ""
    if claim.altered is not None:
        return _of_altered_photos(claim, comparison, quality)
    if claim.factor is None:
        return _of_the_figure(claim, comparison, quality)
    effect = next((one for one in comparison.effects if one.factor == claim.factor), None)
    if effect is None or not effect.contrasts:
        return Verdict.NOT_SHOWN, "no effect was estimated" if effect is None else effect.sentence, ""
    if not claim.levels:
        return _of_an_open_question(effect, quality)
    measured = list(_measured(claim, effect, quality))
    if len(measured) < len(list(combinations(claim.levels, 2))):
        return Verdict.NOT_SHOWN, "too few trials at one of the levels", ""
    verdict = _of_alike(measured, claim.margin) if claim.alike else _of_better(measured[0])
    return verdict, _levels(claim, effect, quality), _sureness(measured, effect, quality)


def _of_the_figure(claim: Claim, comparison: Comparison, quality: Quality) -> tuple[Verdict, str, str]:
    """Reached, where the best recipe's whole interval lies above the figure less the margin; missed, where it lies below that.

    One bar for both: were a claim missed below the figure itself, an interval within the margin would turn it round by a hair.
    """
    if claim.figure is None:
        return Verdict.NOT_MEASURED, "a statement in words: see the study's own report", ""
    test = comparison.confirmed[0].test if comparison.confirmed else None
    if test is None:
        return Verdict.NOT_SHOWN, "nothing was confirmed on the test split", ""
    sign = 1 if quality.is_maximized else -1
    low, high = sorted((sign * test.low, sign * test.high))
    reached = low >= sign * claim.figure - claim.margin
    missed = high < sign * claim.figure - claim.margin
    verdict = Verdict.CONFIRMED if reached else Verdict.REFUTED if missed else Verdict.NOT_SHOWN
    found = f"{quality.text(test.value)} {quality.name} on the test split"
    return verdict, found, f"95 % interval {quality.plain(test.low)} to {quality.plain(test.high)}, n = {test.n}"


def _of_altered_photos(claim: Claim, comparison: Comparison, quality: Quality) -> tuple[Verdict, str, str]:
    """Decided, where the whole interval of the best recipe's loss lies on one side of the margin."""
    best = comparison.confirmed[0].trial if comparison.confirmed else None
    found = next((one for one in comparison.altered if (one.trial, one.alteration) == (best, claim.altered)), None)
    if found is None:
        return Verdict.NOT_SHOWN, f"nothing was confirmed on {claim.altered} photos", ""
    is_more, is_less = found.loss.low > claim.margin, found.loss.high < claim.margin
    is_decided = is_more or is_less
    verdict = Verdict.NOT_SHOWN if not is_decided else Verdict.CONFIRMED if is_more == claim.loses else Verdict.REFUTED
    told = f"{quality.text(found.test.value)} {quality.name} on {claim.altered} copies of the test split"
    return verdict, told, f"loss {quality.gap(found.loss)}, n = {found.loss.n}"


def _of_an_open_question(effect: FactorEffect, quality: Quality) -> tuple[Verdict, str, str]:
    clearest = effect.contrasts[0]
    is_first_better = (clearest.difference.value > 0) == quality.is_maximized
    better = clearest.level if is_first_better else clearest.reference
    measured = [_Measured(_oriented(clearest, better, quality), clearest)]
    verdict = Verdict.ANSWERED if clearest.is_shown else Verdict.NOT_SHOWN
    return verdict, effect.sentence, _sureness(measured, effect, quality)


def _measured(claim: Claim, effect: FactorEffect, quality: Quality) -> Iterator[_Measured]:
    """Of each pair of the claim's levels that was told."""
    for pair in combinations(map(format_value, claim.levels), 2):
        for contrast in effect.contrasts:
            if {contrast.level, contrast.reference} == set(pair):
                yield _Measured(_oriented(contrast, pair[0], quality), contrast)


def _oriented(contrast: Contrast, first: str, quality: Quality) -> Estimate:
    """By how much `first` is the better one."""
    is_as_it_is = (contrast.level == first) == quality.is_maximized
    return contrast.difference if is_as_it_is else negated(contrast.difference)


def _of_better(measured: _Measured) -> Verdict:
    if not measured.contrast.is_shown:
        return Verdict.NOT_SHOWN
    return Verdict.CONFIRMED if measured.difference.value > 0 else Verdict.REFUTED


def _of_alike(measured: Sequence[_Measured], margin: float) -> Verdict:
    """Alike, where every interval lies within the margin (no difference shown is not enough); not so, where one lies beyond."""
    if all(one.is_within(margin) for one in measured):
        return Verdict.CONFIRMED
    is_refuted = any(one.contrast.is_shown and one.is_beyond(margin) for one in measured)
    return Verdict.REFUTED if is_refuted else Verdict.NOT_SHOWN


def _levels(claim: Claim, effect: FactorEffect, quality: Quality) -> str:
    """`imbalance balanced_subset: 65.1 %, weighted_loss: 62.0 %`: each level's mean over the other factors."""
    named = set(map(format_value, claim.levels))
    told = ", ".join(f"{one.name}: {quality.text(one.marginal.value)}" for one in effect.levels if one.name in named)
    return f"{effect.factor} {told} ({quality.name} on validation)"


def _sureness(measured: Sequence[_Measured], effect: FactorEffect, quality: Quality) -> str:
    """The interval of the widest difference, its corrected p-value, and a caution where the search was adaptive."""
    widest = max(measured, key=lambda one: abs(one.difference.value))
    p_value = widest.contrast.p_corrected
    p_text = f"p < {SMALLEST_P}" if p_value < SMALLEST_P else f"p = {p_value:.3f}"
    told = f"difference {quality.gap(widest.difference)}, {p_text}, n = {widest.difference.n}"
    return f"{told}; exploratory" if effect.is_exploratory else told
