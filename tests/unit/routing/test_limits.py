"""The limit of a window, kept by several processes together."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandit.domain.budget import Budget
from bandit.routing.budgets import (
    IDLE,
)
from bandit.routing.learner import fold_due
from bandit.routing.ledger import SETTLE_AFTER
from tests.processes import (
    LIMITED,
    TARGET_USD,
    World,
    a_budgeted_policy,
    limit_name,
)


def test_without_a_lease_nothing_can_be_chosen_and_a_lease_brings_more_than_was_lacking():
    world = World(a_budgeted_policy(LIMITED))

    nothing = world.decide(lease=False)
    decision = world.decide()

    assert nothing is None
    held = decision.charge.reserved_usd
    assert world.taken(limit_name(world)) == pytest.approx(0.5 / 16)
    assert world.in_hand() == pytest.approx(0.5 / 16 - held)


def test_a_call_that_may_cost_more_than_the_whole_limit_takes_no_lease():
    """Else it would leave nothing to other processes, and not be answered either."""
    world = World(a_budgeted_policy(LIMITED))

    answer = world.decide(max_output_tokens=10**9)

    assert answer is None
    assert world.taken(limit_name(world)) == 0.0


def test_what_nobody_uses_goes_back_and_others_can_have_it():
    world = World(a_budgeted_policy(LIMITED))
    decision = world.decide(0)

    world.now += IDLE + timedelta(milliseconds=1)
    world.exchange(0)

    assert world.taken(limit_name(world)) == pytest.approx(decision.charge.reserved_usd)
    assert world.in_hand(0) == 0.0


def test_a_process_that_ends_hands_back_all_it_holds():
    world = World(a_budgeted_policy(replace(LIMITED, target_usd=TARGET_USD)))
    decision = world.decide()

    world.store.exchange_now(world.processes[0].hand_back(world.now))

    assert world.taken(limit_name(world)) == pytest.approx(decision.charge.reserved_usd)
    assert world.store.account(world.policy.id, 2).decisions == 1
    assert world.processes[0].hand_back(world.now) == []


def test_what_could_not_be_given_back_is_handed_back_at_the_end():
    world = World(a_budgeted_policy(LIMITED))
    decision = world.decide()
    world.now += IDLE + timedelta(milliseconds=1)
    world.processes[0].failed(world.begin())

    world.store.exchange_now(world.processes[0].hand_back(world.now))

    assert world.taken(limit_name(world)) == pytest.approx(decision.charge.reserved_usd)


def test_what_may_have_been_given_back_already_is_not_given_back_again():
    """The connection was lost while it was committed: the limit must not grow by that."""
    world = World(a_budgeted_policy(LIMITED))
    world.decide()
    world.now += IDLE + timedelta(milliseconds=1)
    wishes = world.begin()
    world.store.exchange_now(wishes)
    before = world.taken(limit_name(world))

    world.processes[0].failed(wishes, is_unknown=True)
    world.exchange()

    assert world.taken(limit_name(world)) == before


@pytest.mark.parametrize("has_failed", ["", "before", "after"])
def test_leases_and_returns_survive_a_budget_that_is_replaced_meanwhile(has_failed):
    """The limit is the same, and so is its window: nothing of it may get lost."""
    world = World(a_budgeted_policy(LIMITED))
    wish = world.processes[0].wish_for(world.snapshot, 0.1, world.now)
    answers = world.store.exchange_now([wish])
    world.publish(replace(world.policy, budget_epoch=3, version=3))
    world.in_hand()
    world.processes[0].told([wish], answers, world.now)
    in_hand = world.in_hand()

    world.now += IDLE + timedelta(milliseconds=1)
    wishes = world.begin()
    if has_failed == "before":
        world.processes[0].failed(wishes)
    world.publish(replace(world.policy, budget_epoch=4, version=4))
    world.in_hand()
    if has_failed == "after":
        world.processes[0].failed(wishes)
    if has_failed:
        world.exchange()
    else:
        world.end(wishes)

    assert in_hand == pytest.approx(0.1)
    assert world.taken(limit_name(world)) == pytest.approx(0.0)


def test_a_new_window_has_its_limit_to_itself():
    world = World(a_budgeted_policy(LIMITED))
    first = limit_name(world)
    decision = world.decide()

    world.now += timedelta(days=1)
    late = world.decide()
    world.exchange()

    assert late.charge.limit_name == limit_name(world) != first == decision.charge.limit_name
    assert world.taken(first) == pytest.approx(decision.charge.reserved_usd)
    assert world.taken(limit_name(world)) == pytest.approx(0.5 / 16)


def test_a_limit_that_is_used_up_is_not_asked_for_at_every_decision():
    world = World(a_budgeted_policy(Budget(limit_usd=1e-4)))
    budgets = world.processes[0]

    first = budgets.wish_for(world.snapshot, 5e-5, world.now)
    budgets.told([first], [world.store.exchange_now([replace(first)])[0]], world.now)
    more = budgets.wish_for(world.snapshot, 1e-4, world.now)
    other = replace(more, leases=(replace(more.leases[0], need=1.0),))
    world.store.exchange_now([other])  # another process takes the rest
    budgets.told([more], world.store.exchange_now([more]), world.now)
    at_once = budgets.wish_for(world.snapshot, 1e-4, world.now)
    later = budgets.wish_for(world.snapshot, 1e-4, world.now + timedelta(seconds=1))

    assert at_once is None
    assert later is not None


steps = st.lists(
    st.tuples(
        st.sampled_from(
            ["decide"] * 8 + ["long", "exchange", "fail", "learn", "wait", "unbook", "expire"]
        ),
        st.integers(0, 2),
        st.floats(0, 1),
    ),
    max_size=120,
)


@settings(deadline=None, max_examples=60)
@given(steps=steps, limit_usd=st.floats(1e-3, 0.3), goes_beyond=st.booleans())
def test_a_limit_is_kept_by_three_processes_in_any_interleaving(steps, limit_usd, goes_beyond):
    """
    Spent <= limit + sum of max(0, cost - reservation), and <= limit where no cost goes beyond its
    reservation; what is in hand or reserved is taken too.
    """
    world = World(a_budgeted_policy(Budget(limit_usd=limit_usd, window_hours=24.0)), processes=3)
    costs, beyond, waiting = {}, 0.0, []
    name = limit_name(world)
    for step, process, share in steps:
        if step in ("decide", "long"):
            query = {"max_output_tokens": 2000} if step == "long" else {}
            decision = world.decide(process, **query)
            if decision is not None:
                costs[decision.id] = decision.charge.expected_usd
                waiting.append(decision)
        elif step == "exchange":
            world.exchange(process)
        elif step == "fail":
            world.processes[process].failed(world.begin(process))
        elif step == "learn" and waiting:
            decision = waiting.pop(int(share * (len(waiting) - 1)))
            factor = 3 * share if goes_beyond else share
            cost = factor * decision.charge.reserved_usd
            beyond += max(0.0, cost - decision.charge.reserved_usd)
            costs[decision.id] = cost
            world.learn(decision, cost)
        elif step == "wait":
            world.now += IDLE * 2 * share
        elif step == "unbook":
            world.decide(process, is_kept=False)  # it was made before
        elif step == "expire":
            world.now += SETTLE_AFTER / 4
            fold_due(world.store, world.policy, now=world.now)
        held = sum(world.in_hand(each) for each in range(3))
        assert min(world.in_hand(each) for each in range(3)) >= 0
        assert sum(costs.values()) <= limit_usd + beyond + 1e-9
        assert held <= limit_usd + 1e-9
        assert world.taken(name) <= limit_usd + beyond + 1e-9

    for process, budgets in enumerate(world.processes):
        world.end(budgets.hand_back(world.now), process)
    world.now += SETTLE_AFTER * 2
    fold_due(world.store, world.policy, now=world.now)
    assert world.taken(name) == pytest.approx(sum(costs.values()), abs=1e-9)
