import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from bandit.kernels.scoring import score, score_batch
from tests import naive

seeds = st.integers(0, 2**32 - 1)
arm_counts = st.integers(1, 9)
head_counts = st.integers(1, 4)
feature_counts = st.integers(1, 40)


def posteriors(seed, arms, heads, features):
    """Means (arms, heads, features) and full covariances (arms, heads, features, features)."""
    random = np.random.default_rng(seed)
    roots = random.normal(size=(arms, heads, features, features))
    return random.normal(size=(arms, heads, features)), roots @ roots.swapaxes(2, 3)


def test_one_context_scores_as_worked_out_by_hand():
    """Mean (1, 2), covariance [[1, .5], [.5, 2]], x = (2, 3): 8 and 4 + 6 + 18."""
    means = np.array([[[1.0, 2.0]]])
    covariances = np.array([[[1.0, 0.5, 2.0]]])

    scores = score(means, covariances, np.array([2.0, 3.0]))

    assert_allclose(scores, [[[8.0, 28.0]]])


@settings(deadline=None, max_examples=60)
@given(seed=seeds, arms=arm_counts, heads=head_counts, features=feature_counts)
def test_scores_are_those_of_the_full_matrices(seed, arms, heads, features):
    means, covariances = posteriors(seed, arms, heads, features)
    context = np.random.default_rng(seed + 1).normal(size=features)

    scores = score(means, naive.packed(covariances), context)

    expected = naive.score(means, covariances, context)
    assert_allclose(scores, expected, rtol=1e-10, atol=1e-10)


@settings(deadline=None, max_examples=60)
@given(seed=seeds, arms=arm_counts, heads=head_counts, features=feature_counts)
def test_every_sum_runs_in_the_lanes_written_down_to_the_last_bit(seed, arms, heads, features):
    """So no compiler and no processor has a say in it: none reorders, none fuses."""
    means, covariances = posteriors(seed, arms, heads, features)
    context = np.random.default_rng(seed + 1).normal(size=features)

    scores = score(means, naive.packed(covariances), context)

    for cell in np.ndindex(arms, heads):
        expected = naive.score_in_lanes(means[cell], covariances[cell], context)
        assert_array_equal(scores[cell], expected)


@settings(deadline=None, max_examples=60)
@given(
    seed=seeds,
    arms=arm_counts,
    heads=head_counts,
    features=feature_counts,
    count=st.integers(0, 70),
)
def test_a_batch_equals_its_contexts_one_by_one_to_the_last_bit(seed, arms, heads, features, count):
    means, covariances = posteriors(seed, arms, heads, features)
    covariances = naive.packed(covariances)
    contexts = np.random.default_rng(seed + 1).normal(size=(count, features))

    batch = score_batch(means, covariances, contexts)

    assert batch.shape == (count, arms, heads, 2)
    for context, scores in zip(contexts, batch, strict=True):
        assert_array_equal(scores, score(means, covariances, context))


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 64, 67])
@pytest.mark.parametrize(("arms", "features"), [(12, 33), (12, 48), (11, 1), (3, 8), (1, 129)])
def test_a_batch_of_a_serving_size_equals_its_contexts_one_by_one(arms, features, count):
    means, covariances = posteriors(3, arms, 3, features)
    covariances = naive.packed(covariances)
    contexts = np.random.default_rng(4).normal(size=(count, features))

    batch = score_batch(means, covariances, contexts)

    assert_array_equal(batch, [score(means, covariances, context) for context in contexts])


@settings(deadline=None, max_examples=40)
@given(seed=seeds, arms=arm_counts, features=feature_counts)
def test_the_order_of_the_arms_does_not_matter(seed, arms, features):
    means, covariances = posteriors(seed, arms, 3, features)
    covariances = naive.packed(covariances)
    context = np.random.default_rng(seed + 1).normal(size=features)
    order = np.random.default_rng(seed + 2).permutation(arms)

    permuted = score(means[order], covariances[order], context)

    assert_array_equal(permuted, score(means, covariances, context)[order])


@settings(deadline=None, max_examples=40)
@given(seed=seeds, exponent=st.integers(-60, 60))
def test_a_context_twice_as_long_has_twice_the_mean_and_four_times_the_variance(seed, exponent):
    means, covariances = posteriors(seed, 5, 3, 7)
    covariances = naive.packed(covariances)
    context = np.random.default_rng(seed + 1).normal(size=7)

    scaled = score(means, covariances, context * 2.0**exponent)

    scores = score(means, covariances, context)
    assert_array_equal(scaled[..., 0], scores[..., 0] * 2.0**exponent)
    assert_array_equal(scaled[..., 1], scores[..., 1] * 4.0**exponent)


def test_a_cell_that_is_not_finite_leaves_the_others_alone():
    """Lanes beyond the end of a row, and rows beyond the last, are read from nowhere."""
    means, covariances = posteriors(5, 9, 1, 13)
    covariances = naive.packed(covariances)
    context = np.random.default_rng(6).normal(size=13)
    expected = score(means, covariances, context)
    means[4], covariances[4] = np.nan, np.inf

    scores = score(means, covariances, context)

    assert not np.isfinite(scores[4]).any()
    assert_array_equal(np.delete(scores, 4, axis=0), np.delete(expected, 4, axis=0))


@pytest.mark.parametrize("count", [1, 8])
def test_a_variance_that_rounds_below_zero_is_zero(count):
    means = np.zeros((5, 1, 2))
    covariances = np.tile([1.0, -1.0 - 1e-15, 1.0], (5, 1, 1))

    batch = score_batch(means, covariances, np.ones((count, 2)))

    assert_array_equal(batch, np.zeros((count, 5, 1, 2)))


def test_frozen_posteriors_are_accepted():
    means, covariances = posteriors(1, 4, 3, 5)
    covariances = naive.packed(covariances)
    expected = score(means, covariances, np.ones(5))
    means.setflags(write=False)
    covariances.setflags(write=False)

    scores = score(means, covariances, np.ones(5))

    assert_array_equal(scores, expected)
