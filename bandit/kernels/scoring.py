"""
Mean and variance of every (arm, head) at one context, or at many.

A covariance is packed: its lower triangle, row by row, with plain values off the diagonal.  The
variance x' C x is one sum over the packed entries, each times x_row * x_column, and twice off the
diagonal.  What a row is multiplied by is made from x as the row passes by, once for several cells:
x stays in registers and in the innermost cache, and every covariance is read once, in order.

Every sum runs in the eight lanes of `lanes`, in the order of the rows, lane l taking the columns l,
l + 8, ... of each.  So a context gets the same bits alone and in company, and on any processor.
"""

import numpy as np

from bandit.kernels.jit import (
    INDEX,
    MATRIX,
    NOTHING,
    RESULT_BATCH,
    RESULT_MATRIX,
    RESULT_STACK,
    STACK,
    VECTOR,
    Array,
    kernel,
)
from bandit.kernels.lanes import (
    CELLS,
    LANES,
    load,
    load_cells,
    load_rest,
    load_sums,
    plus_products,
    store,
    store_sums,
    times,
    total,
)

# Contexts that share one pass over the covariances; 16 were no faster.
_COMPANY = 8


@kernel(NOTHING(RESULT_MATRIX, MATRIX, MATRIX))
def _add_means(sums: Array, coefficients: Array, contexts: Array) -> None:
    """
    Add x.mean of every context and cell to the sums.

    sums          (contexts, LANES * cells)     the lanes of each cell; room for whole CELLS of them
    coefficients  (cells, features)
    contexts      (contexts, features or more)  x; as many as whole lanes take, 0 beyond
    """
    cells, features = coefficients.shape
    whole = features - features % LANES
    for cell in range(0, cells, CELLS):
        for context in range(contexts.shape[0]):
            one = load_sums(sums, context, LANES * cell)
            for column in range(0, whole, LANES):
                block = load_cells(coefficients, cell, column)
                one = plus_products(one, block, load(contexts, context, column))
            if whole < features:
                block = load_rest(coefficients, cell, whole, features - whole)
                one = plus_products(one, block, load(contexts, context, whole))
            store_sums(sums, context, LANES * cell, one)


@kernel(RESULT_MATRIX(MATRIX, INDEX))
def _last_factors(contexts: Array, features: int) -> Array:
    """
    What the last lanes of each row of a covariance are multiplied by, its diagonal among them.

    contexts  (contexts, features or more)  x; as many as whole lanes take, 0 beyond
    returns   (contexts, LANES * features)  x_row * x_column, twice before the diagonal; finite and
                                            of no meaning beyond it, where the row has 0
    """
    factors = np.empty((contexts.shape[0], LANES * features))
    for context in range(contexts.shape[0]):
        for row in range(features):
            x = contexts[context, row]
            begin = row - row % LANES
            store(factors, context, LANES * row, times(2.0 * x, load(contexts, context, begin)))
            factors[context, LANES * row + row - begin] = x * x
    return factors


@kernel(NOTHING(RESULT_MATRIX, MATRIX, MATRIX, MATRIX))
def _add_variances(sums: Array, covariances: Array, contexts: Array, last: Array) -> None:
    """
    Add x' C x of every context and cell to the sums, two contexts at a time.

    A context that is left over takes twice as many cells at a time: as many sums side by side.

    sums         (contexts, LANES * cells)     the lanes of each cell; room for whole CELLS of them
    covariances  (cells, d(d+1)/2)             packed, d features
    contexts     (contexts, d or more)         x; as many as whole lanes take, 0 beyond
    last         (contexts, LANES * d)         as `_last_factors` returns them
    """
    cells = covariances.shape[0]
    features = last.shape[1] // LANES
    count = contexts.shape[0]
    for cell in range(0, cells if count > 1 else 0, CELLS):
        for context in range(0, count - 1, 2):
            one = load_sums(sums, context, LANES * cell)
            other = load_sums(sums, context + 1, LANES * cell)
            for row in range(features):
                begin = row * (row + 1) // 2
                whole = row - row % LANES
                x, y = 2.0 * contexts[context, row], 2.0 * contexts[context + 1, row]
                for column in range(0, whole, LANES):
                    block = load_cells(covariances, cell, begin + column)
                    one = plus_products(one, block, times(x, load(contexts, context, column)))
                    factors = times(y, load(contexts, context + 1, column))
                    other = plus_products(other, block, factors)
                block = load_rest(covariances, cell, begin + whole, row + 1 - whole)
                one = plus_products(one, block, load(last, context, LANES * row))
                other = plus_products(other, block, load(last, context + 1, LANES * row))
            store_sums(sums, context, LANES * cell, one)
            store_sums(sums, context + 1, LANES * cell, other)
    context = count - 1
    for cell in range(0, cells if count % 2 == 1 else 0, 2 * CELLS):
        is_pair = cell + CELLS < cells
        neighbour = cell + CELLS if is_pair else cell
        one = load_sums(sums, context, LANES * cell)
        other = load_sums(sums, context, LANES * neighbour)
        for row in range(features):
            begin = row * (row + 1) // 2
            whole = row - row % LANES
            x = 2.0 * contexts[context, row]
            for column in range(0, whole, LANES):
                factors = times(x, load(contexts, context, column))
                one = plus_products(one, load_cells(covariances, cell, begin + column), factors)
                if is_pair:
                    block = load_cells(covariances, neighbour, begin + column)
                    other = plus_products(other, block, factors)
            factors = load(last, context, LANES * row)
            block = load_rest(covariances, cell, begin + whole, row + 1 - whole)
            one = plus_products(one, block, factors)
            if is_pair:
                block = load_rest(covariances, neighbour, begin + whole, row + 1 - whole)
                other = plus_products(other, block, factors)
        store_sums(sums, context, LANES * neighbour, other)
        store_sums(sums, context, LANES * cell, one)


@kernel(RESULT_BATCH(STACK, STACK, MATRIX))
def score_batch(means: Array, covariances: Array, contexts: Array) -> Array:
    """
    `score` for many contexts, with the same result to the last bit.

    means        (arms, heads, features)       posterior means of the coefficients
    covariances  (arms, heads, d(d+1)/2)       sigma^2 * inverse precision, packed, d features
    contexts     (contexts, features)          one x per row
    returns      (contexts, arms, heads, 2)    mean and variance, as in `score`
    """
    arms, heads, features = means.shape
    cells = arms * heads
    coefficients = means.reshape(cells, features)
    packed = covariances.reshape(cells, covariances.shape[2])
    count = contexts.shape[0]
    scores = np.empty((count, cells, 2))
    for begin in range(0, count, _COMPANY):
        size = min(_COMPANY, count - begin)
        company = np.zeros((size, -(-features // LANES) * LANES))
        for member in range(size):
            for feature in range(features):
                company[member, feature] = contexts[begin + member, feature]
        sums = np.zeros((2, size, -(-cells // CELLS) * CELLS * LANES))
        _add_means(sums[0], coefficients, company)
        _add_variances(sums[1], packed, company, _last_factors(company, features))
        for member in range(size):
            for cell in range(cells):
                mean = total(load(sums[0], member, LANES * cell))
                variance = total(load(sums[1], member, LANES * cell))
                scores[begin + member, cell, 0] = mean
                scores[begin + member, cell, 1] = max(variance, 0.0)
    return scores.reshape(count, arms, heads, 2)


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
    scores: Array = score_batch(means, covariances, context.reshape(1, context.shape[0]))[0]
    return scores
