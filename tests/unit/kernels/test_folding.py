import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from bandit.kernels.folding import fold, pack, unpack_gram
from tests import naive

CELLS = 4
seeds = st.integers(0, 2**32 - 1)
feature_counts = st.integers(1, 12)
counts = st.integers(0, 30)


def no_sums(features):
    return np.zeros((CELLS, features * (features + 1) // 2 + features + 2))


def outcomes(seed, features, count):
    """Contexts, targets, weights and cells of a micro-batch."""
    random = np.random.default_rng(seed)
    return (
        random.normal(size=(count, features)),
        random.normal(size=count),
        random.uniform(0.1, 2.0, size=count),
        random.integers(0, CELLS, size=count),
    )


def sums_so_far(seed, features):
    return fold(no_sums(features), *outcomes(seed + 1, features, 20))


def test_one_outcome_gives_the_sums_worked_out_by_hand():
    """x = (2, 3), y = 5, weight 2: gram (8, 12, 18), moment (20, 30), square 50, weight 2."""
    context, target, weight = np.array([[2.0, 3.0]]), np.array([5.0]), np.array([2.0])

    folded = fold(no_sums(2), context, target, weight, np.array([1]))

    assert_array_equal(folded[1], [8.0, 12.0, 18.0, 20.0, 30.0, 50.0, 2.0])
    assert_array_equal(folded[[0, 2, 3]], 0.0)


@settings(deadline=None, max_examples=60)
@given(seed=seeds, features=feature_counts, count=counts)
def test_a_micro_batch_folds_as_by_outer_products(seed, features, count):
    sums = sums_so_far(seed, features)
    batch = outcomes(seed, features, count)

    folded = fold(sums, *batch)

    assert_allclose(folded, naive.fold(sums, *batch), atol=1e-10)


@settings(deadline=None, max_examples=40)
@given(seed=seeds, features=feature_counts, count=counts)
def test_a_batch_equals_its_outcomes_in_sequence_to_the_last_bit(seed, features, count):
    sums = sums_so_far(seed, features)
    batch = outcomes(seed, features, count)

    folded = fold(sums, *batch)

    one_by_one = sums
    for index in range(count):
        one_by_one = fold(one_by_one, *(values[index : index + 1] for values in batch))
    assert_array_equal(folded, one_by_one)


@settings(deadline=None, max_examples=40)
@given(seed=seeds, features=feature_counts, count=counts)
def test_the_order_of_the_outcomes_does_not_matter(seed, features, count):
    sums = sums_so_far(seed, features)
    batch = outcomes(seed, features, count)
    order = np.random.default_rng(seed + 2).permutation(count)

    shuffled = fold(sums, *(values[order] for values in batch))

    assert_allclose(shuffled, fold(sums, *batch), atol=1e-10)


@settings(deadline=None, max_examples=40)
@given(seed=seeds, features=feature_counts, count=counts, split=st.integers(0, 30))
def test_the_sums_of_two_workers_add_up_to_those_of_one(seed, features, count, split):
    batch = outcomes(seed, features, count)
    empty = no_sums(features)

    left = fold(empty, *(values[:split] for values in batch))
    right = fold(empty, *(values[split:] for values in batch))

    assert_allclose(left + right, fold(empty, *batch), atol=1e-10)


@settings(deadline=None, max_examples=40)
@given(seed=seeds, features=feature_counts, count=counts)
def test_a_negative_weight_takes_an_outcome_back(seed, features, count):
    sums = sums_so_far(seed, features)
    contexts, targets, weights, cells = outcomes(seed, features, count)
    folded = fold(sums, contexts, targets, weights, cells)

    taken_back = fold(folded, contexts, targets, -weights, cells)

    assert_allclose(taken_back, sums, atol=1e-10)


def test_the_sums_passed_in_stay_as_they_were():
    sums = sums_so_far(1, 3)
    before = sums.copy()
    sums.setflags(write=False)

    folded = fold(sums, *outcomes(2, 3, 5))

    assert_array_equal(sums, before)
    assert folded.flags.writeable


@settings(deadline=None, max_examples=40)
@given(seed=seeds, features=feature_counts)
def test_an_unpacked_gram_matrix_is_the_weighted_product_of_the_contexts(seed, features):
    contexts, targets, weights, _ = outcomes(seed, features, 10)
    cells = np.zeros(10, dtype=np.int64)
    sums = fold(no_sums(features), contexts, targets, weights, cells)

    gram = unpack_gram(sums[0], np.zeros(features))

    assert_allclose(gram, contexts.T @ (weights[:, None] * contexts), atol=1e-10)
    assert_array_equal(gram, gram.T)
    assert_array_equal(unpack_gram(sums[0], np.ones(features)), gram + np.eye(features))
    assert_array_equal(pack(gram, 2.0), 2 * sums[0][: features * (features + 1) // 2])
