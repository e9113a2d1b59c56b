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

from bandit.kernels.jit import (
    INDICES,
    MATRIX,
    RESULT,
    RESULT_MATRIX,
    SCALAR,
    VECTOR,
    Array,
    Indices,
    kernel,
)


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


@kernel(RESULT_MATRIX(VECTOR, VECTOR))
def unpack_gram(packed: Array, diagonal: Array) -> Array:
    """
    The full symmetric gram matrix of one cell, with a diagonal added.

    packed    (at least d (d + 1) / 2,)  the sums of one cell, or its packed gram matrix alone
    diagonal  (d,)                       d features; zeros: the gram matrix itself
    returns   (d, d)                     sum of weight * x x', plus the diagonal
    """
    features = diagonal.size
    gram = np.empty((features, features))
    entry = 0
    for row in range(features):
        for column in range(row + 1):
            gram[row, column] = packed[entry]
            gram[column, row] = packed[entry]
            entry += 1
        gram[row, row] += diagonal[row]
    return gram


@kernel(RESULT(MATRIX, SCALAR))
def pack(matrix: Array, factor: float) -> Array:
    """
    The lower triangle of a matrix, row by row, times a factor: the reverse of `unpack_gram`.

    matrix   (d, d)
    returns  (d (d + 1) / 2,)
    """
    features = matrix.shape[0]
    packed = np.empty(features * (features + 1) // 2)
    entry = 0
    for row in range(features):
        for column in range(row + 1):
            packed[entry] = factor * matrix[row, column]
            entry += 1
    return packed
