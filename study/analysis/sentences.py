"""Findings in plain sentences, numbers in the unit that people use of the metric."""

from collections.abc import Sequence
from dataclasses import dataclass

from study.analysis.findings import Contrast, Estimate, Level
from study.definition import Metric

SHARES: tuple[Metric, ...] = ("balanced_accuracy", "accuracy", "macro_f1", "top5_accuracy", "calibration_error")


@dataclass(frozen=True)
class Unit:
    """How differences of a metric are told: shares in points (hundredths), all else in the metric's own unit."""

    metric: Metric
    is_maximized: bool

    @property
    def is_share(self) -> bool:
        """Whether it lies between 0 and 1 by definition."""
        return self.metric in SHARES

    def number(self, value: float) -> str:
        """A difference, without its unit."""
        return _without_minus_zero(f"{100 * value:.1f}") if self.is_share else _without_minus_zero(f"{value:.3g}")

    @property
    def name(self) -> str:
        """The unit of a difference, after a number."""
        return " points" if self.is_share else f" in {self.metric}"

    def value(self, value: float) -> str:
        """The metric itself."""
        return f"{value:.3f}" if self.is_share else f"{value:.4g}"

    def interval(self, found: Estimate) -> str:
        """ "(0.8 to 3.4, n = 24)"."""
        return f"({self.number(found.low)} to {self.number(found.high)}, n = {found.n})"

    def difference(self, found: Estimate) -> str:
        """ "0.4 points (-0.4 to 1.1, n = 24)"."""
        return f"{self.number(found.value)}{self.name} {self.interval(found)}"

    def mean(self, found: Estimate) -> str:
        """ "0.812 (0.790 to 0.834, n = 10)"."""
        return f"{self.value(found.value)} ({self.value(found.low)} to {self.value(found.high)}, n = {found.n})"

    def better_by(self, difference: Estimate) -> tuple[bool, Estimate]:
        """Whether the first is better, and by how much the better one is, as a positive number."""
        is_first_better = (difference.value > 0) == self.is_maximized
        return is_first_better, difference if difference.value > 0 else negated(difference)


def negated(found: Estimate) -> Estimate:
    """The difference the other way round."""
    return Estimate(-found.value, -found.high, -found.low, found.n)


def effect_sentence(levels: Sequence[Level], contrasts: Sequence[Contrast], unit: Unit) -> str:
    """ "weighted_loss beats balanced_subset by 2.1 points (0.8 to 3.4, n = 24)", or "no difference shown".

    Args:
        levels: the best first; contrasts: the clearest first, at least one.
    """
    shown = [contrast for contrast in contrasts if contrast.is_shown]
    best = levels[0].name if levels else ""
    if not shown:
        widest = max(contrasts, key=lambda contrast: abs(contrast.difference.value))
        between = "" if len(levels) == 2 else f" between {widest.level} and {widest.reference}, the furthest apart"
        _, difference = unit.better_by(widest.difference)
        # The interval is of this comparison alone; shown is what survives the correction for all of the study's.
        alone = ", by itself clear, not among all comparisons" if difference.low * difference.high > 0 else ""
        return f"no difference shown{between} ({_range(difference, unit)}{alone}, n = {difference.n})"
    sentence = contrast_sentence(shown[0], unit)
    rest = [contrast for contrast in contrasts if not contrast.is_shown and best in (contrast.level, contrast.reference)]
    if rest:
        others = [one.reference if one.level == best else one.level for one in rest]
        sentence += f"; no difference shown between {best} and {_listed(others)}"
    return sentence


def contrast_sentence(contrast: Contrast, unit: Unit) -> str:
    """ "append beats replace by 2.1 points (0.8 to 3.4, n = 24)"."""
    is_first, difference = unit.better_by(contrast.difference)
    better, worse = (contrast.level, contrast.reference) if is_first else (contrast.reference, contrast.level)
    return f"{better} beats {worse} by {unit.number(difference.value)}{unit.name} {unit.interval(difference)}"


def _range(found: Estimate, unit: Unit) -> str:
    return f"{unit.number(found.low)} to {unit.number(found.high)}{unit.name}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _without_minus_zero(text: str) -> str:
    return text.removeprefix("-") if float(text) == 0 else text
