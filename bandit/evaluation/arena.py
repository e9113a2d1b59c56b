"""The score of the RouterArena leaderboard."""

import math

BETA = 0.1
LEAST_USD, MOST_USD = 0.0044, 200.0  # per 1,000 queries: the cheapest and the dearest model there


def arena_score(accuracy: float, *, usd_per_thousand: float) -> float:
    """
    S = (1 + beta) A C / (beta A + C),  C = (log2 c_max - log2 c) / (log2 c_max - log2 c_min).

    accuracy          A, mean quality, 0 to 1
    usd_per_thousand  c, USD per 1,000 queries; taken as c_min or c_max beyond them
    returns           0 to 1, higher is better

    Source: RouterArena, Lu et al. (2025), 2510.00202, with its constants.
    """
    cost = min(max(usd_per_thousand, LEAST_USD), MOST_USD)
    cheapness = math.log2(MOST_USD / cost) / math.log2(MOST_USD / LEAST_USD)
    if accuracy == 0 or cheapness == 0:
        return 0.0
    return (1 + BETA) * accuracy * cheapness / (BETA * accuracy + cheapness)
