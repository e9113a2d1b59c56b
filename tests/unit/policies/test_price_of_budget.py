import math
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from bandit.domain.arm import ArmId
from bandit.domain.budget import Budget
from bandit.domain.price import Price
from bandit.policies.pacing import (
    FIRST_PRICE,
    WINDOW,
    YOUNG,
    Considered,
    Pacer,
    cost_target,
    quality_target,
)
from tests import naive

A, B, C = (ArmId(UUID(int=number)) for number in (1, 2, 3))
PRICES = (Price(1.0, 4.0), Price(20.0, 80.0))
TARGET = Budget(target_usd=0.004)
seeds = st.integers(0, 2**32 - 1)


def considered(seed, arms=2):
    random = np.random.default_rng(seed)
    return Considered(
        utility=random.uniform(0.5, 1.0, size=arms),
        quality=random.uniform(0.5, 1.0, size=arms),
        cost_ratio=np.exp(random.normal(0, 0.3, size=arms)),
        input_tokens=int(random.integers(1, 4000)),
    )


def asked(pacer, budget=TARGET, *, balance=0.0, arms=(A, B), prices=PRICES):
    return pacer.price(budget, balance, arms=arms, prices=prices, unpriced_usd=0.01)


def a_pacer(seed, decisions, *, prices=PRICES, budget=TARGET):
    """Asked before each decision, as a router does."""
    pacer = Pacer(())
    for number in range(decisions):
        asked(pacer, budget, prices=prices)
        pacer.record(considered(seed + number))
    return pacer


def costs_of(seed, decisions, prices=PRICES):
    """(decisions, arms) USD expected of the same decisions, one at a time."""
    kept = [considered(seed + number) for number in range(decisions)]
    return np.array(
        [[price.list_usd(one.input_tokens) for price in prices] * one.cost_ratio for one in kept]
    )


def test_targets_worked_out_by_hand():
    """.997 B + A / 300, from .1 B to 1.1 B; the floor less A / 300, from 0 to 1."""
    assert cost_target(0.01, 0.0) == pytest.approx(0.00997)
    assert cost_target(0.01, 0.12) == pytest.approx(0.00997 + 0.0004)
    assert cost_target(0.01, 1000.0) == pytest.approx(0.011)
    assert cost_target(0.01, -1000.0) == pytest.approx(0.001)
    assert quality_target(0.8, 3.0) == pytest.approx(0.79)
    assert quality_target(0.8, -3.0) == pytest.approx(0.81)
    assert (quality_target(0.8, 1000.0), quality_target(0.8, -1000.0)) == (0.0, 1.0)


def test_before_any_decision_a_dollar_is_worth_a_twentieth_over_the_target():
    assert asked(Pacer(())) == FIRST_PRICE / 0.004
    assert asked(Pacer(()), Budget(quality_floor=0.8)) == 0.0
    assert asked(Pacer(()), Budget(limit_usd=1.0)) == 0.0


@settings(deadline=None, max_examples=30)
@given(seed=seeds, decisions=st.integers(1, YOUNG - 1), target=st.floats(1e-4, 1e-1))
def test_the_price_of_a_young_window_is_that_of_the_definition(seed, decisions, target):
    budget = Budget(target_usd=target)

    price = asked(a_pacer(seed, decisions, budget=budget), budget)

    utilities = np.array([considered(seed + n).utility for n in range(decisions)])
    limits = 1e-3 / target, 1e3 / target
    costs, wanted = costs_of(seed, decisions), cost_target(target, 0.0)
    least = naive.price_for_cost(utilities, costs, wanted, *limits)
    if least in (0.0, limits[1]):
        assert price == pytest.approx(least)
        return
    assert naive.mean_at_price(utilities, costs, costs, price * (1 + 1e-9)) <= wanted
    below = price * (1 - 1e-7)
    assert below < limits[0] or naive.mean_at_price(utilities, costs, costs, below) > wanted


@settings(deadline=None, max_examples=30)
@given(seed=seeds, decisions=st.integers(1, YOUNG - 1))
def test_there_is_no_price_where_unconstrained_spending_is_within_the_target(seed, decisions):
    utilities = np.array([considered(seed + n).utility for n in range(decisions)])
    costs = costs_of(seed, decisions)
    spending = naive.mean_at_price(utilities, costs, costs, 0.0)
    roomy, tight = (Budget(target_usd=spending / 0.997 * room) for room in (1.001, 0.999))

    assert asked(a_pacer(seed, decisions, budget=roomy), roomy) == 0.0
    assert asked(a_pacer(seed, decisions, budget=tight), tight) > 0.0


@settings(deadline=None, max_examples=30)
@given(seed=seeds, ratio=st.floats(1e-2, 1e2))
def test_after_a_told_price_the_window_is_as_if_it_had_always_been_in_force(seed, ratio):
    """Half of the decisions were made at other prices: the costs scale by exactly the ratio."""
    told = (PRICES[0], Price(20.0 * ratio, 80.0 * ratio))
    changed = a_pacer(seed, 15)
    always = a_pacer(seed, 15, prices=told)

    before, after = asked(changed), asked(changed, prices=told)

    assert after == asked(always, prices=told)
    if ratio == 1:
        assert after == before


@pytest.mark.parametrize("ratio", [2.0, 0.02])
def test_a_ratio_of_all_prices_divides_the_price_by_it(ratio):
    """The same decisions, each so much dearer, under a budget so much larger."""
    told = tuple(
        Price(p.input_usd_per_million * ratio, p.output_usd_per_million * ratio) for p in PRICES
    )
    scaled = Budget(target_usd=0.004 * ratio)

    plain = asked(a_pacer(5, 15))
    other = asked(a_pacer(5, 15, prices=told, budget=scaled), scaled, prices=told)

    assert plain > 0
    assert_allclose(other * ratio, plain, rtol=1e-6)


def test_the_price_is_solved_every_ten_decisions_and_at_once_when_a_price_is_told():
    """The account runs down, so that each solution is another one."""
    pacer, told = a_pacer(3, YOUNG), (PRICES[0], Price(30.0, 120.0))
    seen = []
    for number in range(40):
        seen.append(asked(pacer, balance=-0.05 * number))
        pacer.record(considered(100 + number))

    at_once = asked(pacer, balance=-2.0, prices=told)

    changes = [n for n in range(1, 40) if seen[n] != seen[n - 1]]
    assert changes == [9, 19, 29, 39]
    assert at_once != seen[-1]


def test_an_older_price_moves_a_fifth_of_the_way_by_its_logarithm():
    pacer = a_pacer(3, YOUNG)
    before = asked(pacer)
    pacer.record(considered(3 + YOUNG))
    for number in range(9):
        pacer.record(considered(50 + number))

    after = asked(pacer)

    utilities = np.array(
        [considered(3 + n).utility for n in range(YOUNG + 1)]
        + [considered(50 + n).utility for n in range(9)]
    )
    costs = np.vstack([costs_of(3, YOUNG + 1), costs_of(50, 9)])
    solved = naive.price_for_cost(
        utilities, costs, cost_target(0.004, 0.0), 1e-3 / 0.004, 1e3 / 0.004
    )
    # The definition's price lies anywhere on a stretch without a change: bracket it by the means.
    implied = math.exp(math.log(before) + (math.log(after) - math.log(before)) / 0.2)
    mean = naive.mean_at_price(utilities, costs, costs, implied * (1 + 1e-6))
    assert mean == pytest.approx(naive.mean_at_price(utilities, costs, costs, solved))
    assert naive.mean_at_price(utilities, costs, costs, implied * (1 - 1e-6)) > mean


def test_the_price_of_a_budget_that_binds_no_more_fades_to_nothing():
    pacer = a_pacer(3, YOUNG + 10)
    assert asked(pacer) > 0

    for number in range(1200):
        price = asked(pacer, balance=1e6, budget=Budget(target_usd=0.05))
        pacer.record(considered(number))

    assert price == 0.0


def test_asking_again_changes_nothing():
    """A preview asks without deciding."""
    pacer, other = a_pacer(3, 40), a_pacer(3, 40)

    once = [asked(pacer) for _ in range(5)]

    assert len(set(once)) == 1
    assert asked(other) == once[0]
    assert pacer.last_price == once[0]


def test_arms_that_are_arranged_otherwise_keep_what_was_recorded_of_them():
    pacer, turned = a_pacer(7, 15), a_pacer(7, 15)
    newcomer = Price(0.0, 0.0)

    asked(turned, arms=(B, A), prices=PRICES[::-1])
    with_new = asked(turned, arms=(C, B, A), prices=(newcomer, *PRICES[::-1]))

    assert with_new == asked(pacer) > 0
    assert asked(turned, arms=(A, B)) == asked(pacer)


def test_an_arm_that_went_is_chosen_no_more():
    """Of the dear arm alone nothing can be saved: its price is the highest."""
    pacer = a_pacer(7, 15)

    left = asked(pacer, arms=(B,), prices=PRICES[1:])

    assert left == pytest.approx(1e3 / 0.004)


def test_the_oldest_decisions_are_forgotten():
    """Seven of another kind and then 300: the young price at what 300 alone would have cost."""
    strange = Considered(np.array([0.0, 1e6]), np.zeros(2), np.array([1e9, 1e9]), 10**6)
    longer, shorter = Pacer(()), Pacer(())
    for _ in range(7):
        asked(longer)
        longer.record(strange)
    for number in range(WINDOW):
        for pacer in (longer, shorter):
            asked(pacer)
            pacer.record(considered(number))

    for _ in range(400):  # ask anew by telling a price that hardly differs
        for pacer in (longer, shorter):
            asked(pacer, prices=(Price(1.0, 4.0), Price(20.0, 80.0 + 1e-9)))
            asked(pacer)

    assert longer.last_price == pytest.approx(shorter.last_price, rel=1e-6)


def test_a_quality_floor_is_reached_at_the_least_cost():
    """
    The cheap arm's quality is .6 and the dear one's .9, each .1 by choice better or worse: a floor
    of .75 needs the dear arm in half of the decisions, one of .5 never.
    """
    random = np.random.default_rng(0)

    def play(floor):
        pacer, qualities, costs = Pacer(()), [], []
        budget = Budget(quality_floor=floor)
        for _ in range(1000):
            price = asked(pacer, budget, balance=sum(qualities) - floor * len(qualities))
            quality = np.array([0.6, 0.9]) + random.uniform(-0.1, 0.1, size=2)
            usd = np.array([p.list_usd(1000) for p in PRICES])
            arm = int(np.argmax(quality - price * usd))
            pacer.record(Considered(quality, quality, np.ones(2), 1000))
            qualities.append(quality[arm])
            costs.append(usd[arm])
        return np.mean(qualities), np.mean(costs)

    kept, cost = play(0.75)
    _, cheap = play(0.5)
    _, dear = play(0.89)

    assert kept == pytest.approx(0.75, abs=0.02)
    assert cheap < cost < dear
