"""What is told of budgets and trials, from what the ledger says; on the store in memory."""

from dataclasses import replace
from datetime import timedelta

import pytest

from bandit.domain.arm import Arm, ArmStatus
from bandit.domain.budget import Budget
from bandit.domain.policy import Policy, PolicySettings
from bandit.routing.budgets import Budgets
from bandit.routing.ledger import Booking, LeaseRequest, Wish, explore_usd_name, slots_name
from bandit.store.memory import MemoryStore
from services.router.budget_state import SpendingReader, SpendingState
from tests.builders import A_CONTEXT, NOW, a_policy, an_arm, an_event

BUDGET = Budget(target_usd=0.01, limit_usd=5.0, window_hours=24.0)


def with_budget(policy: Policy, budget: Budget | None, *, epoch: int = 2) -> Policy:
    return replace(policy, budget=budget, budget_epoch=epoch)


def kept(policy: Policy) -> MemoryStore:
    store = MemoryStore()
    store.create(policy, an_event())
    return store


def spent(store: MemoryStore, policy: Policy, *, later: timedelta = timedelta()) -> SpendingState:
    reader = SpendingReader(store, Budgets(), clock=lambda: NOW + later)
    return reader.read(policy, price=reader.price(policy))


def lease(name: str, amount: float) -> LeaseRequest:
    return LeaseRequest(name, amount, 0.0, 100.0)


def exploring(name: str, limit_usd: float | None = None) -> Arm:
    return replace(an_arm(name, status=ArmStatus.EXPLORE), explore_limit_usd=limit_usd)


async def test_a_budget_tells_the_account_of_all_and_what_its_window_has_left():
    policy = with_budget(a_policy(), BUDGET)
    store = kept(policy)
    booking = Booking(decisions=2, credit=0.02, debit=0.03, spent_usd=0.03)
    leases = (lease(BUDGET.limit_name(NOW), 2.0),)
    await store.exchange([Wish(policy.id, 2, NOW, booking, leases)])

    state = spent(store, policy).budget

    assert state is not None
    assert state.budget == BUDGET
    assert (state.account.decisions, state.account.spent_usd) == (2, 0.03)
    assert state.account.balance == pytest.approx(-0.01)
    assert state.window is not None
    assert state.window.start == NOW.replace(hour=0)
    assert (state.window.limit_usd, state.window.taken_usd) == (5.0, 2.0)


async def test_nothing_is_taken_of_a_window_that_has_just_begun():
    policy = with_budget(a_policy(), BUDGET)
    store = kept(policy)
    wish = Wish(policy.id, 2, NOW, leases=(lease(BUDGET.limit_name(NOW), 2.0),))
    await store.exchange([wish])

    state = spent(store, policy, later=timedelta(hours=12)).budget

    assert state is not None
    assert state.window is not None
    assert state.window.start == NOW.replace(hour=0) + timedelta(days=1)
    assert state.window.taken_usd == 0.0


async def test_a_budget_set_again_does_not_tell_of_the_one_before():
    policy = with_budget(a_policy(), BUDGET)
    store = kept(policy)
    await store.exchange([Wish(policy.id, 2, NOW, Booking(decisions=1, spent_usd=0.5))])

    state = spent(store, with_budget(policy, BUDGET, epoch=3)).budget

    assert state is not None
    assert (state.account.decisions, state.account.spent_usd) == (0, 0.0)


async def test_trials_are_told_of_exploring_arms_alone():
    limited, free = exploring("limited", 0.5), exploring("free")
    settings = PolicySettings(context=A_CONTEXT, explore_quota=7)
    policy = a_policy(settings=settings, arms=(an_arm("old"), limited, free))
    store = kept(policy)
    leases = (lease(slots_name(limited.id), 3.0), lease(explore_usd_name(limited.id), 0.2))
    await store.exchange([Wish(policy.id, 0, NOW, leases=leases)])

    state = spent(store, policy)

    assert state.budget is None
    assert set(state.trials) == {limited.id, free.id}
    known = state.trials[limited.id]
    assert (known.taken, known.quota, known.limit_usd, known.taken_usd) == (3, 7, 0.5, 0.2)
    other = state.trials[free.id]
    assert (other.taken, other.quota, other.limit_usd, other.taken_usd) == (0, 7, None, 0.0)


def test_a_policy_that_may_spend_as_it_likes_has_nothing_to_tell():
    policy = a_policy()

    state = spent(kept(policy), policy)

    assert (state.budget, dict(state.trials)) == (None, {})
