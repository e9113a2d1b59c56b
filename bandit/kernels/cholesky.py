"""
Symmetric positive definite matrices: factorise, solve, invert.

Inner loops add a multiple of one contiguous row to another.  Unlike a sum, that vectorises without
reordering any addition.
"""

import numpy as np

from bandit.kernels.jit import MATRIX, RESULT, RESULT_MATRIX, VECTOR, Array, kernel


@kernel(RESULT_MATRIX(MATRIX))
def factorize(matrix: Array) -> Array:
    """
    The lower triangular L with L L' = matrix.

    matrix   (features, features)   symmetric; only the upper triangle is read
    returns  (features, features)   L, zero above the diagonal; if the matrix is not positive
                                    definite (a pivot <= 0 or not finite), NaN everywhere, so
                                    that [0, 0] is the place to ask

    Source: Golub & Van Loan (2013), Matrix Computations, algorithm 4.2.2 (outer product form).
    """
    size = matrix.shape[0]
    upper = matrix.copy()  # becomes L' row by row
    factor = np.zeros((size, size))
    for step in range(size):
        pivot = upper[step, step]
        if not (pivot > 0.0 and np.isfinite(pivot)):
            factor[:, :] = np.nan
            return factor
        root = np.sqrt(pivot)
        for column in range(step, size):
            upper[step, column] /= root
            factor[column, step] = upper[step, column]
        for row in range(step + 1, size):
            multiple = upper[step, row]
            for column in range(row, size):
                upper[row, column] -= multiple * upper[step, column]
    return factor


@kernel(RESULT(MATRIX, VECTOR))
def solve(factor: Array, right: Array) -> Array:
    """
    The x with L L' x = right: one forward and one backward substitution.

    factor   (features, features)   L, lower triangular, as `factorize` returns it
    right    (features,)            right-hand side
    returns  (features,)            x

    Source: Golub & Van Loan (2013), section 3.1.
    """
    size = right.shape[0]
    solution = right.copy()
    for row in range(size):
        remainder = solution[row]
        for column in range(row):
            remainder -= factor[row, column] * solution[column]
        solution[row] = remainder / factor[row, row]
    for row in range(size - 1, -1, -1):
        solution[row] /= factor[row, row]
        for column in range(row):
            solution[column] -= factor[row, column] * solution[row]
    return solution


@kernel(RESULT_MATRIX(MATRIX))
def invert(factor: Array) -> Array:
    """
    The inverse of L L', which is W' W with W = L^-1.

    factor   (features, features)   L, lower triangular, as `factorize` returns it
    returns  (features, features)   exactly symmetric

    Source: Golub & Van Loan (2013), section 3.1; (L L')^-1 = L'^-1 L^-1.
    """
    size = factor.shape[0]
    whitener = np.zeros((size, size))  # W
    inverse = np.zeros((size, size))
    for row in range(size):
        for above in range(row):
            multiple = factor[row, above]
            for column in range(above + 1):
                whitener[row, column] -= multiple * whitener[above, column]
        whitener[row, row] = 1.0
        for column in range(row + 1):
            whitener[row, column] /= factor[row, row]
        for left in range(row + 1):
            multiple = whitener[row, left]
            for column in range(left + 1):
                inverse[left, column] += multiple * whitener[row, column]
    for row in range(size):
        for column in range(row):
            inverse[column, row] = inverse[row, column]
    return inverse
