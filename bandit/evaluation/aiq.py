"""AIQ: one number for a router's whole trade-off between cost and quality."""

from dataclasses import dataclass

import numpy as np

from bandit.evaluation.frontier import hull
from bandit.kernels.jit import Array


@dataclass(frozen=True, slots=True)
class Aiq:
    """
    The mean height of a router's non-decreasing hull, in units of quality.

    over_range         area between c_lo and c_hi divided by (c_hi - c_lo): the paper's definition
    by_largest_cost    area from the router's own cheapest point to c_hi divided by c_hi: what the
                       code released with the paper calculates

    Source: RouterBench, Hu et al. (2024), 2403.12031, section 3.
    """

    over_range: float
    by_largest_cost: float


def aiq(cost_usd: Array, quality: Array, *, low_usd: float, high_usd: float) -> Aiq:
    """
    The AIQ of a router from its points, (points,) each: mean cost and mean quality.

    Dearer than its dearest corner a router keeps that corner's quality.  To be cheaper than its
    cheapest it leaves queries unanswered, at no cost and quality 0.
    low_usd, high_usd   c_lo and c_hi: what the cheapest and the dearest single model cost
    """
    if not 0 <= low_usd < high_usd:
        raise ValueError("the range of cost must satisfy 0 <= low < high")
    with_none = hull(np.append(cost_usd, 0.0), np.append(quality, 0.0))
    own = hull(cost_usd, quality)
    first = min(float(own[0][0]), high_usd)
    return Aiq(
        over_range=_area(*with_none, low_usd, high_usd) / (high_usd - low_usd),
        by_largest_cost=_area(*own, first, high_usd) / high_usd,
    )


def _area(cost: Array, quality: Array, low: float, high: float) -> float:
    """Under the line through the corners, flat beyond the last, from `low` to `high`."""
    inside = cost[(cost > low) & (cost < high)]
    nodes = np.concatenate([[low], inside, [high]])
    heights = np.interp(nodes, cost, quality)
    return float(np.trapezoid(heights, nodes))
