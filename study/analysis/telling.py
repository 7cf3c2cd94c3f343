"""The answer, the method and the warnings of a comparison, in sentences that a stranger reads first."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.analysis.confirmed import equals_of
from study.analysis.costs import COST_ORDER, cost_known_of
from study.analysis.evidence import StudyEvidence
from study.analysis.factors import BLOCKS, format_value
from study.analysis.findings import ConfirmedRecipe, FactorEffect, PairedComparison, RankedTrial
from study.analysis.observations import Observations
from study.analysis.promotion import EQUAL_WITHIN
from study.analysis.sentences import Unit
from study.freeze_depths import DEPTH
from study.trial import TrialState

MAX_EFFECTS_TOLD = 3  # in the answer; all are in the table
MIN_TRIALS = 20  # below, intervals are wide and effects of the size that matters are rarely shown
MAX_FRONT_TOLD = 5
MAX_VALUES_TOLD = 4
# Share of 95 % intervals that held the truth in 500 simulated searches by TPE without a pruner, 48 trials each; with Hyperband
# 95 % did, in random designs of as many trials 95 % (tests/benchmarks/bench_coverage.py).
ADAPTIVE_COVERAGE = 0.89
# Of the factor on which the best learning rate depends: TPE tries each of its levels mostly where that level is good.
ADAPTIVE_WORST = 0.82


@dataclass(frozen=True)
class SamePhotos:
    """What studies on the same photos showed.

    Attributes:
        name: of the studies, where others are on other photos; else "".
    """

    leaderboard: Sequence[RankedTrial]
    recommended: ConfirmedRecipe | None
    name: str = ""


def answer_of(
    parts: Sequence[SamePhotos],
    effects: Sequence[FactorEffect],
    confirmed: Sequence[ConfirmedRecipe],
    pairs: Sequence[PairedComparison],
    front: Sequence[RankedTrial],
    unit: Unit,
) -> list[str]:
    """What to use and how sure that is; then which factors mattered most; then those of which nothing was shown."""
    told: list[str] = []
    for part in parts:
        first, *rest = _recommendation(part.leaderboard, confirmed, pairs, part.recommended, unit)
        told += [f"On the photos of {part.name}: {first[:1].lower()}{first[1:]}" if part.name else first, *rest]
    told += _front_sentences(front, unit)
    shown = [effect for effect in effects if any(contrast.is_shown for contrast in effect.contrasts)]
    for effect in shown[:MAX_EFFECTS_TOLD]:
        told.append(f"{effect.factor}: {effect.sentence}{' (exploratory)' if effect.is_exploratory else ''}.")
    if len(shown) > MAX_EFFECTS_TOLD:
        told.append(f"Differences were also shown for {', '.join(effect.factor for effect in shown[MAX_EFFECTS_TOLD:])}.")
    unshown = [effect.factor for effect in effects if effect.contrasts and effect not in shown]
    if unshown:
        told.append(f"No difference shown for {', '.join(unshown)}.")
    return told + list(_unknown(effects))


def _unknown(effects: Sequence[FactorEffect]) -> Iterator[str]:
    """Factors of which nothing can be told, those of the same reason together."""
    by_reason: dict[str, list[str]] = {}
    for effect in effects:
        if not effect.contrasts:
            by_reason.setdefault(effect.sentence, []).append(effect.factor)
    for reason, factors in by_reason.items():
        yield f"{', '.join(factors)}: {reason}."


def method_of(observations: Observations, studies: Sequence[StudyEvidence], is_exploratory: bool) -> str:
    """How the effects were estimated, and how well the intervals cover."""
    num_pruned = int(observations.is_pruned.sum())
    means = "least squares over all trained trials, matched on the other searched keys, 95 % intervals by HC2, p-values by Holm"
    if observations.common_epoch is not None:
        pruned = f"; too few trials ran to their end, so all are compared at epoch {observations.common_epoch}"
    elif num_pruned:
        pruned = f"; how {num_pruned} pruned trials would have ended is imputed from the curves of those that went on"
    else:
        pruned = ""
    if any(study.definition.search.screening is not None for study in studies):
        pruned += f"; deeper trials are of recipes chosen as heads, so the effect of {DEPTH} leans towards them"
    if is_exploratory:
        sure = (
            f"The search was adaptive, so effects are exploratory: in simulated searches by TPE such 95 % intervals held the "
            f"truth in {100 * ADAPTIVE_COVERAGE:.0f} %, of factors that interact in {100 * ADAPTIVE_WORST:.0f} %."
        )
    else:
        sure = "In simulated grid and random designs such intervals held the truth in 92 to 98 %."
    return f"Effects: {means}{pruned}. {sure}"


def warnings_of(
    observations: Observations, studies: Sequence[StudyEvidence], confirmed: Sequence[ConfirmedRecipe]
) -> list[str]:
    """What limits the answer."""
    told = (*_about_trials(observations), *_about_outside(observations))
    return [*told, *_about_studies(studies), *_about_confirmation(studies, confirmed), *_about_folds(studies)]


def recipe_words(searched: Mapping[str, Any]) -> str:
    """ "backbone resnet18, head append"; without seed and fold."""
    return ", ".join(f"{key} {format_value(_short(value))}" for key, value in searched.items() if key not in BLOCKS)


def _short(value: Any) -> Any:
    return float(f"{value:.3g}") if isinstance(value, float) else value


def _recommendation(
    leaderboard: Sequence[RankedTrial],
    confirmed: Sequence[ConfirmedRecipe],
    pairs: Sequence[PairedComparison],
    recommended: ConfirmedRecipe | None,
    unit: Unit,
) -> Iterator[str]:
    if recommended is not None and recommended.test is not None:
        several = len({one.study for one in confirmed}) > 1
        name = f"trial {recommended.trial}" + (f" of {recommended.study}" if several else "")
        yield f"Use {name} ({recipe_words(recommended.recipe)}): test {unit.metric} {unit.mean(recommended.test)}."
        own = [one for one in confirmed if one.study == recommended.study]
        yield from _against_others(own, [one for one in pairs if one.study == recommended.study], recommended, unit)
        return
    completed = [trial for trial in leaderboard if trial.state == TrialState.COMPLETE.value and trial.value is not None]
    if not completed:
        yield f"No trial completed ({_states(leaderboard)}), so there is no best recipe."
        return
    best = next((trial for trial in completed if trial.is_answer), None)
    if best is None:
        yield f"None of {len(completed)} completed trials keeps every constraint, so there is no best recipe."
        return
    assert best.value is not None, "it completed"
    name = f"{best.number} of {best.study}" if len({trial.study for trial in leaderboard}) > 1 else f"{best.number}"
    yield (
        f"Best so far is trial {name} ({recipe_words(best.searched)}) with {unit.metric} {unit.value(best.value)} on "
        f"validation: {_basis(best, unit)}, the best of {len(completed)}, so without an interval and likely flattered; "
        f"`[confirm]` repeats it."
    )


def _basis(best: RankedTrial, unit: Unit) -> str:
    """What the best one was chosen by."""
    if best.num_repetitions == 1 or best.recipe_mean is None:
        return "one measurement"
    return f"its recipe's mean over {best.num_repetitions} folds and seeds is {unit.value(best.recipe_mean)}"


def _against_others(
    own: Sequence[ConfirmedRecipe], pairs: Sequence[PairedComparison], recommended: ConfirmedRecipe, unit: Unit
) -> Iterator[str]:
    for pair in pairs:
        if recommended.trial in (pair.first, pair.second):
            yield _capitalised(pair.sentence) + "."
            is_first_better, _ = unit.better_by(pair.difference)
            if pair.is_shown and is_first_better != (pair.first == recommended.trial):
                yield (
                    f"Validation chose trial {recommended.trial}, and the test split contradicts it. A choice by the test "
                    f"split would be flattered by it: repeat both on more folds."
                )
    winner = own[0]
    if winner.trial != recommended.trial and (name := cost_known_of([one.cost for one in equals_of(own, pairs)])) is not None:
        yield (
            f"Of recipes without a significant difference the cheaper is recommended: {name} {recommended.cost[name]:.3g} "
            f"against {winner.cost[name]:.3g} of trial {winner.trial}. To replace a champion that is not enough: `study "
            f"promote` also asks that the interval leave no room for a loss of more than {_margin(unit)}."
        )


def _margin(unit: Unit) -> str:
    return f"{unit.number(EQUAL_WITHIN)}{unit.name}" if unit.is_share else f"{100 * EQUAL_WITHIN:.0f} %"


def _front_sentences(front: Sequence[RankedTrial], unit: Unit) -> list[str]:
    if not front:
        return []
    words = [
        f"trial {one.number} ({unit.metric} {unit.value(one.value or 0.0)}, "
        f"{', '.join(f'{name} {one.cost[name]:.3g}' for name in COST_ORDER[:-1] if name in one.cost)})"
        for one in front[:MAX_FRONT_TOLD]
    ]
    more = f" and {len(front) - MAX_FRONT_TOLD} more" if len(front) > MAX_FRONT_TOLD else ""
    return [f"No trial beats these in both objectives: {'; '.join(words)}{more}."]


def _about_outside(observations: Observations) -> Iterator[str]:
    """Trials that say nothing of a factor because no study searches their value of it."""
    for factor in observations.factors:
        if factor.key not in BLOCKS and factor.outside:
            values = list(dict.fromkeys(map(format_value, factor.outside.values())))
            studies = dict.fromkeys(observations.trials[row].study for row in factor.outside)
            listed = ", ".join(values[:MAX_VALUES_TOLD]) + (", …" if len(values) > MAX_VALUES_TOLD else "")
            yield (
                f"{factor.key}: {len(factor.outside)} of {len(observations.trials)} trials are left out of its effect: "
                f"{listed} ({', '.join(studies)}) is searched by no study."
            )


def _about_trials(observations: Observations) -> Iterator[str]:
    num_trials, num_pruned = len(observations.trials), int(observations.is_pruned.sum())
    if num_trials < MIN_TRIALS:
        yield f"Few trials ({num_trials}): only large effects can be shown."
    if observations.num_failed:
        most = f" ({observations.most_failing})" if observations.most_failing else ""
        yield (
            f"{observations.num_failed} failed trials are left out: where a level makes trials fail, its mean is "
            f"flattered{most}."
        )
    if observations.num_repeated:
        yield f"{observations.num_repeated} trials repeat the result of an earlier one and are counted once."
    if num_pruned and observations.common_epoch is None:
        yield f"{num_pruned} of {num_trials} trials were pruned: their endings are estimates, and widen the intervals."
    if observations.common_epoch is not None:
        yield (
            f"Effects are those after {observations.common_epoch} epochs, not at the end: a level that learns slowly is "
            f"at a disadvantage."
        )


def _about_studies(studies: Sequence[StudyEvidence]) -> Iterator[str]:
    if len({study.data_digest for study in studies}) > 1:
        yield "The studies used different photos: effects are averages over them, and their values do not compare."
    if len(studies) > 1:
        yield "Several studies: effects compare trials within a study only; what differs between studies is not told apart."


def _about_confirmation(studies: Sequence[StudyEvidence], confirmed: Sequence[ConfirmedRecipe]) -> Iterator[str]:
    for study in studies:
        if study.is_confirming:
            yield f"{study.name} is still being confirmed: {len(study.repetitions)} repetitions are in, more are to come."
    if not confirmed:
        yield "Nothing was confirmed: give the definition a [confirm] table to know how sure the best recipe is."


def _about_folds(studies: Sequence[StudyEvidence]) -> Iterator[str]:
    if any("fold" in study.definition.space.parameters for study in studies):
        yield "Folds share training photos: effects are as sure as told on these folds, less so on other splits."
    if any(study.repetitions and study.definition.data.split.folds < 2 for study in studies):
        yield "Repetitions share one split: their intervals tell how far seeds move the figure, not how far other photos would."


def _states(leaderboard: Sequence[RankedTrial]) -> str:
    counts = {state: sum(trial.state == state for trial in leaderboard) for state in sorted({one.state for one in leaderboard})}
    return ", ".join(f"{count} {state.lower()}" for state, count in counts.items()) or "there is none"


def _capitalised(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
