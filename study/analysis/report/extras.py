"""What a report shows beside the evidence of trials: about the best model, about the photos, and where to look further."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from study.data.report import DataReport


@dataclass(frozen=True)
class Confusion:
    """What the examples of each class were called.

    Attributes:
        classes: in the order of the rows and of the columns.
        counts: `counts[i][j]` examples of class i were called class j.
        whose: which model, on which split, in words: "the best trial's model, validation split".
    """

    classes: Sequence[str]
    counts: Sequence[Sequence[int]]
    whose: str = ""


@dataclass(frozen=True)
class CalibrationBin:
    """Answers that were given with about the same confidence.

    Attributes:
        confidence: their mean probability of the class that was told, 0 to 1.
        accuracy: share of them that were right, 0 to 1.
        count: how many there are.
    """

    confidence: float
    accuracy: float
    count: int


@dataclass(frozen=True)
class Calibration:
    """How far a model's probabilities can be taken at their word.

    Attributes:
        before: by confidence, ascending; empty bins are left out.
        after: with the logits divided by `temperature`; none where that was not done.
        whose: as in `Confusion`.
    """

    before: Sequence[CalibrationBin]
    after: Sequence[CalibrationBin] = ()
    temperature: float | None = None
    whose: str = ""


@dataclass(frozen=True)
class ToldNumbers:
    """What a model of numbers said.

    Attributes:
        name: of what it tells, as the definition has it: `price`.
        true, told: by example, in the target's own unit.
        is_log: it learned the logarithm.
        whose: as in `Confusion`.
    """

    name: str
    true: Sequence[float]
    told: Sequence[float]
    is_log: bool = False
    whose: str = ""


@dataclass(frozen=True)
class SaliencyExample:
    """A picture of what the model looked at.

    Attributes:
        png: the file's bytes.
        caption: what the photo is, and what it was called.
        is_right: None of a number, which is never quite.
    """

    png: bytes
    caption: str
    is_right: bool | None = None


@dataclass(frozen=True)
class ReportExtras:
    """Everything is optional: what is not known is left out of the page.

    Attributes:
        data: what became of every photo, by the study's name.
        mlflow_address: what to open to see the study's run.
    """

    confusion: Confusion | None = None
    calibration: Calibration | None = None
    saliency: Sequence[SaliencyExample] = ()
    data: Mapping[str, DataReport] = field(default_factory=dict)
    mlflow_address: str | None = None
    numbers: ToldNumbers | None = None
