import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from bandit.domain.arm import ArmStatus
from bandit.domain.budget import Account, Budget
from bandit.domain.price import Price
from bandit.domain.query import Query
from bandit.policies.eligibility import Removal
from bandit.policies.estimates import NORMAL_95, NORMAL_999, Estimates
from bandit.policies.spending import Terms, reservations, with_terms
from tests.builders import an_arm

PACED = Budget(target_usd=0.01)
ARMS = [an_arm("cheap"), an_arm("middle"), an_arm("dear")]
NOTHING_REMOVED = np.zeros(3, dtype=np.int32)


def some_estimates(cost_usd, *, variance=0.01, noise=0.25):
    count = len(cost_usd)
    variances = np.full((count, 3), variance)
    log_cost = np.log(np.array(cost_usd, float))
    return Estimates(
        np.full(count, 0.9), log_cost, np.full(count, 7.0), variances, np.full(count, noise)
    )


def removed(cost_usd, terms, *, reserved_usd=None, arms=ARMS, before=NOTHING_REMOVED):
    estimates = some_estimates(cost_usd)
    reserved = (
        estimates.cost_quantile_usd(NORMAL_95) if reserved_usd is None else np.array(reserved_usd)
    )
    codes, lacking_usd = with_terms(before, arms, estimates, reserved, terms)
    return codes.tolist(), lacking_usd


@pytest.mark.parametrize(("deviations", "share"), [(NORMAL_95, 0.95), (NORMAL_999, 0.999)])
def test_a_quantile_of_cost_is_that_of_the_log_normal(deviations, share):
    """Mean 1 and noise .25, to which the mean's variance adds .01; by 200,000 calls."""
    estimates = some_estimates([1.0])
    random = np.random.default_rng(0)
    calls = np.exp(-0.25 / 2 + math.sqrt(0.26) * random.normal(size=200_000))

    below = (calls < estimates.cost_quantile_usd(deviations)[0]).mean()

    error = math.sqrt(share * (1 - share) / len(calls))
    assert below == pytest.approx(share, abs=4 * error)


def test_what_the_longest_answer_costs_is_reserved_else_the_quantile():
    estimates = some_estimates([0.001, 0.01])
    prices = [Price(1.0, 4.0, 0.001), None]
    asked = Query(policy="p", input_tokens=1000, max_output_tokens=500)

    bounded = reservations(asked, prices, estimates)
    unbounded = reservations(replace(asked, max_output_tokens=None), prices, estimates)

    assert_allclose(
        bounded, [(1000 + 4 * 500) / 1e6 + 0.001, estimates.cost_quantile_usd(NORMAL_95)[1]]
    )
    assert_allclose(unbounded, estimates.cost_quantile_usd(NORMAL_95))


def guarded(cost_usd, *, balance):
    return removed(cost_usd, Terms(budget=PACED, account=Account(balance=balance)))[0]


def test_the_guard_worked_out_by_hand():
    """B = .01, and 95% of calls cost up to 2.04 times the mean: .061 and .163, A + 15 B = .15."""
    assert guarded([0.001, 0.03, 0.08], balance=0.0) == [0, 0, Removal.BUDGET_GUARD]
    assert guarded([0.001, 0.03, 0.08], balance=0.1) == [0, 0, 0]
    assert guarded([0.001, 0.03, 0.08], balance=-0.1) == [0, 10, 10]


def test_an_arm_within_two_targets_passes_the_guard_whatever_was_overspent():
    assert guarded([0.001, 0.019, 0.021], balance=-5.0) == [0, 0, 10]


def test_calls_that_are_affordable_but_rarely_must_fit_even_if_they_go_very_wrong():
    """
    Of .01 the cheapest leaves .009: .5 is more than 50 times that.  95% of its calls cost less than
    1.02, and 99.9% less than 2.13.  Where the cheapest leaves .0001, .03 is as rare: .128.
    """
    assert guarded([0.001, 0.44, 0.5], balance=1.5) == [0, 0, 10]
    assert guarded([0.001, 0.44, 0.5], balance=2.1) == [0, 0, 0]
    assert guarded([0.0099, 0.0099, 0.03], balance=-0.03) == [0, 0, 10]
    assert guarded([0.0099, 0.0099, 0.03], balance=0.0) == [0, 0, 0]


@settings(deadline=None)
@given(
    costs=st.lists(st.floats(1e-9, 1e9), min_size=3, max_size=3),
    balance=st.floats(-1e6, 1e6),
    target=st.floats(1e-9, 1e6),
    before=st.lists(st.sampled_from([Removal.NONE, Removal.DENY_ARMS]), min_size=3, max_size=3),
)
def test_the_guard_never_removes_the_cheapest_eligible_arm(costs, balance, target, before):
    terms = Terms(budget=Budget(target_usd=target), account=Account(balance=balance))
    gone = np.array(before, dtype=np.int32)

    codes, _ = removed(costs, terms, before=gone)

    open_ = np.flatnonzero(gone == Removal.NONE)
    if open_.size:
        cheapest = open_[np.argmin(np.array(costs)[open_])]
        assert codes[cheapest] == Removal.NONE
    assert [code for code, was in zip(codes, before, strict=True) if was] == [
        b for b in before if b
    ]


def test_an_arm_that_may_cost_more_than_the_lease_is_removed_and_said_to_lack_that():
    terms = Terms(budget=Budget(limit_usd=10.0), lease_usd=0.05, limit_name="limit")

    codes, lacking_usd = removed([0.01] * 3, terms, reserved_usd=[0.05, 0.06, 0.2])

    assert codes == [Removal.NONE, Removal.BUDGET_LIMIT, Removal.BUDGET_LIMIT]
    assert lacking_usd == 0.2


def test_an_arm_that_no_lease_could_cover_is_not_asked_for():
    """Asking for it would take all that is left of the limit."""
    terms = Terms(budget=Budget(limit_usd=1.0), lease_usd=0.0, limit_name="limit")

    _, some = removed([0.01] * 3, terms, reserved_usd=[0.05, 0.06, 2.0])
    _, none = removed([0.01] * 3, terms, reserved_usd=[1.5, 3.0, 2.0])

    assert some == 0.06
    assert none == 3.0


def test_the_cheapest_arm_is_held_to_the_limit_too_and_a_free_one_never():
    terms = Terms(budget=Budget(limit_usd=10.0), lease_usd=0.0, limit_name="limit")

    codes, _ = removed([0.01] * 3, terms, reserved_usd=[0.0, 0.06, 0.2])

    assert codes == [Removal.NONE, Removal.BUDGET_LIMIT, Removal.BUDGET_LIMIT]


def test_the_guard_looks_for_the_cheapest_among_what_the_limit_leaves():
    """The dear arm is all that is left: it is reserved by its tokens, the cheaper ones are not."""
    terms = Terms(
        budget=Budget(target_usd=1e-4, limit_usd=10.0), lease_usd=0.05, limit_name="limit"
    )

    codes, _ = removed([0.01, 0.02, 0.5], terms, reserved_usd=[0.06, 0.07, 0.01])

    assert codes == [Removal.BUDGET_LIMIT, Removal.BUDGET_LIMIT, Removal.NONE]


def test_an_exploring_arm_needs_a_slot_and_its_dollars():
    new = replace(ARMS[1], status=ArmStatus.EXPLORE)
    arms = [ARMS[0], new, ARMS[2]]

    def code(**in_hand):
        terms = Terms(**{name: {new.id: amount} for name, amount in in_hand.items()})
        codes, lacking_usd = removed([0.01] * 3, terms, reserved_usd=[0.1] * 3, arms=arms)
        assert codes[0] == codes[2] == Removal.NONE
        assert lacking_usd == 0.0
        return codes[1]

    assert code(slots=0.0) == Removal.EXPLORE_QUOTA
    assert code(slots=1.0) == Removal.NONE
    assert code(slots=1.0, explore_usd=0.09) == Removal.EXPLORE_COST
    assert code(slots=1.0, explore_usd=0.1) == Removal.NONE
    assert code() == Removal.NONE


def test_slots_bind_exploring_arms_alone():
    terms = Terms(slots={ARMS[1].id: 0.0}, explore_usd={ARMS[1].id: 0.0})

    assert removed([0.01] * 3, terms)[0] == [0, 0, 0]
