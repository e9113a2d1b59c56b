import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from bandit.kernels.propensity import draw, greedy, thompson
from tests import naive

seeds = st.integers(0, 2**32 - 1)
arm_counts = st.integers(1, 8)
# The decimal exponents between which deviations are spread; means lie within the same scale.
spreads = st.sampled_from([(0.0, 0.0), (-1.0, 0.0), (-3.0, 0.0), (-6.0, 0.0)])


def arms_of(seed, count, spread=(-1.0, 0.0), *, certain=0.0):
    """Means and deviations; each arm is a point mass with probability `certain`."""
    random = np.random.default_rng(seed)
    deviations = 10 ** random.uniform(*spread, size=count)
    means = random.normal(size=count) * np.where(random.random(count) < 0.5, deviations, 0.3)
    means = np.where(random.random(count) < 0.3, means[0], means)
    return means, np.where(random.random(count) < certain, 0.0, deviations)


def test_two_arms_compare_as_the_difference_of_two_gaussians():
    """P(first wins) = Phi((1 - 0) / sqrt(3^2 + 4^2)) = Phi(0.2)."""
    means, deviations = np.array([1.0, 0.0]), np.array([3.0, 4.0])

    propensities = thompson(means, deviations)

    first = math.erfc(-0.2 / math.sqrt(2)) / 2
    assert_allclose(propensities, [first, 1 - first], atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3, 12, 50, 200])
def test_equal_arms_have_equal_propensities(count):
    means, deviations = np.full(count, 0.7), np.full(count, 0.02)

    propensities = thompson(means, deviations)

    assert_allclose(propensities, 1 / count, rtol=1e-12)


def test_a_single_arm_is_certain():
    means = np.array([3.0])

    propensities = [thompson(means, np.array([deviation])) for deviation in (0.0, 1e-9, 5.0)]

    assert_array_equal(propensities, [[1.0], [1.0], [1.0]])


@settings(deadline=None, max_examples=100)
@given(seed=seeds, count=arm_counts, spread=spreads, certain=st.sampled_from([0.0, 0.3]))
def test_propensities_are_those_of_a_dense_integration(seed, count, spread, certain):
    means, deviations = arms_of(seed, count, spread, certain=certain)

    propensities = thompson(means, deviations)

    assert_allclose(propensities, naive.thompson(means, deviations), atol=2e-6)


@pytest.mark.parametrize("spread", [(0.0, 0.0), (-1.0, 0.0), (-6.0, 0.0)])
@pytest.mark.parametrize("count", [12, 50])
def test_many_arms_are_as_accurate_as_few(count, spread):
    means, deviations = arms_of(count, count, spread)

    propensities = thompson(means, deviations)

    assert_allclose(propensities, naive.thompson(means, deviations), atol=2e-6)


@pytest.mark.parametrize("count", [4, 12, 50])
def test_propensities_are_the_frequencies_of_drawing_from_the_gaussians(count):
    """4e5 draws; 5 standard errors of a frequency are exceeded by chance once in 1.7e6 arms."""
    draws = 400_000
    random = np.random.default_rng(20)
    means, deviations = random.normal(0.8, 0.1, count), random.uniform(0.02, 0.3, count)

    propensities = thompson(means, deviations)

    wins = np.zeros(count)
    for _ in range(10):
        samples = random.normal(means, deviations, size=(draws // 10, count))
        wins += np.bincount(samples.argmax(axis=1), minlength=count)
    standard_errors = np.sqrt(propensities * (1 - propensities) / draws)
    assert (np.abs(wins / draws - propensities) <= 5 * standard_errors + 1e-5).all()


@settings(deadline=None, max_examples=150)
@given(seed=seeds, count=st.integers(1, 60), spread=spreads, certain=st.sampled_from([0.0, 0.3]))
def test_propensities_are_probabilities(seed, count, spread, certain):
    means, deviations = arms_of(seed, count, spread, certain=certain)

    propensities = thompson(means, deviations)

    assert ((propensities >= 0) & (propensities <= 1)).all()
    assert abs(propensities.sum() - 1) <= 1e-12


@settings(deadline=None, max_examples=100)
@given(seed=seeds, count=arm_counts, spread=spreads, certain=st.sampled_from([0.0, 0.3]))
def test_the_order_of_the_arms_does_not_matter(seed, count, spread, certain):
    means, deviations = arms_of(seed, count, spread, certain=certain)
    order = np.random.default_rng(seed + 1).permutation(count)

    permuted = thompson(means[order], deviations[order])

    assert_allclose(permuted, thompson(means, deviations)[order], rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=100)
@given(seed=seeds, count=arm_counts, shift=st.floats(-100, 100), exponent=st.floats(-9, 9))
def test_neither_the_origin_nor_the_unit_of_utility_matters(seed, count, shift, exponent):
    means, deviations = arms_of(seed, count)
    unit = 10**exponent

    moved = thompson((means + shift) * unit, deviations * unit)

    assert_allclose(moved, thompson(means, deviations), atol=1e-6)


@settings(deadline=None, max_examples=100)
@given(seed=seeds, count=st.integers(2, 8), spread=spreads, rise=st.floats(0, 2))
def test_an_arm_with_a_higher_mean_is_not_chosen_less(seed, count, spread, rise):
    means, deviations = arms_of(seed, count, spread)
    higher = means + rise * deviations * (np.arange(count) == 0)

    propensities = thompson(higher, deviations)

    assert propensities[0] >= thompson(means, deviations)[0] - 1e-5


def test_an_arm_wholly_under_the_window_is_never_chosen():
    """The window begins at 10 - 5; the second arm ends at -1 + 5, the third at 1 + 5."""
    means, deviations = np.array([10.0, -1.0, 1.0]), np.ones(3)

    propensities = thompson(means, deviations)

    assert propensities[1] == 0.0
    assert 0.0 < propensities[2] < 1e-6


def test_deviations_below_the_rounding_of_the_means_still_count():
    means, deviations = np.full(2, 1e6), np.array([1e-12, 1e-11])

    propensities = thompson(means, deviations)

    assert_allclose(propensities, [0.5, 0.5], atol=1e-6)


@pytest.mark.parametrize("ratio", [1e-6, 1e-12, 1e-100, 1e-300])
def test_a_vanishing_deviation_tends_to_a_point_mass(ratio):
    means = np.array([0.3, 0.0, 0.3])

    propensities = thompson(means, np.array([ratio, 1.0, ratio]))

    point_masses = thompson(means, np.array([0.0, 1.0, 0.0]))
    assert_allclose(propensities, point_masses, atol=1e-5)


def test_without_variance_the_highest_mean_wins_and_ties_share():
    means, deviations = np.array([0.2, 0.9, 0.9, 0.5]), np.zeros(4)

    propensities = thompson(means, deviations)

    assert_array_equal(propensities, [0.0, 0.5, 0.5, 0.0])


def test_a_point_mass_wins_when_the_gaussians_fall_below_it():
    """P(both Gaussians below 1) = Phi(1)^2; the equals share it, and the lower one gets nothing."""
    means = np.array([1.0, 0.0, 1.0, 0.0, 0.9])
    deviations = np.array([0.0, 1.0, 0.0, 1.0, 0.0])

    propensities = thompson(means, deviations)

    below = (math.erfc(-1 / math.sqrt(2)) / 2) ** 2
    expected = [below / 2, (1 - below) / 2, below / 2, (1 - below) / 2, 0.0]
    assert_allclose(propensities, expected, atol=1e-6)


def test_frozen_arms_are_accepted_and_stay_as_they_were():
    means, deviations = np.array([0.1, 0.2]), np.array([0.3, 0.4])
    expected = thompson(means, deviations)
    means.setflags(write=False)
    deviations.setflags(write=False)

    propensities = thompson(means, deviations)

    assert_array_equal(propensities, expected)


@settings(deadline=None, max_examples=100)
@given(scores=st.lists(st.integers(-3, 3), min_size=1, max_size=8))
def test_greedy_shares_everything_among_the_highest(scores):
    scores = np.array(scores, dtype=float)

    propensities = greedy(scores)

    assert_array_equal(propensities, naive.greedy(scores))


@settings(deadline=None, max_examples=200)
@given(
    shares=st.lists(st.sampled_from([0.0, 0.0, 0.1, 1.0, 7.0]), min_size=1, max_size=8).filter(any),
    uniform=st.one_of(st.floats(0, 1, exclude_max=True), st.sampled_from([0.0, 1 - 2**-53])),
)
def test_a_draw_is_the_inverse_of_the_distribution_and_never_an_impossible_arm(shares, uniform):
    propensities = np.array(shares) / sum(shares)

    arm = draw(propensities, uniform)

    assert arm == naive.draw(propensities, uniform)
    assert propensities[arm] > 0


def test_a_draw_at_either_end_is_the_first_or_the_last_possible_arm():
    propensities = np.array([0.0, 0.5, 0.0, 0.5, 0.0])

    arms = [draw(propensities, uniform) for uniform in (0.0, 0.5 - 2**-53, 0.5, 1 - 2**-53)]

    assert arms == [1, 1, 3, 3]


def test_a_draw_beyond_a_sum_that_rounds_below_one_is_the_last_possible_arm():
    propensities = np.append(np.full(10, 0.1), 0.0)
    beyond = 1 - 2**-53
    assert np.cumsum(propensities)[-1] <= beyond

    arm = draw(propensities, beyond)

    assert arm == 9


def test_evenly_spaced_draws_have_the_frequencies_of_the_propensities():
    propensities = np.array([0.25, 0.0, 0.5, 0.125, 0.125])
    uniforms = np.arange(8000) / 8000

    arms = [draw(propensities, uniform) for uniform in uniforms]

    assert_array_equal(np.bincount(arms, minlength=5) / 8000, propensities)
