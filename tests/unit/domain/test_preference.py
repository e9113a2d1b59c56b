import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from bandit.domain.errors import InvalidInput
from bandit.domain.objective import Objective
from bandit.domain.preference import Preference, WillingnessToPay

NAMES = ("quality", "cost", "latency")
weights = st.floats(0.0, 1e308, allow_subnormal=True)


def test_weights_are_brought_to_sum_one():
    """3 : 1 : 0 is .75 : .25 : 0."""
    given_weights = {"quality": 3.0, "cost": 1.0}

    preference = Preference(**given_weights)

    assert preference.weights == (0.75, 0.25, 0.0)


@settings(deadline=None, max_examples=200)
@given(given_weights=st.tuples(weights, weights, weights).filter(any))
def test_any_weights_keep_their_proportions_and_sum_to_one(given_weights):
    largest = max(given_weights)

    preference = Preference(*given_weights)

    assert math.isclose(sum(preference.weights), 1.0, rel_tol=1e-12)
    wanted = [weight / largest * max(preference.weights) for weight in given_weights]
    assert_allclose(preference.weights, wanted, rtol=1e-12, atol=1e-300)


def test_huge_weights_do_not_overflow():
    """Their sum would be infinite."""
    huge = 1.7e308

    preference = Preference(huge, huge, huge)

    assert_allclose(preference.weights, [1 / 3] * 3, rtol=1e-15)


def test_a_single_tiny_weight_is_everything():
    smallest = 5e-324

    preference = Preference(cost=smallest)

    assert preference.weights == (0.0, 1.0, 0.0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weight", [math.nan, math.inf, -math.inf, -1e-9])
def test_a_weight_that_is_not_finite_or_is_negative_is_refused_by_name(name, weight):
    given_weights = {"quality": 1.0, name: weight}

    with pytest.raises(InvalidInput) as refusal:
        Preference(**given_weights)

    assert refusal.value.field == f"preference.{name}"


def test_weights_that_are_all_zero_are_refused():
    with pytest.raises(InvalidInput, match="at least one weight must be positive") as refusal:
        Preference()

    assert refusal.value.field == "preference"


def test_a_preference_needs_what_it_weighs():
    preference = Preference(quality=1, latency=1)

    needed = preference.needs()

    assert needed == {Objective.QUALITY, Objective.LATENCY}


@pytest.mark.parametrize("usd", [math.nan, math.inf, 0.0, -0.01])
def test_a_willingness_to_pay_that_is_not_positive_is_refused(usd):
    with pytest.raises(InvalidInput) as refusal:
        WillingnessToPay(usd)

    assert refusal.value.field == "willingness_to_pay_usd"


def test_a_willingness_to_pay_needs_quality_and_cost():
    willingness = WillingnessToPay(0.01)

    needed = willingness.needs()

    assert needed == {Objective.QUALITY, Objective.COST}
