"""Vectors onto a few directions, each with the same result alone and in company."""

import numpy as np

from bandit.kernels.jit import MATRIX, RESULT_MATRIX, Array, kernel


@kernel(RESULT_MATRIX(MATRIX, MATRIX))
def project(vectors: Array, directions: Array) -> Array:
    """
    The product of the two matrices, each row summed in the order of its entries.

    A library's matrix product rounds a row otherwise when others are beside it.

    vectors     (vectors, length)
    directions  (length, directions)
    returns     (vectors, directions)
    """
    count, length = vectors.shape
    projected = np.zeros((count, directions.shape[1]))
    for vector in range(count):
        for entry in range(length):
            value = vectors[vector, entry]
            for direction in range(directions.shape[1]):
                projected[vector, direction] += value * directions[entry, direction]
    return projected
