"""
A micro-batch of outcomes folded into sums, and the layout of those sums.

The sums of one cell, an (arm, head), are one vector of d (d + 1) / 2 + d + 2 numbers:

    gram     d (d + 1) / 2   sum of weight * x x': lower triangle, row by row
    moment   d               sum of weight * x * y
    square   1               sum of weight * y^2
    weight   1               sum of the weights
"""

from functools import lru_cache

import numpy as np

from bandit.kernels.jit import INDICES, MATRIX, RESULT_MATRIX, VECTOR, Array, Indices, kernel


@kernel(RESULT_MATRIX(MATRIX, MATRIX, VECTOR, VECTOR, INDICES))
def fold(sums: Array, contexts: Array, targets: Array, weights: Array, cells: Indices) -> Array:
    """
    The sums after a micro-batch of outcomes; a negative weight takes one back.

    sums      (cells, p)             sums so far, p = d (d + 1) / 2 + d + 2
    contexts  (outcomes, features)   x of each outcome, d features
    targets   (outcomes,)            y of each outcome, in units of the cell's head
    weights   (outcomes,)            weight of each outcome, negative to subtract
    cells     (outcomes,)            row of `sums` that each outcome belongs to, in [0, cells)
    returns   (cells, p)             a new array; the input stays as it was

    Source: Bishop (2006), eq. 3.50-3.51, the sums over the data, each weighted.
    """
    outcomes, features = contexts.shape
    folded = sums.copy()
    for outcome in range(outcomes):
        cell = cells[outcome]
        weight = weights[outcome]
        target = targets[outcome]
        start = 0
        for row in range(features):
            multiple = weight * contexts[outcome, row]
            for column in range(row + 1):
                folded[cell, start + column] += multiple * contexts[outcome, column]
            start += row + 1
        for row in range(features):
            folded[cell, start + row] += weight * target * contexts[outcome, row]
        folded[cell, start + features] += weight * target * target
        folded[cell, start + features + 1] += weight
    return folded


@lru_cache(maxsize=64)
def lower_triangle(features: int) -> tuple[Indices, Indices]:
    """Rows and columns of a packed lower triangle; kept, since making them costs 20 us."""
    rows, columns = np.tril_indices(features)
    for positions in (rows, columns):
        positions.setflags(write=False)
    return rows, columns


def unpack_gram(sums: Array, features: int) -> Array:
    """
    The full symmetric gram matrix of one cell; plain NumPy, off the serving path.

    sums     (p,)                   the sums of one cell, or its packed gram matrix alone
    returns  (features, features)   sum of weight * x x'
    """
    rows, columns = lower_triangle(features)
    packed = sums[: rows.size]
    gram = np.empty((features, features))
    gram[rows, columns] = packed
    gram[columns, rows] = packed
    return gram
