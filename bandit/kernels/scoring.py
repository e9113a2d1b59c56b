"""
Mean and variance of every (arm, head) at one context, or at many.

A covariance is packed: its lower triangle, row by row, with plain values off the diagonal.  The
variance x' C x is then one sum over the packed entries, each multiplied by the matching entry of
x x', which is formed once per context and counts off-diagonal entries twice.

Every sum runs in the order of the entries, in `score` as in `score_batch`, so that a context gets
the same bits alone and in company.
"""

import numpy as np

from bandit.kernels.jit import (
    MATRIX,
    RESULT_BATCH,
    RESULT_STACK,
    STACK,
    VECTOR,
    Array,
    kernel,
)

# Contexts that share one pass over the covariances; 32 was the fastest of 8, 16, 32 and 64.
_COMPANY = 32
# Fewer are scored one by one: 6 us each, against 36 / size for a pass with `size` contexts.
_SMALLEST_COMPANY = 6


@kernel(RESULT_STACK(STACK, STACK, VECTOR))
def score(means: Array, covariances: Array, context: Array) -> Array:
    """
    Mean and variance of the reward that each (arm, head) expects at one context.

    means        (arms, heads, features)   posterior means of the coefficients
    covariances  (arms, heads, d(d+1)/2)   sigma^2 * inverse precision, packed, d features
    context      (features,)               x
    returns      (arms, heads, 2)          [..., 0] x.mean, without the head's offset, in units of
                                           the head; [..., 1] x' C x >= 0, in those units squared

    Source: Bishop (2006), eq. 3.58-3.59, without the noise of a single outcome.
    """
    arms, heads, features = means.shape
    entries = covariances.shape[2]
    products = np.empty(entries)
    entry = 0
    for row in range(features):
        for column in range(row):
            products[entry] = 2.0 * context[row] * context[column]
            entry += 1
        products[entry] = context[row] * context[row]
        entry += 1

    cells = arms * heads
    scores = np.empty((cells, 2))
    mean_rows = means.reshape(cells, features)
    for cell in range(cells):
        mean = 0.0
        for feature in range(features):
            mean += context[feature] * mean_rows[cell, feature]
        scores[cell, 0] = mean

    # Four cells side by side, as one sum waits for its own last addition: 6 us against 17 for
    # 12 arms, 3 heads and 33 features.
    rows = covariances.reshape(cells, entries)
    paired = cells - cells % 4
    for cell in range(0, paired, 4):
        first = second = third = fourth = 0.0
        for entry in range(entries):
            product = products[entry]
            first += rows[cell, entry] * product
            second += rows[cell + 1, entry] * product
            third += rows[cell + 2, entry] * product
            fourth += rows[cell + 3, entry] * product
        scores[cell, 1] = max(first, 0.0)
        scores[cell + 1, 1] = max(second, 0.0)
        scores[cell + 2, 1] = max(third, 0.0)
        scores[cell + 3, 1] = max(fourth, 0.0)
    for cell in range(paired, cells):
        variance = 0.0
        for entry in range(entries):
            variance += rows[cell, entry] * products[entry]
        scores[cell, 1] = max(variance, 0.0)
    return scores.reshape(arms, heads, 2)


def score_batch(means: Array, covariances: Array, contexts: Array) -> Array:
    """
    `score` for many contexts, with the same result to the last bit.

    means        (arms, heads, features)       posterior means of the coefficients
    covariances  (arms, heads, d(d+1)/2)       sigma^2 * inverse precision, packed, d features
    contexts     (contexts, features)          one x per row
    returns      (contexts, arms, heads, 2)    mean and variance, as in `score`
    """
    if contexts.shape[0] >= _SMALLEST_COMPANY:
        return _score_companies(means, covariances, contexts)
    scores = np.empty((contexts.shape[0], means.shape[0], means.shape[1], 2))
    for position, context in enumerate(contexts):
        scores[position] = score(means, covariances, context)
    return scores


@kernel(RESULT_BATCH(STACK, STACK, MATRIX))
def _score_companies(means: Array, covariances: Array, contexts: Array) -> Array:
    """
    `score_batch` in companies of contexts, the company innermost.

    Each entry of a covariance is read once per company, and the additions of different contexts
    run side by side.
    """
    arms, heads, features = means.shape
    count = contexts.shape[0]
    entries = covariances.shape[2]
    scores = np.empty((count, arms, heads, 2))
    products = np.empty((entries, _COMPANY))
    members = np.empty((features, _COMPANY))
    sums = np.empty(_COMPANY)
    whole = entries - entries % 4
    for start in range(0, count, _COMPANY):
        size = min(_COMPANY, count - start)
        entry = 0
        for row in range(features):
            for member in range(size):
                members[row, member] = contexts[start + member, row]
            for column in range(row + 1):
                times = 2.0 if column < row else 1.0
                for member in range(size):
                    products[entry, member] = times * members[row, member] * members[column, member]
                entry += 1
        for arm in range(arms):
            for head in range(heads):
                for member in range(size):
                    sums[member] = 0.0
                for feature in range(features):
                    coefficient = means[arm, head, feature]
                    for member in range(size):
                        sums[member] += members[feature, member] * coefficient
                for member in range(size):
                    scores[start + member, arm, head, 0] = sums[member]
                    sums[member] = 0.0
                # Four entries per pass over the company: 2.2 us per context against 6.8 for one.
                for entry in range(0, whole, 4):
                    first = covariances[arm, head, entry]
                    second = covariances[arm, head, entry + 1]
                    third = covariances[arm, head, entry + 2]
                    fourth = covariances[arm, head, entry + 3]
                    for member in range(size):
                        sums[member] = (
                            sums[member]
                            + first * products[entry, member]
                            + second * products[entry + 1, member]
                            + third * products[entry + 2, member]
                            + fourth * products[entry + 3, member]
                        )
                for entry in range(whole, entries):
                    for member in range(size):
                        sums[member] += covariances[arm, head, entry] * products[entry, member]
                for member in range(size):
                    scores[start + member, arm, head, 1] = max(sums[member], 0.0)
    return scores
