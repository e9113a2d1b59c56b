"""Each kernel by its definition, in plain NumPy: slow, obvious, and the oracle of the tests."""

import math

import numpy as np


def packed(matrix):
    """The lower triangle of a matrix (or of each of a stack of them), row by row."""
    rows, columns = np.tril_indices(matrix.shape[-1])
    return np.ascontiguousarray(matrix[..., rows, columns])


def factorize(matrix):
    """Cholesky by its recursion, one entry at a time; Golub & Van Loan (2013), section 4.2."""
    size = len(matrix)
    factor = np.zeros((size, size))
    for row in range(size):
        for column in range(row + 1):
            rest = matrix[row, column] - factor[row, :column] @ factor[column, :column]
            factor[row, column] = (
                math.sqrt(rest) if row == column else rest / factor[column, column]
            )
    return factor


def solve(factor, right):
    return np.linalg.solve(factor @ factor.T, right)


def invert(factor):
    return np.linalg.inv(factor @ factor.T)


def score(means, covariances, context):
    """(arms, heads, 2): x.mean and x' C x, from full covariances (arms, heads, d, d)."""
    arms, heads, _ = means.shape
    scores = np.empty((arms, heads, 2))
    for arm in range(arms):
        for head in range(heads):
            scores[arm, head, 0] = context @ means[arm, head]
            scores[arm, head, 1] = context @ covariances[arm, head] @ context
    return scores


def sum_in_lanes(terms_by_lane):
    """Each lane by itself from its first term on; the totals of the eight pair by pair."""
    lanes = []
    for terms in terms_by_lane:
        running = 0.0
        for term in terms:
            running += term
        lanes.append(running)
    a, b, c, d, e, f, g, h = lanes
    return ((a + e) + (c + g)) + ((b + f) + (d + h))


def score_in_lanes(mean, covariance, context):
    """Mean and variance of one cell in the order of additions that `kernels.scoring` promises."""
    x, size = context.tolist(), len(context)
    products = [[mean[column] * x[column] for column in range(lane, size, 8)] for lane in range(8)]
    squares = [
        [
            covariance[row, column] * ((x[row] if row == column else 2.0 * x[row]) * x[column])
            for row in range(size)
            for column in range(lane, row + 1, 8)
        ]
        for lane in range(8)
    ]
    return sum_in_lanes(products), max(sum_in_lanes(squares), 0.0)


def thompson(means, deviations):
    """
    P(k) = integral of N(u; M_k, s_k^2) * product over j != k of Phi((u - M_j) / s_j).

    Gauss-Legendre between every two neighbours of a union of grids, one per arm, a quarter of a
    deviation apart and 9 deviations either way.  No window, no table, no normalisation.  A point
    mass wins its own value times the probability that all others are below it; equals share.
    """
    means, deviations = np.asarray(means, float), np.asarray(deviations, float)
    arms = range(len(means))
    gaussian = [arm for arm in arms if deviations[arm] > 0]
    points = [arm for arm in arms if deviations[arm] == 0]
    floor = max((means[arm] for arm in points), default=-math.inf)

    wins = np.zeros(len(means))
    tied = [arm for arm in points if means[arm] == floor]
    for arm in tied:
        below = [_normal((floor - means[other]) / deviations[other]) for other in gaussian]
        wins[arm] = math.prod(map(float, below)) / len(tied)
    if not gaussian:
        return wins

    grids = [means[arm] + deviations[arm] * np.linspace(-9, 9, 73) for arm in gaussian]
    edges = np.unique(np.append(np.concatenate(grids), means[tied]))
    edges = edges[edges >= floor]
    nodes, node_weights = np.polynomial.legendre.leggauss(6)
    middles, halves = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
    values = (middles[:, None] + halves[:, None] * nodes).ravel()
    widths = (halves[:, None] * node_weights).ravel()
    z = (values - means[gaussian, None]) / deviations[gaussian, None]
    distributions = _normal(z)
    densities = np.exp(-z * z / 2) / math.sqrt(2 * math.pi) / deviations[gaussian, None]
    for row, arm in enumerate(gaussian):
        others = np.delete(distributions, row, axis=0).prod(axis=0)
        wins[arm] = np.sum(widths * densities[row] * others)
    return wins


def greedy(scores):
    best = np.asarray(scores) == np.max(scores)
    return best / best.sum()


def draw(propensities, uniform):
    """The first positive arm whose running sum exceeds `uniform`, or else the last positive one."""
    positive = [arm for arm, propensity in enumerate(propensities) if propensity > 0]
    running = np.cumsum(propensities)
    return next((arm for arm in positive if uniform < running[arm]), positive[-1])


def fold(sums, contexts, targets, weights, cells):
    folded = sums.copy()
    for context, target, weight, cell in zip(contexts, targets, weights, cells, strict=True):
        gram = packed(np.outer(context, context))
        one = np.concatenate([gram, context * target, [target**2, 1.0]])
        folded[cell] += weight * one
    return folded


def mean_at_price(utilities, costs, values, price):
    """The mean value of what argmax(utility - price * cost) chooses, where it can choose."""
    chosen = [
        value[np.argmax(utility - price * cost)]
        for utility, cost, value in zip(utilities, costs, values, strict=True)
        if np.isfinite(utility).any()
    ]
    return float(np.mean(chosen)) if chosen else 0.0


def prices_between(utilities, costs, lowest, highest):
    """One price within each stretch on which no choice changes, rising; and 0 before them."""
    with np.errstate(divide="ignore", invalid="ignore"):
        gains = utilities[:, :, None] - utilities[:, None, :]
        crossings = (gains / (costs[:, :, None] - costs[:, None, :])).ravel()
    inside = crossings[np.isfinite(crossings) & (crossings > lowest) & (crossings < highest)]
    edges = np.unique([lowest, *inside, highest])
    return [0.0, *np.sqrt(edges[:-1] * edges[1:]), highest]


def price_for_cost(utilities, costs, target, lowest, highest):
    """The first of `prices_between` that meets the target, by looking at each."""
    prices = prices_between(utilities, costs, lowest, highest)
    meeting = [p for p in prices if mean_at_price(utilities, costs, costs, p) <= target]
    return meeting[0] if meeting else highest


def price_for_quality(utilities, costs, qualities, target, lowest, highest):
    """The highest of `prices_between` up to which each meets the target, by looking at each."""
    best = 0.0
    for price in prices_between(utilities, costs, lowest, highest)[1:]:
        if mean_at_price(utilities, costs, qualities, price) < target:
            return best
        best = price
    return highest


@np.vectorize(otypes=[float])
def _normal(z):
    return math.erfc(-z / math.sqrt(2)) / 2
