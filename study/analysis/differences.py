"""How far two versions lie apart on the test split: in pairs where seeds and folds are the same, else not."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import t as student_t

from study.analysis.findings import Estimate, PairedComparison
from study.analysis.sentences import negated
from study.analysis.standings import Standing
from study.intervals import CONFIDENCE, mean_interval

SIGNIFICANT = 0.05
MIN_ALIKE = 6  # differences that are all the same: by the sign test, fewer are no proof (0.5^5 = 0.031)


@dataclass(frozen=True)
class Difference:
    """One version's mean minus another's, on the test split.

    Attributes:
        method: how it was formed, in words.
        is_shown: whether it is told from none.
        alone: why it is not, though its own interval leaves none out; "" for any other.
    """

    estimate: Estimate
    method: str
    is_shown: bool
    alone: str = ""


def difference_between(first: Standing, second: Standing, pairs: Sequence[PairedComparison]) -> Difference:
    """`first` minus `second`, both confirmed: as `study compare` tells it, where it does; else in pairs; else by Welch.

    Args:
        pairs: that `study compare` tells of the study of `first`.
    """
    return _told(first, second, pairs) or _paired(first, second) or _unpaired(first, second)


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


def _told(first: Standing, second: Standing, pairs: Sequence[PairedComparison]) -> Difference | None:
    """What the comparison says of the two: the champion must not move by what people are told is no difference."""
    if (first.study, first.study_run) != (second.study, second.study_run):
        return None
    for pair in pairs:
        if {pair.first, pair.second} == {first.trial, second.trial}:
            estimate = pair.difference if pair.first == first.trial else negated(pair.difference)
            together = f", corrected with the {pair.num_pairs - 1} others of its study (Holm)" if pair.num_pairs > 1 else ""
            return Difference(estimate, f"paired on the same seeds and folds{together}", pair.is_shown, pair.alone)
    return None


def _paired(first: Standing, second: Standing) -> Difference | None:
    """None where the one with fewer repetitions has some that the other has not."""
    shared = first.repetitions.keys() & second.repetitions.keys()
    if not shared or len(shared) < min(len(first.repetitions), len(second.repetitions)) or first.ratio != second.ratio:
        return None
    apart = {place: first.repetitions[place] - second.repetitions[place] for place in sorted(shared)}
    found = mean_interval(apart, first.ratio)
    if found is None:
        return None
    method = f"paired on the {len(shared)} seeds and folds that both were trained with"
    return Difference(Estimate(found.mean, found.low, found.high, found.n), method, found.p_value < SIGNIFICANT)


def _unpaired(first: Standing, second: Standing) -> Difference:
    assert first.test is not None, "it is confirmed"
    assert second.test is not None, "it is confirmed"
    estimate = welch(first.test, second.test)
    unknown = next((one.label for one in (first, second) if not one.repetitions), None)
    why = f"the repetitions of {unknown} are not known one by one" if unknown else "their seeds and folds differ"
    is_proof = estimate.high > estimate.low or estimate.n >= MIN_ALIKE
    return Difference(estimate, f"Welch's interval, unpaired: {why}", is_proof and estimate.low * estimate.high > 0)


def _quantile(degrees: float) -> float:
    return float(student_t.ppf((1 + CONFIDENCE) / 2, degrees))
