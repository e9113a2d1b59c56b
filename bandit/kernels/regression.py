"""From the packed sums of one cell to what a Bayesian linear regression makes of them."""

from math import log

import numpy as np

from bandit.kernels.cholesky import factorize, solve
from bandit.kernels.folding import unpack_gram
from bandit.kernels.jit import RESULT, VECTOR, Array, kernel


@kernel(RESULT(VECTOR, VECTOR))
def regress(sums: Array, precision: Array) -> Array:
    """
    The precision's factor and the mean, with what their likelihood needs.

    In one call: with 48 features 16 us against 22 for its parts, of which the factor takes 12.

    sums       (d (d + 1) / 2 + d + 2,)   of one cell, see `folding`; S and s in it
    precision  (d,)                       L0, diagonal
    returns    (d d + d + 2,)             L with L L' = L0 + S, row by row | mean, (L L')^-1 s |
                                          s'mean | ln |L|; NaN at [0] if the sums are not finite or
                                          L0 + S is not positive definite

    Source: Bishop (2006), eq. 3.50-3.51.
    """
    features = precision.size
    square = features * features
    result = np.empty(square + features + 2)
    for value in sums:
        if not np.isfinite(value):
            result[0] = np.nan
            return result
    factor = factorize(unpack_gram(sums, precision))
    if np.isnan(factor[0, 0]):
        result[0] = np.nan
        return result
    moment = sums[sums.size - features - 2 : sums.size - 2]
    mean = solve(factor, moment)
    explained = 0.0
    volume = 0.0
    for row in range(features):
        for column in range(features):
            result[row * features + column] = factor[row, column]
        result[square + row] = mean[row]
        explained += mean[row] * moment[row]
        volume += log(factor[row, row])
    result[square + features] = explained
    result[square + features + 1] = volume
    return result
