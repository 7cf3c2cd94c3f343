"""How far to trust a mean over repetitions with other seeds and folds."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.stats import t as student_t

CONFIDENCE = 0.95
NO_SPREAD = 1e-9  # of the values: rounding, not variation

Place = tuple[int, int]  # a repetition's fold and seed


@dataclass(frozen=True)
class MeanInterval:
    """A mean with its 95 % interval. Repetitions share their test photos: it tells how far seeds and folds move the figure.

    Attributes:
        sd: of the repetitions.
        p_value: of a mean of 0.
        n: repetitions.
    """

    mean: float
    sd: float
    low: float
    high: float
    p_value: float
    n: int


def held_out_ratio(num_folds: int) -> float:
    """Photos held out a fold as a share of those trained on; 0 where there are no folds."""
    return 1 / (num_folds - 1) if num_folds > 1 else 0.0


def mean_interval(values: Mapping[Place, float], ratio: float) -> MeanInterval | None:
    """None for fewer than two values that differ in fold (or, without folds, seed).

    With folds, seeds are averaged within each fold, and the variance of the mean over folds is raised, because folds share
    most of their training photos: s² (1 / num_folds + num_held_out / num_trained). Without folds it is Student's.

    Args:
        ratio: num_held_out / num_trained (`held_out_ratio`).
    Source: Nadeau & Bengio 2003, "Inference for the Generalization Error", eq. 9 (corrected resampled t-test).
    """
    units = _by_fold(values) if ratio else list(values.values())
    if len(units) < 2:
        return None
    mean, sd, n = fmean(units), stdev(values.values()), len(values)
    # Equal but for rounding: no t-test knows what to do, the sign test does. (0.82 - 0.80 and 0.86 - 0.84 differ by 1e-16.)
    if stdev(units) <= NO_SPREAD * max(map(abs, [*units, *values.values()])):
        return MeanInterval(mean, sd, mean, mean, 1.0 if mean == 0 else 0.5 ** (len(units) - 1), n)
    error = stdev(units) * (1 / len(units) + ratio) ** 0.5
    half = float(student_t.ppf((1 + CONFIDENCE) / 2, len(units) - 1)) * error
    p_value = float(2 * student_t.sf(abs(mean) / error, len(units) - 1))
    return MeanInterval(mean, sd, mean - half, mean + half, p_value, n)


def _by_fold(values: Mapping[Place, float]) -> list[float]:
    folds = sorted({fold for fold, _ in values})
    return [fmean(value for (fold, _), value in values.items() if fold == one) for one in folds]
