"""Where values lie on a scale that the page itself draws."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from study.analysis.findings import Estimate
from study.analysis.report.parts import IntervalRow

MOST_TICKS = 5
SMALLEST_HALF = 1e-9
NICE_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Scale:
    """From `low` to `high`, both round numbers."""

    low: float
    high: float
    step: float

    def place(self, value: float) -> float:
        """In percent of the width; what lies outside is put on the edge."""
        return round(100 * min(1.0, max(0.0, (value - self.low) / (self.high - self.low))), 2)

    @property
    def ticks(self) -> Sequence[tuple[float, str]]:
        """Place and label of each."""
        num_steps = round((self.high - self.low) / self.step)
        values = [self.low + index * self.step for index in range(num_steps + 1)]
        return [(self.place(value), f"{value:.10g}") for value in values]

    def row(self, label: str, text: str, estimate: Estimate, factor: float, *, is_best: bool = False) -> IntervalRow:
        """An estimate as a row; `factor` brings it into the scale's unit."""
        low, middle, high = (self.place(factor * value) for value in (estimate.low, estimate.value, estimate.high))
        return IntervalRow(label, text, low, middle, high, is_best)


def scale_over(values: Iterable[float]) -> Scale:
    """The smallest scale with round ends and few steps that holds all finite `values`; 0 to 1 where there is none."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    if high - low < 1e-9 * max(1.0, abs(low)):
        half = 0.5 * max(abs(low), abs(high))
        half = half if half > SMALLEST_HALF else 0.5  # 0, or as good as
        low, high = low - half, high + half
    step = _nice((high - low) / MOST_TICKS)
    start, stop = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return Scale(start, stop, step)


def _nice(least: float) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that is at least `least`."""
    power: float = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in NICE_STEPS if step * power >= least * (1 - 1e-9))
