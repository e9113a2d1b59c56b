import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bandit.kernels.pacing import mean_at_price, price_for_cost, price_for_quality
from tests import naive

LOWEST, HIGHEST = 1e-1, 1e5  # about 1e-3 and 1e3 over costs of .01
CLOSE = 1e-7  # the rest of ln(1e6) after 30 bisections is 1.3e-8
seeds = st.integers(0, 2**32 - 1)
decision_counts = st.integers(1, 40)
arm_counts = st.integers(1, 6)


def a_window(seed, decisions, arms, *, closed=0.2):
    """Utilities, costs, qualities; a fifth of the arms could not be chosen."""
    random = np.random.default_rng(seed)
    utilities = random.uniform(0, 1, size=(decisions, arms))
    utilities[random.uniform(size=(decisions, arms)) < closed] = -np.inf
    costs = 0.01 * np.exp(random.normal(0, 1.5, size=(decisions, arms)))
    return utilities, costs, random.uniform(0, 1, size=(decisions, arms))


def lies_between(target, utilities, costs, values):
    """Whether no price meets the target so nearly that rounding decides."""
    prices = naive.prices_between(utilities, costs, LOWEST, HIGHEST)
    means = [naive.mean_at_price(utilities, costs, values, price) for price in prices]
    return target > 0 and not np.isclose(means, target, rtol=1e-9, atol=0.0).any()


def test_a_price_worked_out_by_hand():
    """The dear arm is worth .2 more and costs .04 more: it is given up at a price of 5."""
    utilities, costs = np.array([[0.7, 0.9]]), np.array([[0.01, 0.05]])

    assert price_for_cost(utilities, costs, 0.05, LOWEST, HIGHEST) == 0.0
    assert price_for_cost(utilities, costs, 0.02, LOWEST, HIGHEST) == pytest.approx(5.0)
    assert price_for_quality(utilities, costs, utilities, 0.8, LOWEST, HIGHEST) == pytest.approx(
        5.0
    )


@settings(deadline=None, max_examples=60)
@given(seed=seeds, decisions=decision_counts, arms=arm_counts, price=st.floats(0, 1e4))
def test_the_mean_at_a_price_is_that_of_its_definition(seed, decisions, arms, price):
    utilities, costs, values = a_window(seed, decisions, arms)

    found = mean_at_price(utilities, costs, values, price)

    assert found == pytest.approx(naive.mean_at_price(utilities, costs, values, price))


@settings(deadline=None, max_examples=60)
@given(seed=seeds, decisions=decision_counts, arms=arm_counts, share=st.floats(0.01, 1.2))
def test_the_price_is_the_smallest_that_meets_the_target(seed, decisions, arms, share):
    utilities, costs, _ = a_window(seed, decisions, arms)
    target = share * naive.mean_at_price(utilities, costs, costs, 0.0)
    assume(lies_between(target, utilities, costs, costs))

    price = price_for_cost(utilities, costs, target, LOWEST, HIGHEST)

    expected = naive.price_for_cost(utilities, costs, target, LOWEST, HIGHEST)
    if expected in (0.0, HIGHEST):
        assert price == expected
        return
    assert mean_at_price(utilities, costs, costs, price) <= target
    below = price * (1 - CLOSE)
    assert below < LOWEST or mean_at_price(utilities, costs, costs, below) > target


@settings(deadline=None, max_examples=60)
@given(seed=seeds, decisions=decision_counts, arms=arm_counts, share=st.floats(0.01, 1.2))
def test_a_higher_target_never_has_a_higher_price(seed, decisions, arms, share):
    utilities, costs, _ = a_window(seed, decisions, arms)
    target = share * naive.mean_at_price(utilities, costs, costs, 0.0)
    assume(target > 0)

    tight = price_for_cost(utilities, costs, target, LOWEST, HIGHEST)
    loose = price_for_cost(utilities, costs, 1.5 * target, LOWEST, HIGHEST)

    assert loose <= tight


@settings(deadline=None, max_examples=60)
@given(seed=seeds, decisions=decision_counts, arms=arm_counts)
def test_what_binds_nobody_costs_nothing_and_what_is_impossible_costs_most(seed, decisions, arms):
    utilities, costs, qualities = a_window(seed, decisions, arms, closed=0.0)
    best, worst = qualities.max() + 0.1, qualities.min() - 0.1

    assert price_for_cost(utilities, costs, costs.max(), LOWEST, HIGHEST) == 0.0
    assert price_for_cost(utilities, costs, costs.min() / 2, LOWEST, HIGHEST) == HIGHEST
    assert price_for_quality(utilities, costs, qualities, best, LOWEST, HIGHEST) == 0.0
    assert price_for_quality(utilities, costs, qualities, worst, LOWEST, HIGHEST) == HIGHEST


@settings(deadline=None, max_examples=60)
@given(seed=seeds, decisions=decision_counts, arms=arm_counts, share=st.floats(0.5, 1.0))
def test_the_price_of_a_floor_is_the_largest_that_keeps_it(seed, decisions, arms, share):
    """Where what is best is also what is chosen for nothing: then quality falls with the price."""
    utilities, costs, _ = a_window(seed, decisions, arms)
    qualities = np.where(np.isfinite(utilities), utilities, 0.0)
    floor = share * naive.mean_at_price(utilities, costs, qualities, 0.0)
    assume(lies_between(floor, utilities, costs, qualities))

    price = price_for_quality(utilities, costs, qualities, floor, LOWEST, HIGHEST)

    expected = naive.price_for_quality(utilities, costs, qualities, floor, LOWEST, HIGHEST)
    if expected in (0.0, HIGHEST):
        assert price == pytest.approx(expected)
        return
    assert mean_at_price(utilities, costs, qualities, price) >= floor * (1 - 1e-12)
    above = price * (1 + CLOSE)
    assert above > HIGHEST or mean_at_price(utilities, costs, qualities, above) < floor


@settings(deadline=None, max_examples=30)
@given(seed=seeds, decisions=decision_counts, price=st.floats(0, 1e4))
def test_an_arm_that_could_not_be_chosen_is_never_chosen(seed, decisions, price):
    """However cheap or good it would have been."""
    utilities, costs, values = a_window(seed, decisions, 4, closed=0.0)
    utilities[:, 2], costs[:, 2], values[:, 2] = -np.inf, 0.0, 1e9

    found = mean_at_price(utilities, costs, values, price)

    assert found < 1e9
    kept = np.ascontiguousarray(np.delete(np.stack([utilities, costs, values]), 2, axis=2))
    assert found == mean_at_price(*kept, price)


def test_decisions_whose_arms_are_all_gone_count_for_nothing():
    utilities = np.array([[-np.inf, -np.inf], [0.5, 0.9]])
    costs = np.array([[5.0, 5.0], [0.1, 0.3]])

    assert mean_at_price(utilities, costs, costs, 0.0) == pytest.approx(0.3)
    assert mean_at_price(utilities[:1], costs[:1], costs[:1], 0.0) == 0.0
    assert price_for_cost(utilities[:1], costs[:1], 1e-9, LOWEST, HIGHEST) == 0.0
