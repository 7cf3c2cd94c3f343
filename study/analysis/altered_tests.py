"""What the confirmed recipes lose on altered copies of the test photos: does the answer hang on colour?

Each repetition was measured on the photos as they are and on their copies, so losses are differences in pairs: the same
weights, the same photos.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from study.analysis.confirmed import SIGNIFICANT, Repeated, estimate_of, ratio_of, repeated_recipes
from study.analysis.evidence import StudyEvidence
from study.analysis.findings import AlteredTest, Estimate
from study.analysis.matched import holm
from study.analysis.sentences import Unit, negated
from study.confirm_definition import Alteration
from study.intervals import mean_interval

RECALL = "test_recall."  # in front of each class's name, as `Evaluation.named` has it
MOST = 0.5  # of what a recipe reaches above chance: losing as much, most of it hung on what is gone
SEEN: Mapping[Alteration, str] = {"greyscale": "without colour", "hue_shift": "in opposite colours"}
# What a loss says. With the colours wrong, what is lost is at least what they told: they now tell something else.
CARRIES: Mapping[Alteration, str] = {"greyscale": "colour", "hue_shift": "the hue"}


@dataclass(frozen=True)
class _Loss:
    recipe: Repeated
    alteration: Alteration
    test: Estimate
    loss: Estimate
    p_value: float


def altered_tests(study: StudyEvidence, unit: Unit) -> list[AlteredTest]:
    """Of each confirmed recipe, the winner first, what each alteration costs it; corrected for their number (Holm)."""
    found = list(_losses(study, unit))
    shown = [corrected < SIGNIFICANT for corrected in holm([one.p_value for one in found])]
    chance = _chance(study, unit)
    told = []
    for one, is_shown in zip(found, shown, strict=True):
        share = _share(one, chance)
        sentence = loss_sentence(one.alteration, one.loss, share, unit, is_shown=is_shown)
        altered = AlteredTest(
            one.recipe.trial, one.alteration, one.test, one.loss, share, one.p_value, is_shown, sentence, study.name
        )
        told.append(altered)
    return told


def loss_sentence(alteration: Alteration, loss: Estimate, share: float | None, unit: Unit, *, is_shown: bool) -> str:
    """ "without colour it loses 21.0 points (17.0 to 25.0, n = 10), 84 % of what it has above chance: it leans on colour".

    Args:
        loss: positive where it is worse on the copies.
        share: of what it reaches above chance; None where chance is not known.
    """
    seen, carrier = SEEN[alteration], CARRIES[alteration]
    if not is_shown:
        return f"{seen} no loss is shown: {unit.difference(loss)}"
    if loss.value < 0:
        return f"{seen} it gains {unit.difference(negated(loss))}: it is misled by {carrier}"
    lost = f"{seen} it loses {unit.difference(loss)}"
    if share is None:
        return f"{lost}: {carrier} matters to it"
    # Of the model, not of the target: photos in colours that it never saw may cost it something for any target.
    verdict = f"it leans on {carrier}" if share >= MOST else f"it leans on {carrier} for a part of it"
    return f"{lost}, {100 * min(share, 1.0):.0f} % of what it has above chance: {verdict}"


def answer_sentences(altered: Sequence[AlteredTest], trial: int, study: str) -> list[str]:
    """What the answer says of one recipe."""
    return [f"Trial {trial}: {one.sentence}." for one in altered if (one.trial, one.study) == (trial, study)]


def caution(altered: Sequence[AlteredTest]) -> list[str]:
    """What limits the answer, where there is one."""
    if not altered:
        return []
    return [
        "Photos in other colours are also unlike all that the model learnt from: a loss may come from that alone. A target "
        "that colour says nothing about, with the same photos, tells how much."
    ]


def _losses(study: StudyEvidence, unit: Unit) -> Iterator[_Loss]:
    sign, ratio = (1 if unit.is_maximized else -1), ratio_of(study)
    for one in repeated_recipes(study):
        for alteration, values in one.altered.items():
            test = mean_interval(values, ratio)
            pairs = {place: sign * (one.test[place] - value) for place, value in values.items() if place in one.test}
            loss = mean_interval(pairs, ratio)
            if test is not None and loss is not None:
                yield _Loss(one, alteration, estimate_of(test), estimate_of(loss), loss.p_value)


def _chance(study: StudyEvidence, unit: Unit) -> float | None:
    """What guessing reaches; known of balanced accuracy alone: of others it depends on the photos of each class."""
    if unit.metric != "balanced_accuracy":
        return None
    num_classes = max((sum(name.startswith(RECALL) for name in one.metrics) for one in study.repetitions), default=0)
    return 1 / num_classes if num_classes else None


def _share(found: _Loss, chance: float | None) -> float | None:
    if chance is None:
        return None
    above = found.test.value + found.loss.value - chance
    return found.loss.value / above if above > 0 else None
