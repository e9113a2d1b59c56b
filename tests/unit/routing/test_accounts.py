"""The account of a budget, whatever several processes do in whatever order."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandit.domain.budget import Account, Budget
from bandit.routing.budgets import (
    BALANCE_CAP,
)
from tests.builders import NOW, a_policy
from tests.processes import TARGET_USD, TARGETED, World, a_budgeted_policy, as_tuple, expected_usd


def test_a_decision_is_booked_at_once_where_it_was_made_and_elsewhere_after_an_exchange():
    world = World(a_budgeted_policy(TARGETED))

    decision = world.decide(0)
    here, elsewhere = world.account(0), world.account(1)
    world.exchange(0)
    world.exchange(1)

    cost = decision.charge.expected_usd
    assert here == Account(pytest.approx(TARGET_USD - cost), 1, pytest.approx(cost))
    assert elsewhere == Account()
    assert world.account(0) == world.account(1) == here


def test_the_account_does_not_count_twice_what_is_on_the_way():
    world = World(a_budgeted_policy(TARGETED))
    first = world.decide()

    wishes = world.begin()
    second = world.decide()
    on_the_way = world.account()
    world.end(wishes)
    after = world.account()

    spent = expected_usd([first, second])
    assert on_the_way.decisions == after.decisions == 2
    assert on_the_way.spent_usd == pytest.approx(spent)
    assert after.spent_usd == pytest.approx(spent)


@settings(deadline=None, max_examples=40)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["decide", "begin", "end", "fail"]), st.integers(0, 1)),
        max_size=60,
    )
)
def test_the_account_is_what_was_decided_whatever_is_exchanged_when(steps):
    """
    Balance = sum of B - expected cost, far from its cap; also while exchanges are in flight, for
    the process that has seen all, and after a last exchange for both.
    """
    world = World(a_budgeted_policy(TARGETED))
    in_flight, made, own = {}, [], Counter()
    for step, process in steps:
        budgets = world.processes[process]
        if step == "decide":
            made.append(world.decide(process))
            own[process] += 1
        elif step == "begin" and process not in in_flight:
            in_flight[process] = world.begin(process)
        elif step == "end" and process in in_flight:
            world.end(in_flight.pop(process), process)
        elif step == "fail" and process in in_flight:
            budgets.failed(in_flight.pop(process))
        assert world.account(process).decisions >= own[process]

    for process, wishes in in_flight.items():
        world.processes[process].failed(wishes)
    for process in (0, 1, 0):
        world.exchange(process)

    spent = expected_usd(made)
    balance = TARGET_USD * len(made) - spent
    expected = (pytest.approx(balance), len(made), pytest.approx(spent))
    assert as_tuple(world.store.account(world.policy.id, 2)) == expected
    assert as_tuple(world.account(0)) == as_tuple(world.account(1)) == expected


def test_what_is_left_over_stays_under_its_cap():
    world = World(a_budgeted_policy(Budget(target_usd=1.0)))

    for _ in range(130):
        world.decide()
        world.exchange()

    account = world.account()
    assert BALANCE_CAP - 1.0 < account.balance <= BALANCE_CAP
    assert account.decisions == 130


@pytest.mark.parametrize("exchanges", [False, True])
def test_taking_a_booking_back_undoes_it(exchanges):
    world = World(a_budgeted_policy(Budget(target_usd=TARGET_USD, limit_usd=1.0)))
    kept = world.decide()
    before, in_hand = world.account(), world.in_hand()

    decision = world.decide()
    if exchanges:
        world.exchange()
    world.processes[0].unbook(world.policy, decision)
    world.exchange()

    assert as_tuple(world.account()) == pytest.approx(as_tuple(before))
    assert world.account().spent_usd == pytest.approx(kept.charge.expected_usd)
    assert world.in_hand() == pytest.approx(in_hand)


def test_a_new_budget_begins_with_an_empty_account_and_late_answers_do_not_touch_it():
    world = World(a_budgeted_policy(TARGETED))
    world.decide()
    wishes = world.begin()

    world.publish(replace(world.policy, budget=Budget(target_usd=1.0), budget_epoch=3, version=3))
    fresh = world.account()
    world.end(wishes)

    assert fresh == world.account() == Account()
    assert world.store.account(world.policy.id, 2).decisions == 1


def test_a_batch_that_decides_from_an_older_snapshot_does_not_bring_back_the_old_budget():
    world = World(a_budgeted_policy(TARGETED))
    older = world.snapshot
    world.decide()
    world.publish(replace(world.policy, budget=Budget(target_usd=1.0), budget_epoch=3, version=3))
    world.decide()
    newer, world.snapshot = world.snapshot, older

    late = world.decide()

    world.snapshot = newer
    assert late.charge.epoch == 3
    assert world.account().decisions == 2
    assert world.account().balance == pytest.approx(2.0 - world.account().spent_usd)


def test_under_a_quality_floor_the_balance_is_quality_above_it():
    world = World(a_budgeted_policy(Budget(quality_floor=0.8)))

    decisions = [world.decide() for _ in range(5)]
    world.exchange()

    above = sum(float(decision.chosen["mean"][0]) - 0.8 for decision in decisions)
    assert world.account().balance == pytest.approx(above)
    assert world.account().spent_usd == pytest.approx(expected_usd(decisions))


def test_a_policy_without_a_budget_keeps_no_books():
    world = World(a_policy())

    decision = world.decide()

    assert decision.charge is None
    assert world.begin() == []
    assert world.processes[0].status(world.policy) is None
    assert world.processes[0].hand_back(NOW) == []


def test_a_preview_tells_the_next_price_and_leaves_solving_it_to_the_decision():
    world = World(a_budgeted_policy(TARGETED))
    world.exchange()
    budgets = world.processes[0]

    previewed = budgets.preview_terms(world.snapshot, world.now).price

    assert budgets.status(world.policy)[0] == 0.0
    assert world.decide().charge.price == previewed > 0
    assert budgets.status(world.policy)[0] == previewed
