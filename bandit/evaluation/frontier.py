"""What fixed mixes of single arms reach: the frontier that a router has to beat."""

from collections.abc import Sequence

import numpy as np

from bandit.kernels.jit import Array


def zero_router(cost_usd: Array, quality: Array, *, at_cost_usd: float) -> float:
    """
    Quality of the best random mix of single arms at that mean cost.

    The non-decreasing upper convex hull of the arms' (mean cost, mean quality), each (arms,);
    below the cheapest arm its quality, above the best arm the best quality.
    Source: RouterBench, Hu et al. (2024), 2403.12031, section 3.
    """
    hull_cost, hull_quality = hull(cost_usd, quality)
    return float(np.interp(at_cost_usd, hull_cost, hull_quality))


def hull(cost_usd: Array, quality: Array) -> tuple[Array, Array]:
    """The corners of the non-decreasing upper convex hull, in the order of cost."""
    corners: list[tuple[float, float]] = []
    order = np.lexsort((-quality, cost_usd))
    for cost, value in zip(cost_usd[order].tolist(), quality[order].tolist(), strict=True):
        if corners and (value <= corners[-1][1] or cost == corners[-1][0]):
            continue
        while len(corners) > 1 and _is_below(corners[-2], corners[-1], (cost, value)):
            corners.pop()
        corners.append((cost, value))
    return np.array([c for c, _ in corners]), np.array([q for _, q in corners])


def mixed_hull(parts: Sequence[tuple[float, Array, Array]]) -> tuple[Array, Array]:
    """
    The corners of the best mixes where different arms can be chosen in different parts.

    parts    (share of the queries, (arms,) mean cost, (arms,) mean quality), each at least one arm
    returns  mean cost and mean quality over all parts: money goes first where it gains most, so
             the edges of the parts' hulls are laid end to end in the order of their slopes
    """
    cost = quality = 0.0
    edges: list[tuple[float, float]] = []
    for share, arm_cost, arm_quality in parts:
        corner_cost, corner_quality = hull(arm_cost, arm_quality)
        cost += share * float(corner_cost[0])
        quality += share * float(corner_quality[0])
        dearer, better = share * np.diff(corner_cost), share * np.diff(corner_quality)
        edges.extend(zip(dearer.tolist(), better.tolist(), strict=True))
    edges.sort(key=lambda edge: -edge[1] / edge[0])
    steps = np.array([(cost, quality), *edges])
    corners = np.cumsum(steps, axis=0)
    return corners[:, 0], corners[:, 1]


def _is_below(
    left: tuple[float, float], middle: tuple[float, float], right: tuple[float, float]
) -> bool:
    """Whether `middle` lies on or below the line from `left` to `right`."""
    rise = (middle[1] - left[1]) * (right[0] - left[0])
    return rise <= (right[1] - left[1]) * (middle[0] - left[0])
