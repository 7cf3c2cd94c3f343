"""Two studies on the same things, seen otherwise: which one's best recipe does better on the test split, and how sure that is.

Their repetitions have the same fresh seeds and the same folds where both definitions have the same `search.seed` and the same
rows ([data] also_needs), so they are compared in pairs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from study.analysis.claims import SMALLEST_P, Judgement, Verdict
from study.analysis.confirmed import SIGNIFICANT, Repeated, estimate_of, ratio_of, repeated_recipes
from study.analysis.evidence import StudyEvidence
from study.analysis.findings import Estimate
from study.analysis.matched import holm
from study.intervals import mean_interval

EvidenceOf = Callable[[str], StudyEvidence | None]  # by name; None where a study is not complete


@dataclass(frozen=True)
class PairedStudies:
    """The best recipe of one study against that of another.

    Attributes:
        difference: of the objective on the test split, positive where the first study is the better one.
        first, second: the means that it is of, over the seeds and folds that both have.
    """

    difference: Estimate
    p_value: float
    first: Estimate
    second: Estimate


def paired_studies(first: StudyEvidence, second: StudyEvidence) -> PairedStudies | None:
    """None where one of them was not confirmed, they share fewer than two repetitions, or they measure different objectives."""
    objective = first.definition.objective
    if objective.key != second.definition.objective.key or ratio_of(first) != ratio_of(second):
        return None
    one, other = _winner(first), _winner(second)
    if one is None or other is None:
        return None
    sign, shared = (1 if objective.is_maximized else -1), sorted(one.test.keys() & other.test.keys())
    series = ({place: sign * (one.test[place] - other.test[place]) for place in shared}, one.test, other.test)
    found = [mean_interval({place: values[place] for place in shared}, ratio_of(first)) for values in series]
    difference, own, others = found
    if difference is None or own is None or others is None:
        return None
    return PairedStudies(estimate_of(difference), difference.p_value, estimate_of(own), estimate_of(others))


def judged_in_pairs(study: str, judgements: Sequence[Judgement], evidence_of: EvidenceOf) -> list[Judgement]:
    """The judgements, those of claims against another study made now that both have run; corrected for their number (Holm)."""
    own = evidence_of(study)
    pairs: dict[int, PairedStudies | None] = {}
    for place, one in enumerate(judgements):
        if one.claim.against is not None:
            other = evidence_of(one.claim.against)
            pairs[place] = paired_studies(own, other) if own is not None and other is not None else None
    told = {place: pair for place, pair in pairs.items() if pair is not None}
    corrected = dict(zip(told, holm([pair.p_value for pair in told.values()]), strict=True))
    return [
        one if place not in pairs else _judged(one, pairs[place], corrected.get(place, 1.0))
        for place, one in enumerate(judgements)
    ]


def _judged(judgement: Judgement, pair: PairedStudies | None, p_corrected: float) -> Judgement:
    other = judgement.claim.against
    if pair is None:
        return replace(
            judgement, verdict=Verdict.NOT_SHOWN, found=f"not both this study and {other} were confirmed", sureness=""
        )
    is_shown = p_corrected < SIGNIFICANT
    verdict = Verdict.NOT_SHOWN if not is_shown else Verdict.CONFIRMED if pair.difference.value > 0 else Verdict.REFUTED
    quality = judgement.quality
    found = f"{quality.text(pair.first.value)} against {quality.text(pair.second.value)} {quality.name} on the test split"
    p_text = f"p < {SMALLEST_P}" if p_corrected < SMALLEST_P else f"p = {p_corrected:.3f}"
    sureness = f"paired difference {quality.gap(pair.difference)}, {p_text}, n = {pair.difference.n}"
    return replace(judgement, verdict=verdict, found=found, sureness=sureness)


def _winner(study: StudyEvidence) -> Repeated | None:
    return next(iter(repeated_recipes(study)), None)
