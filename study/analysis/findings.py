"""What a comparison of trials found, as plain data: what is printed, drawn, logged and returned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Estimate:
    """A number and how far to trust it: 95 % of such intervals hold the truth.

    Attributes:
        n: observations that it rests on.
    """

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Level:
    """One level of a factor: a choice, or a range of numbers.

    Attributes:
        name: as people read it: `weighted_loss`, `1e-4 to 1e-3`.
        marginal: the objective at this level, the other factors being as in the whole study.
    """

    name: str
    marginal: Estimate
    num_complete: int
    num_pruned: int


@dataclass(frozen=True)
class Contrast:
    """One level against another, matched on the other factors.

    Attributes:
        difference: of the objective, `level` minus `reference`; in the objective's unit.
        p_value: of no difference; `p_corrected` for all contrasts of the study (Holm).
        is_shown: whether the corrected p-value is below 0.05.
    """

    factor: str
    level: str
    reference: str
    difference: Estimate
    p_value: float
    p_corrected: float
    is_shown: bool


@dataclass(frozen=True)
class FactorEffect:
    """What one searched factor did.

    Attributes:
        importance: share of the objective's variation that it explains, 0 to 1 (Optuna's PED-ANOVA); None if unknown.
        levels: the best first.
        contrasts: of all pairs of levels, the clearest first.
        is_exploratory: the search was adaptive, where intervals cover the truth less often than they say.
        sentence: "weighted loss beats the balanced subset by 2.1 points (0.8 to 3.4, n = 24)" or "no difference shown".
    """

    factor: str
    importance: float | None
    levels: Sequence[Level]
    contrasts: Sequence[Contrast]
    is_exploratory: bool
    sentence: str


@dataclass(frozen=True)
class Interaction:
    """Two factors whose effects depend on each other."""

    factors: tuple[str, str]
    difference: Estimate
    p_corrected: float
    is_shown: bool
    sentence: str


@dataclass(frozen=True)
class RankedTrial:
    """A line of the leaderboard.

    Attributes:
        is_answer: it has all its epochs and keeps every constraint.
        cost: GPU- or CPU-seconds, parameters, latency … by name with the unit in it.
        recipe_mean: its recipe's mean over the folds and seeds on which recipes are compared; None for what is no answer.
        num_repetitions: folds and seeds that this mean is over.
    """

    study: str
    number: int
    run_id: str | None
    state: str
    value: float | None
    num_epochs: int
    searched: Mapping[str, Any]
    cost: Mapping[str, float]
    is_answer: bool = True
    recipe_mean: float | None = None
    num_repetitions: int = 1


@dataclass(frozen=True)
class ConfirmedRecipe:
    """A recipe that was repeated with fresh seeds and folds.

    Attributes:
        trial: that first had it.
        role: "winner", "runner-up", "baseline" or "" for another.
        val, test: mean over the repetitions; sd in the same unit. None where there are fewer than two.
        study: that it is of.
        is_beaten: it was not repeated to the end: the race over seeds and folds found it worse than the best.
    """

    trial: int
    role: str
    recipe: Mapping[str, Any]
    val: Estimate | None
    val_sd: float | None
    test: Estimate | None
    test_sd: float | None
    cost: Mapping[str, float]
    study: str = ""
    is_beaten: bool = False


@dataclass(frozen=True)
class PairedComparison:
    """Two confirmed recipes on the same seeds and folds.

    Attributes:
        difference: `first` minus `second`, on the test split.
        is_shown: whether p_value, corrected for the number of pairs (Holm), is below 0.05.
        study: that both are of.
        num_pairs: that were compared in it.
    """

    first: int
    second: int
    difference: Estimate
    p_value: float
    is_shown: bool
    sentence: str
    study: str = ""
    num_pairs: int = 1

    @property
    def alone(self) -> str:
        """That a difference which is not shown would be, were this the only pair; "" for any other."""
        is_clear = self.difference.low * self.difference.high > 0 and self.difference.low < self.difference.high
        return f", by itself clear, not among {self.num_pairs} pairs" if is_clear and not self.is_shown else ""


@dataclass(frozen=True)
class AlteredTest:
    """A confirmed recipe on altered copies of the test photos.

    Attributes:
        alteration: a word of `study.confirm_definition.Alteration`.
        test: the objective on the copies.
        loss: by how much it is worse there than on the photos as they are, in pairs; positive is worse.
        share: the loss as a share of what the recipe reaches above chance; None where chance is not known.
        is_shown: whether p_value, corrected for the study's recipes and alterations (Holm), is below 0.05.
        study: that the recipe is of.
    """

    trial: int
    alteration: str
    test: Estimate
    loss: Estimate
    share: float | None
    p_value: float
    is_shown: bool
    sentence: str
    study: str = ""


@dataclass(frozen=True)
class DepthAgreement:
    """Recipes that were tried at two freeze depths: whether those that are good as heads are good with more trained.

    Attributes:
        depths: the deepest of the study, and the other.
        recipes: trial at the deepest, its value, and the value at the other depth; the best at the deepest first.
        correlation: of the ranks (Spearman's); None for fewer than five recipes.
        num_swapped: pairs of recipes whose order is another at the other depth, of `num_pairs` that differ at both.
        num_pruned, num_failed: recipes that the deepest has completed, and that came to no end at the other depth.
    """

    study: str
    depths: tuple[float, float]
    recipes: Sequence[tuple[int, float, float]]
    correlation: Estimate | None
    num_swapped: int
    num_pairs: int
    num_pruned: int
    num_failed: int
    sentence: str


@dataclass(frozen=True)
class Comparison:
    """The answer of one or several studies.

    Attributes:
        answer: the plain sentences that a stranger reads first.
        method: how the effects were estimated, and how well the intervals cover, in two sentences.
        recommended: number of the trial whose recipe is recommended; None where nothing can be said.
        recommended_study: that it is of.
        leaderboard: the best first; of several photos, those of the first photos before those of the next.
        front: of two objectives, the trials that no other beats in both, the best objective first.
        studies_by_photos: names of the studies whose values compare, together.
        warnings: what limits the answer: few trials, one study only, an adaptive search …
        altered: confirmed recipes on altered copies of the test photos, where the definition asks for them.
        depths: how far the ranks of recipes agree across freeze depths, where some were tried at several.
    """

    studies: Sequence[str]
    objective: str
    is_maximized: bool
    answer: Sequence[str]
    effects: Sequence[FactorEffect]
    interactions: Sequence[Interaction]
    leaderboard: Sequence[RankedTrial]
    confirmed: Sequence[ConfirmedRecipe]
    pairs: Sequence[PairedComparison]
    recommended: int | None
    method: str
    warnings: Sequence[str]
    recommended_study: str = ""
    front: Sequence[RankedTrial] = ()
    studies_by_photos: Sequence[Sequence[str]] = ()
    altered: Sequence[AlteredTest] = ()
    depths: Sequence[DepthAgreement] = ()

    @property
    def leaderboards(self) -> list[list[RankedTrial]]:
        """The leaderboard, one for each photos: between them, values do not compare."""
        groups = self.studies_by_photos or [self.studies]
        return [[one for one in self.leaderboard if one.study in names] for names in groups]
