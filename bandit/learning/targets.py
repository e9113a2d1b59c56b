"""From a measured value to the number a head learns: the prior mean is taken out."""

import math

from bandit.domain.objective import Objective
from bandit.domain.price import LEAST_USD

PRIOR_LATENCY_MS = 1500.0
LEAST_LATENCY_MS = 1e-3


def target_of(
    objective: Objective, value: float, *, list_usd: float, quality_prior_mean: float
) -> float:
    """
    y for an outcome in its units.

    quality  y = quality - prior mean
    cost     y = ln cost - ln list price in force at the decision   (cost floored at 1e-9 USD)
    latency  y = ln latency - ln 1.5 s
    """
    match objective:
        case Objective.QUALITY:
            return value - quality_prior_mean
        case Objective.COST:
            return math.log(max(value, LEAST_USD)) - math.log(list_usd)
        case Objective.LATENCY:
            return math.log(max(value, LEAST_LATENCY_MS)) - math.log(PRIOR_LATENCY_MS)
