"""How far a share of few examples can be trusted."""

import math

Z = 1.959964  # 95 %


def wilson(num_right: float, num_all: int) -> tuple[float, float]:
    """The 95 % interval of a share; all of 0 to 1 where nothing was counted.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference"; as statsmodels'
        proportion_confint(method="wilson").
    """
    if num_all == 0:
        return 0.0, 1.0
    share = num_right / num_all
    centre = (share + Z**2 / (2 * num_all)) / (1 + Z**2 / num_all)
    half = Z / (1 + Z**2 / num_all) * math.sqrt(share * (1 - share) / num_all + Z**2 / (4 * num_all**2))
    return max(0.0, centre - half), min(1.0, centre + half)
