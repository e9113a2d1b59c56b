"""The price of budget at which a window of recent decisions would have met a target."""

from math import exp, log

import numpy as np

from bandit.kernels.jit import MATRIX, SCALAR, Array, kernel

_BISECTIONS = 30


@kernel(SCALAR(MATRIX, MATRIX, MATRIX, SCALAR))
def mean_at_price(utilities: Array, costs: Array, values: Array, price: float) -> float:
    """
    The mean value of what would have been chosen at that price.

    utilities  (decisions, arms)  sampled utility; -inf: the arm could not be chosen
    costs      (decisions, arms)  expected USD
    values     (decisions, arms)  what is averaged, of argmax(utility - price * cost)
    price      scalar             utility per USD, >= 0
    """
    decisions, arms = utilities.shape
    total = 0.0
    counted = 0
    for decision in range(decisions):
        best = -np.inf
        chosen = 0
        for arm in range(arms):
            score = utilities[decision, arm] - price * costs[decision, arm]
            if score > best:
                best = score
                chosen = arm
        if best > -np.inf:  # else all arms of that decision are gone
            total += values[decision, chosen]
            counted += 1
    return total / max(counted, 1)


@kernel(SCALAR(MATRIX, MATRIX, SCALAR, SCALAR, SCALAR))
def price_for_cost(
    utilities: Array, costs: Array, target: float, lowest: float, highest: float
) -> float:
    """
    The smallest price at which the window's mean cost is at most `target`.

    utilities, costs  (decisions, arms)  as in `mean_at_price`; at least one decision
    target            scalar             USD per decision
    lowest, highest   scalar             between which a price is looked for, 0 < lowest < highest
    returns           scalar             0 where the target is met without a price; `highest` where
                                         even that does not meet it
    """
    if mean_at_price(utilities, costs, costs, 0.0) <= target:
        return 0.0
    if mean_at_price(utilities, costs, costs, highest) > target:
        return highest
    below, above = log(lowest), log(highest)
    for _ in range(_BISECTIONS):
        middle = (below + above) / 2
        if mean_at_price(utilities, costs, costs, exp(middle)) <= target:
            above = middle
        else:
            below = middle
    return exp(above)


@kernel(SCALAR(MATRIX, MATRIX, MATRIX, SCALAR, SCALAR, SCALAR))
def price_for_quality(
    utilities: Array, costs: Array, qualities: Array, target: float, lowest: float, highest: float
) -> float:
    """
    The largest price at which the window's mean quality is still at least `target`.

    utilities, costs  (decisions, arms)  as in `mean_at_price`; at least one decision
    qualities         (decisions, arms)  expected quality
    returns           scalar             0 where no price meets the target; `highest` where the
                                         cheapest arms meet it
    """
    if mean_at_price(utilities, costs, qualities, highest) >= target:
        return highest
    if mean_at_price(utilities, costs, qualities, lowest) < target:
        return 0.0
    below, above = log(lowest), log(highest)
    for _ in range(_BISECTIONS):
        middle = (below + above) / 2
        if mean_at_price(utilities, costs, qualities, exp(middle)) >= target:
            below = middle
        else:
            above = middle
    return exp(below)
