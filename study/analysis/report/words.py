"""Numbers as people read them."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from study.analysis.findings import Estimate

SHARES = ("balanced_accuracy", "accuracy", "macro_f1", "top5_accuracy", "calibration_error")
COSTS = {  # of a trial or its model, by the name it is recorded under
    "seconds": "training time, s",
    "gpu_seconds": "training time, GPU s",
    "latency_ms": "latency of a photo, ms",
    "parameters_m": "parameters, million",
    "flops_g": "operations of a photo, GFLOP",
}
WEIGHT_FILES = (".safetensors", ".pth", ".pt")
PERCENT = "\N{NO-BREAK SPACE}%"
MINUTE, HOUR = 60, 3600


@dataclass(frozen=True)
class Quality:
    """The objective, and how its values are written: shares in percent, anything else as it is.

    Attributes:
        metric: without the split in front: `balanced_accuracy`.
    """

    metric: str
    is_maximized: bool

    @property
    def name(self) -> str:
        """In words: `balanced accuracy`."""
        return self.metric.replace("_", " ")

    @property
    def is_share(self) -> bool:
        """Whether it is written in percent."""
        return self.metric in SHARES

    @property
    def axis(self) -> str:
        """What an axis is called."""
        return f"{self.name}, %" if self.is_share else self.name

    @property
    def direction(self) -> str:
        """Which way is better."""
        return "higher is better" if self.is_maximized else "lower is better"

    def number(self, value: float) -> float:
        """On an axis."""
        return 100 * value if self.is_share else value

    def plain(self, value: float) -> str:
        """Without its unit: `78.4`; a dash for what is no number."""
        if not math.isfinite(value):
            return "–"
        return f"{100 * value:.1f}" if self.is_share else significant(value)

    def text(self, value: float | None) -> str:
        """`78.4 %`; a dash where there is none."""
        if value is None or not math.isfinite(value):
            return "–"
        return f"{self.plain(value)}{PERCENT}" if self.is_share else self.plain(value)

    def estimate(self, estimate: Estimate) -> str:
        """`78.4 % (76.0 to 80.9)`."""
        told = f"{self.text(estimate.value)} ({self.plain(estimate.low)} to {self.plain(estimate.high)})"
        return _true_minus(told)

    def gap(self, estimate: Estimate) -> str:
        """A difference: `+2.1 points (0.8 to 3.4)`."""
        unit = " points" if self.is_share else ""
        sign = "+" if estimate.value > 0 else ""
        told = f"{sign}{self.plain(estimate.value)}{unit} ({self.plain(estimate.low)} to {self.plain(estimate.high)})"
        return _true_minus(told)


def significant(value: float) -> str:
    """Three significant digits: `0.00123`, `1.2e-05`, `12,300`."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if abs(value) >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"


def sentence(text: str) -> str:
    """A finding as it stands on the page: files of weights by their names alone, a true minus, a full stop."""
    text = re.sub(rf"(?<![\w.])\S*/([^/\s]+(?:{'|'.join(map(re.escape, WEIGHT_FILES))}))", r"\1", text)
    text = _true_minus(text)
    return text if text.endswith((".", "!", "?")) or not text else f"{text}."


def _true_minus(text: str) -> str:
    """Of negative numbers only: hyphens and exponents stay."""
    return re.sub(r"(?<![\w.])-(?=[\d.])", "−", text)


def shown(value: Any) -> str:
    """A recipe's value: numbers in three digits, a file of weights by its name alone, `–` where there is none."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return significant(value)
    text = str(value)
    return text.rsplit("/", 1)[-1] if text.endswith(WEIGHT_FILES) else text


def recipe(values: Mapping[str, Any]) -> str:
    """`head replace · optimizer.lr 0.001`."""
    return " · ".join(f"{key} {shown(value)}" for key, value in values.items()) or "nothing was searched"


def percent(share: float) -> str:
    """`83 %`; a tenth below ten."""
    return f"{100 * share:.{0 if share >= 0.1 or share == 0 else 1}f}{PERCENT}"


def counted(number: int, thing: str) -> str:
    """`1 trial`, `24 trials`."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def duration(seconds: float) -> str:
    """`12 s`, `3.4 min`, `2.1 h`."""
    if seconds < MINUTE:
        return f"{significant(seconds)} s"
    return f"{seconds / MINUTE:.1f} min" if seconds < HOUR else f"{seconds / HOUR:.1f} h"


def cost_name(key: str) -> str:
    """What a cost is called on an axis."""
    return COSTS.get(key, key.replace("_", " "))


def cost_text(costs: Mapping[str, float]) -> str:
    """`training 12 s · 0.74 million parameters`."""
    told = []
    for key, value in costs.items():
        name, _, unit = cost_name(key).partition(", ")
        told.append(f"{name} {duration(value) if key.endswith('seconds') else f'{significant(value)} {unit}'.strip()}")
    return " · ".join(told)


def joined(words: list[str]) -> str:
    """`a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""
