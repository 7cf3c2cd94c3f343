"""Whether a version may take the champion's place: rules on evidence, and nothing done about them here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from study.analysis.costs import cost_known_of, is_cheaper
from study.analysis.differences import difference_between
from study.analysis.findings import Estimate, PairedComparison
from study.analysis.sentences import negated
from study.analysis.standings import Standing, interval_text

# Versions are equal where the interval of their difference leaves no room for a loss of more than this: of a share, as it is;
# else of the champion's figure. "No difference shown" alone is not equality: the fewer the repetitions, the easier it is had.
EQUAL_WITHIN = 0.02
SHARES = ("accuracy", "balanced_accuracy", "macro_f1", "top5_accuracy", "calibration_error")


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
        pairs: that `study compare` tells of the candidate's study; where one is of these two versions' recipes, it decides.
    """
    if champion is not None and champion.is_same_trial(candidate):
        evidence = _told(candidate) if candidate.test else "it has no repetitions on the test split"
        return Decision(True, Rule.IS_CHAMPION, (f"{candidate.label} is the champion already: {evidence}.",))
    if candidate.test is None:
        return _refused(
            Rule.CONFIRMED,
            f"{candidate.label} has no repetitions on the test split. Give its study a [confirm] table and run it.",
        )
    if candidate.is_confirming:
        return _refused(
            Rule.CONFIRMED,
            f"{candidate.label} is still being confirmed: so far {_told(candidate)}. Finish that: "
            f"study resume {candidate.study}.",
        )
    if champion is None:
        return Decision(True, Rule.NO_CHAMPION, (f"There is no champion yet; {candidate.label}: {_told(candidate)}.",))
    return _incomparable(candidate, champion) or _compared(candidate, champion, pairs)


def forced(decision: Decision, reason: str) -> Decision:
    """The same figures, granted all the same."""
    return Decision(True, Rule.FORCED, (*decision.sentences, f"Forced: {reason}"), decision.difference)


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
    assert champion.test is not None, "asked before"
    found = difference_between(candidate, champion, pairs)
    better = found.estimate if candidate.is_maximized else negated(found.estimate)
    figures = (
        f"{candidate.label}: {_told(candidate)}; champion, {champion.label}: {_told(champion)}.",
        f"Difference in the candidate's favour: {better.value:+.3f} (95 % {better.low:+.3f} to {better.high:+.3f}, "
        f"{found.method}).",
    )
    if found.is_shown:
        rule, words = (Rule.BETTER, "Better") if better.value > 0 else (Rule.NOT_WORSE, "Worse")
        return Decision(rule is Rule.BETTER, rule, (*figures, f"{words} beyond the interval."), better)
    not_shown = f"No difference shown{found.alone}"
    margin = EQUAL_WITHIN * (1.0 if champion.metric.removeprefix("test_") in SHARES else abs(champion.test.value))
    if better.low < -margin:
        unsure = (
            f"{not_shown}, but it may be worse by {-better.low:.3f}, which is not equal (within {margin:.3g}). "
            f"Confirm both with more seeds or folds."
        )
        return Decision(False, Rule.NOT_CHEAPER, (*figures, unsure), better)
    return _by_cost(candidate.cost or {}, champion.cost or {}, (*figures, not_shown), better)


def _by_cost(
    candidate: Mapping[str, float], champion: Mapping[str, float], sentences: tuple[str, ...], better: Estimate
) -> Decision:
    """Of two that are equal, by the costs of both; the last of `sentences` is still to be ended."""
    *figures, not_shown = sentences
    name = cost_known_of([candidate, champion])
    if name is None:
        return Decision(False, Rule.NOT_CHEAPER, (*figures, f"{not_shown}, and no cost is known of both."), better)
    costs = f"{name} {candidate[name]:.4g} against {champion[name]:.4g}"
    if is_cheaper(name, candidate, champion):
        return Decision(True, Rule.CHEAPER, (*figures, f"{not_shown}, and cheaper: {costs}."), better)
    return Decision(False, Rule.NOT_CHEAPER, (*figures, f"{not_shown}, and not cheaper: {costs}."), better)


def _refused(rule: Rule, sentence: str) -> Decision:
    return Decision(False, rule, (sentence,))


def _told(standing: Standing) -> str:
    assert standing.test is not None, "asked before"
    return f"{standing.metric} {interval_text(standing.test)}"
