import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from bandit.domain.policy import CostForm, PolicySettings, Range
from bandit.domain.preference import Preference, WillingnessToPay
from bandit.domain.price import Price, PriceVersion
from bandit.policies.estimates import Estimates, estimates_from, with_added_cost
from bandit.policies.utility import (
    UNPRICED_RANGE,
    Normaliser,
    cost_range_of,
    normaliser_of,
    prices_of,
    utilities,
    utility_of,
    weights_of,
)
from tests.builders import NOW, an_arm

# Spans of ln 10^4 and ln 10^2, so that halves and quarters are decades.
NORMALISER = Normaliser(Range(1e-5, 1e-1), Range(100.0, 10_000.0))
TRADEOFFS = (Preference(0.5, 0.3, 0.2), Preference(0.8, 0.2), WillingnessToPay(0.02))


def some_estimates(quality, cost_usd, latency_ms, variance=((0.01, 0.04, 0.09),)):
    return Estimates(
        np.array(quality, float),
        np.log(np.array(cost_usd, float)),
        np.log(np.array(latency_ms, float)),
        np.array(variance, float),
        cost_noise=np.full(len(quality), 0.25),
    )


def weighing(tradeoff):
    return np.array(weights_of(tradeoff))


def test_the_utility_of_a_preference_worked_out_by_hand():
    """c = 1e-3 is half way, l = 1000 is half way: u = .5 * .9 - .3 * .5 - .2 * .5 = .2."""
    values = np.array([0.9]), np.array([1e-3]), np.array([1000.0])

    utility = utility_of(*values, Preference(0.5, 0.3, 0.2), NORMALISER)

    assert_allclose(utility, [0.2])


def test_the_utility_of_a_willingness_to_pay_worked_out_by_hand():
    """A unit of quality is worth 2 cents: u = .9 - .005 / .02 = .65."""
    values = np.array([0.9]), np.array([0.005]), np.array([1000.0])

    utility = utility_of(*values, WillingnessToPay(0.02), NORMALISER)

    assert_allclose(utility, [0.65])


def test_capped_linear_cost_is_the_share_of_the_highest_up_to_one():
    """c / .1: .025 is a quarter, .2 is capped."""
    normaliser = replace(NORMALISER, cost_form=CostForm.CAPPED_LINEAR)

    cost = normaliser.cost(np.array([0.0, 0.025, 0.2]))

    assert_allclose(cost, [0.0, 0.25, 1.0])


def test_log_cost_and_latency_are_clipped_to_their_ranges():
    """1e-4 is a quarter of four decades; 316 ms a quarter of two."""
    cost = NORMALISER.cost(np.array([0.0, 1e-6, 1e-4, 5.0]))
    latency = NORMALISER.latency(np.array([1.0, 100 * math.sqrt(10), 1e9]))

    assert_allclose(cost, [0, 0, 0.25, 1])
    assert_allclose(latency, [0, 0.25, 1])


def test_latency_without_weight_is_not_looked_at():
    values = np.array([0.9]), np.array([1e-3]), np.array([np.nan])

    utility = utility_of(*values, Preference(0.5, 0.5), NORMALISER)

    assert_allclose(utility, [0.2])


def test_the_variance_worked_out_by_hand():
    """V = .5^2 .01 + (.3 / ln 1e4)^2 .04 + (.2 / ln 100)^2 .09."""
    estimates = some_estimates([0.9], [1e-3], [1000.0])

    mean, variance = utilities(estimates, weighing(Preference(0.5, 0.3, 0.2)), NORMALISER)

    by_hand = 0.0025 + (0.3 / math.log(1e4)) ** 2 * 0.04 + (0.2 / math.log(100)) ** 2 * 0.09
    assert_allclose(mean, [0.2])
    assert_allclose(variance, [by_hand])


@settings(deadline=None, max_examples=100)
@given(
    quality=st.floats(0.0, 1.0),
    log_cost=st.floats(math.log(2e-5), math.log(5e-2)),
    log_latency=st.floats(math.log(150), math.log(9_000)),
    tradeoff=st.sampled_from(TRADEOFFS),
    form=st.sampled_from(CostForm),
)
def test_the_variance_is_that_of_the_numerical_derivatives(
    quality, log_cost, log_latency, tradeoff, form
):
    """Away from the clips: sum of (du / d head)^2 v, by central differences."""
    normaliser = replace(NORMALISER, cost_form=form)
    place = np.array([quality, log_cost, log_latency])
    variance = np.array([0.01, 0.04, 0.09])

    def utility_at(heads):
        cost_usd, latency_ms = np.exp(heads[1:2]), np.exp(heads[2:3])
        return utility_of(heads[:1], cost_usd, latency_ms, tradeoff, normaliser)[0]

    estimates = Estimates(place[:1], place[1:2], place[2:3], variance[None], np.zeros(1))
    _, found = utilities(estimates, weighing(tradeoff), normaliser)

    step = 1e-5
    slopes = [
        (utility_at(place + step * axis) - utility_at(place - step * axis)) / (2 * step)
        for axis in np.eye(3)
    ]
    assert_allclose(found, [np.square(slopes) @ variance], rtol=1e-6)


def test_the_cost_range_spans_the_list_prices_threefold_either_way():
    """Lists at 500 tokens: (1 * 500 + 4 * 200) / 1e6 = .0013 and ten times that."""
    arms = [an_arm(price=Price(1.0, 4.0)), an_arm(price=Price(10.0, 40.0)), an_arm(price=None)]

    spanned = cost_range_of(prices_of(arms, NOW))

    assert spanned.low == pytest.approx(0.0013 / 3)
    assert spanned.high == pytest.approx(0.013 * 3)


def test_without_any_price_the_cost_range_is_a_wide_one():
    later = an_arm(price=Price(1.0, 4.0), valid_from=NOW + timedelta(days=1))

    spanned = cost_range_of(prices_of([an_arm(price=None), later], NOW))

    assert spanned == UNPRICED_RANGE


def test_free_arms_have_a_cost_range():
    spanned = cost_range_of([Price()])

    assert 0 < spanned.low < spanned.high


def test_declared_ranges_are_the_ones_used():
    declared = PolicySettings(cost_range=Range(1e-3, 1.0), latency_range_ms=Range(1.0, 2.0))

    normaliser = normaliser_of(declared, [an_arm()], NOW)

    assert (normaliser.cost_range, normaliser.latency_range) == (Range(1e-3, 1.0), Range(1.0, 2.0))


@settings(deadline=None, max_examples=100)
@given(ratio=st.floats(1e-3, 1e3), learned=st.floats(-3, 3), noise=st.floats(0.0, 2.0))
def test_a_price_ratio_scales_the_predicted_cost_by_exactly_that(ratio, learned, noise):
    arm = an_arm(price=Price(2.0, 8.0, 1e-4))
    cut = Price(2.0 * ratio, 8.0 * ratio, 1e-4 * ratio)
    told = replace(arm, prices=(*arm.prices, PriceVersion(NOW, cut)))
    scores = np.array([[[0.0, 0.0], [learned, 0.1], [0.0, 0.0]]])
    noises = np.full((1, 3), noise)

    def predicted(at):
        list_usd = np.array([told.price_at(at).list_usd(1000)])
        return estimates_from(scores, noises, list_usd, quality_prior_mean=0.9).cost_usd

    before, after = predicted(NOW - timedelta(seconds=1)), predicted(NOW)

    assert_allclose(after / before, ratio, rtol=1e-12)


def test_estimates_put_the_prior_mean_back_worked_out_by_hand():
    """q = .9 - .1; c = .002 exp(.5 + .2 / 2); l = 1500 exp(-.3 + .4 / 2) ms."""
    scores = np.array([[[-0.1, 0.01], [0.5, 0.04], [-0.3, 0.09]]])
    noise = np.array([[0.1, 0.2, 0.4]])

    estimates = estimates_from(scores, noise, np.array([0.002]), quality_prior_mean=0.9)

    cost_usd, latency_ms = 0.002 * math.exp(0.6), 1500 * math.exp(-0.1)
    assert_allclose(estimates.mean, [[0.8, cost_usd, latency_ms]])
    assert_allclose(estimates.deviation, [[0.1, 0.2 * cost_usd, 0.3 * latency_ms]])


@pytest.mark.parametrize("learned", [-1e6, 1e6])
def test_absurd_beliefs_stay_finite(learned):
    scores = np.full((1, 3, 2), learned)
    scores[..., 1] = 1.0

    estimates = estimates_from(scores, np.ones((1, 3)), np.array([0.002]), quality_prior_mean=0.9)

    assert np.isfinite(estimates.mean).all()
    assert np.isfinite(estimates.deviation).all()


def test_a_cost_of_nothing_more_changes_no_bit():
    estimates = some_estimates([0.8, 0.9], [0.001, 0.01], [300, 300], [[0.01, 0.04, 0.09]] * 2)

    charged = with_added_cost(estimates, np.array([0.0, 0.03]))

    assert charged.log_cost[0] == estimates.log_cost[0]
    assert (charged.variance[0] == estimates.variance[0]).all()
    assert charged.quality is estimates.quality


@pytest.mark.parametrize("tradeoff", TRADEOFFS)
def test_an_added_cost_moves_utility_by_that_cost_and_leaves_the_deviation_in_usd(tradeoff):
    """c = .001 and .003 more: utility at .004, and a deviation of .2 * .001 USD as before."""
    estimates = some_estimates([0.8], [0.001], [300])

    charged = with_added_cost(estimates, np.array([0.003]))
    mean, _ = utilities(charged, weighing(tradeoff), NORMALISER)

    expected = utility_of(
        np.array([0.8]), np.array([0.004]), np.array([300.0]), tradeoff, NORMALISER
    )
    assert_allclose(mean, expected)
    assert_allclose(charged.deviation, estimates.deviation)


@given(cost_usd=st.floats(1e-12, 1e12), added_usd=st.floats(0, allow_infinity=False))
def test_any_added_cost_leaves_finite_numbers(cost_usd, added_usd):
    estimates = some_estimates([0.8], [cost_usd], [300])

    charged = with_added_cost(estimates, np.array([added_usd]))
    mean, variance = utilities(charged, weighing(WillingnessToPay(1e-9)), NORMALISER)

    assert np.isfinite([*mean, *variance, *charged.log_cost]).all()
    assert charged.log_cost[0] >= estimates.log_cost[0] - 1e-9
