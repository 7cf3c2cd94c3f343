"""How far a trial's model, measured again, may lie from what the trial measured and still be the trial's model."""

import numpy as np

from study.definition import Metric
from study.training.evaluation import Evaluation

MOST_ANSWERS = 3
MOST_SHARE = 0.02  # of all answers
MOST_OF_SCALE = 0.05


def rounding_allowance(metric: Metric, measured: Evaluation, *, chance: float, value: float) -> float:
    """The difference in the objective that rounding explains, and wrong weights or wrong preprocessing do not.

    The trial may have computed in bfloat16, on feature maps kept in float16, on a GPU. Its exported model answers in float32,
    and so it is measured: these are the figures that its users get. Rounding moves all scores a little. It changes the answer
    only where two classes were as good as tied, so answers are what is counted: three may differ, or 2 % of them if that is
    more. On 40 photos one is 0.025 of accuracy already; of a rare class it is more of balanced accuracy. (Measured in nine
    epochs of SqueezeNet in bfloat16, its features in float16: 0 to 5 of 341 answers, 0.006 of balanced accuracy, 0.011 of
    calibration error, 0.9 % of the loss.) What a small split cannot show is not shown: on 9 photos only a model that is near
    chance is told from the trial's.

    Where nothing is counted (loss, mae, r2), the scale is the way from a perfect model to one that knows nothing (`chance`), or
    to the trial's, if that is worse: rounding moves it by 5 % of that at most, in whatever unit the target is.

    Args:
        measured: on the trial's validation split.
        chance: as `chance_level` tells it.
        value: what the trial measured.
    """
    if metric in ("loss", "mae", "r2"):
        perfect = 1.0 if metric == "r2" else 0.0
        return MOST_OF_SCALE * max(abs(chance - perfect), abs(value - perfect))
    return max(MOST_SHARE, MOST_ANSWERS * _weight_of_answer(metric, measured))


def _weight_of_answer(metric: Metric, measured: Evaluation) -> float:
    """By how much one answer moves the metric, where it moves it the most."""
    assert measured.confusion is not None, "of numbers, no metric counts answers"
    sizes = np.array(measured.confusion.counts).sum(axis=1)
    sizes = sizes[sizes > 0]
    match metric:
        case "balanced_accuracy" | "macro_f1":  # F1 of a class: by 1 / size where it is called as often as it is there
            return float(1 / (len(sizes) * sizes.min()))
        case "calibration_error":  # an answer leaves one bin of confidence for another
            return float(2 / sizes.sum())
        case _:
            return float(1 / sizes.sum())
