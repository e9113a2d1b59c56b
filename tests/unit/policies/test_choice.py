import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from bandit.domain.policy import Algorithm, PolicySettings
from bandit.policies.epsilon_greedy import EpsilonGreedy
from bandit.policies.linucb import LinUcb
from bandit.policies.policy import policy_of
from bandit.policies.thompson import Thompson
from tests import naive

EVERY = [policy_of(PolicySettings(algorithm=algorithm)) for algorithm in Algorithm]
seeds = st.integers(0, 2**32 - 1)


def propensities_of(policy, mean, variance):
    """(arms,) for one query."""
    return policy.propensities(mean[None], variance[None])[0]


def beliefs(seed, arms):
    random = np.random.default_rng(seed)
    return random.normal(size=arms), random.uniform(1e-4, 1.0, size=arms)


@settings(deadline=None, max_examples=60)
@given(seed=seeds, arms=st.integers(1, 12), policy=st.sampled_from(EVERY))
def test_propensities_sum_to_one(seed, arms, policy):
    mean, variance = beliefs(seed, arms)

    propensities = propensities_of(policy, mean, variance)

    assert propensities.shape == (arms,)
    assert propensities.sum() == pytest.approx(1.0, abs=1e-12)
    assert ((propensities >= 0) & (propensities <= 1)).all()


@settings(deadline=None, max_examples=60)
@given(seed=seeds, arms=st.integers(2, 12), policy=st.sampled_from(EVERY))
def test_the_order_of_the_arms_does_not_matter(seed, arms, policy):
    mean, variance = beliefs(seed, arms)
    order = np.random.default_rng(seed + 1).permutation(arms)

    propensities = propensities_of(policy, mean[order], variance[order])

    assert_allclose(propensities, propensities_of(policy, mean, variance)[order], atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(seed=seeds, arms=st.integers(2, 8), temperature=st.floats(0.05, 2.0))
def test_thompson_chooses_by_the_probability_to_be_the_best(seed, arms, temperature):
    mean, variance = beliefs(seed, arms)

    propensities = propensities_of(Thompson(temperature), mean, variance)

    oracle = naive.thompson(mean, temperature * np.sqrt(variance))
    assert_allclose(propensities, oracle, atol=2e-6)


def test_thompson_becomes_greedy_as_the_temperature_falls():
    mean, variance = np.array([0.5, 0.7, 0.69]), np.array([4.0, 1.0, 0.1])

    nearly, wholly = (
        propensities_of(Thompson(temperature), mean, variance) for temperature in (1e-4, 0.0)
    )

    assert_allclose(nearly, [0, 1, 0], atol=1e-9)
    assert_array_equal(wholly, [0, 1, 0])


def test_thompson_at_temperature_zero_shares_ties():
    mean, variance = np.array([0.7, 0.5, 0.7]), np.array([4.0, 1.0, 0.1])

    propensities = propensities_of(Thompson(0.0), mean, variance)

    assert_array_equal(propensities, [0.5, 0.0, 0.5])


def test_linucb_takes_the_best_at_the_optimistic_end():
    """M + .2 sqrt(V): .5 + .2 * 1 = .7, .6 + .2 * .25 = .65."""
    mean, variance = np.array([0.5, 0.6]), np.array([1.0, 0.0625])

    propensities = propensities_of(LinUcb(0.2), mean, variance)

    assert_array_equal(propensities, [1, 0])


def test_linucb_shares_ties():
    """.5 + .5 * 1 = .75 + .5 * .5 = 1."""
    mean, variance = np.array([0.5, 0.75, 0.2]), np.array([1.0, 0.25, 0.0])

    propensities = propensities_of(LinUcb(0.5), mean, variance)

    assert_array_equal(propensities, [0.5, 0.5, 0])


def test_greedy_shares_ties_and_looks_at_the_mean_alone():
    mean, variance = np.array([0.2, 0.6, 0.6]), np.array([100.0, 0.1, 3.0])

    propensities = propensities_of(
        policy_of(PolicySettings(algorithm=Algorithm.GREEDY)), mean, variance
    )

    assert_array_equal(propensities, [0, 0.5, 0.5])


def test_epsilon_greedy_spreads_epsilon_over_all_arms():
    """.2 / 4 for each, and .8 for the best."""
    mean, variance = np.array([0.1, 0.2, 0.9, 0.3]), np.ones(4)

    propensities = propensities_of(EpsilonGreedy(0.2), mean, variance)

    assert_allclose(propensities, [0.05, 0.05, 0.85, 0.05])


def test_uniform_ignores_all_beliefs():
    mean, variance = beliefs(1, 5)

    propensities = propensities_of(
        policy_of(PolicySettings(algorithm=Algorithm.UNIFORM)), mean, variance
    )

    assert_array_equal(propensities, np.full(5, 0.2))


@settings(deadline=None, max_examples=60)
@given(seed=seeds, arms=st.integers(2, 12), policy=st.sampled_from(EVERY))
def test_an_arm_that_is_not_eligible_might_as_well_not_be_there(seed, arms, policy):
    mean, variance = beliefs(seed, arms)
    is_open = np.random.default_rng(seed + 1).uniform(size=arms) < 0.6
    is_open[seed % arms] = True

    propensities = propensities_of(policy, np.where(is_open, mean, -np.inf), variance)

    assert_array_equal(propensities[~is_open], 0.0)
    assert_array_equal(
        propensities[is_open], propensities_of(policy, mean[is_open], variance[is_open])
    )


@settings(deadline=None, max_examples=60)
@given(seed=seeds, arms=st.integers(1, 12), policy=st.sampled_from(EVERY))
def test_a_query_has_the_same_propensities_alone_and_in_company(seed, arms, policy):
    rows = [beliefs(seed + row, arms) for row in range(5)]
    means, variances = (np.array(column) for column in zip(*rows, strict=True))

    together = policy.propensities(means, variances)

    assert_array_equal(together, [propensities_of(policy, *row) for row in rows])


def test_each_algorithm_reads_its_own_setting():
    settings = {"temperature": 0.3, "alpha": 0.4, "epsilon": 0.6}

    policies = [policy_of(PolicySettings(algorithm=each, **settings)) for each in Algorithm]

    assert policies == [
        Thompson(0.3),
        LinUcb(0.4),
        EpsilonGreedy(0.0),
        EpsilonGreedy(0.6),
        EpsilonGreedy(1.0),
    ]
