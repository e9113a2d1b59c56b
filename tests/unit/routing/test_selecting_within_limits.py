"""A router whose policy has a hard limit, on a ledger that takes its time."""

import asyncio
from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from bandit.domain.budget import Budget
from bandit.domain.decision import DecisionId
from bandit.domain.errors import BudgetExhausted, InvalidInput, Unavailable
from bandit.domain.policy import PolicySettings
from bandit.domain.price import Price
from bandit.domain.query import Query
from bandit.evaluation.stream import decision_id
from bandit.routing.budgets import Budgets
from bandit.routing.router import Router
from bandit.routing.snapshot import snapshot_of
from bandit.store.memory import MemoryStore
from tests.builders import A_CONTEXT, NOW, a_policy, an_arm, an_event

VECTOR = np.array([1.0, 2.0, 3.0])
MY_ID = decision_id(7, 7)
LIMIT_USD = 1.0
SLOW_S = 0.02


class SlowStore(MemoryStore):
    """
    In memory; an exchange and a commit let other callers on meanwhile.

    is_away   the ledger cannot be reached
    refusal   what recording raises
    keeps     False: no decision's day has a partition
    """

    def __init__(self):
        super().__init__()
        self.exchanges = 0
        self.is_away = False
        self.refusal = None
        self.keeps = True

    async def exchange(self, wishes):
        self.exchanges += 1
        await asyncio.sleep(SLOW_S)
        if self.is_away:
            raise Unavailable("the database is away")
        return self.exchange_now(wishes)

    async def record(self, decisions):
        await asyncio.sleep(0)
        if self.refusal is not None:
            raise self.refusal
        if not self.keeps:
            return [InvalidInput("decision_id", "is of a day that is not kept") for _ in decisions]
        return self.record_now(decisions)


class World:
    """Implements `Snapshots` too: a router with one policy."""

    def __init__(self, *, limit_usd=LIMIT_USD, **budget):
        arms = [an_arm("cheap", price=Price(1.0, 4.0)), an_arm("dear", price=Price(2.0, 8.0))]
        policy = a_policy("chat", settings=PolicySettings(context=A_CONTEXT), arms=arms)
        budget = Budget(limit_usd=limit_usd, **budget)
        self.policy = replace(policy, version=2, budget_epoch=2, budget=budget)
        self.snapshot = snapshot_of(
            self.policy, learned_version=0, changed={}, previous=None, now=NOW
        )
        self.store, self.budgets = SlowStore(), Budgets()
        self.store.create(self.policy, an_event())
        ids = count()
        self.router = Router(
            self,
            self.store,
            None,
            self.store,
            budgets=self.budgets,
            clock=lambda: NOW,
            new_id=lambda: decision_id(0, next(ids)),
        )

    def get(self, policy):
        return self.snapshot

    async def select(self, *queries):
        return await self.router.select(queries)

    async def select_one(self, **changes):
        (answer,) = await self.select(a_query(**changes))
        return answer

    async def use_up(self):
        answers = await self.select(*[a_query() for _ in range(1000)])
        assert isinstance(answers[-1], BudgetExhausted)
        return [answer for answer in answers if not isinstance(answer, Exception)]

    @property
    def books(self):
        """In hand of the limit, and the account as this process has it."""
        terms = self.budgets.terms(self.snapshot, NOW)
        return terms.lease_usd, terms.account.decisions, terms.account.spent_usd

    @property
    def taken(self):
        (held,) = self.store.allowances(self.policy.id).values()
        return held.taken


def a_query(**changes):
    return Query(**{"policy": "chat", "vector": VECTOR, "fingerprint": b"request", **changes})


def reserved(answers):
    return sum(answer.recorded.decision.charge.reserved_usd for answer in answers)


async def test_a_lacking_lease_is_fetched_once_by_all_who_wait_for_it():
    world = World()

    answers = await asyncio.gather(*[world.select_one() for _ in range(5)])

    assert world.store.exchanges == 1
    assert world.taken == LIMIT_USD / 16
    assert world.books[0] == pytest.approx(LIMIT_USD / 16 - reserved(answers))


async def test_a_batch_leases_as_often_as_it_needs_and_keeps_to_the_limit():
    world = World(limit_usd=0.1)

    made = await world.use_up()

    assert reserved(made) <= 0.1
    assert world.taken == pytest.approx(0.1)
    assert world.books[0] == pytest.approx(0.1 - reserved(made))
    assert len(
        world.store.find_now(world.policy.id, [a.recorded.decision.id for a in made])
    ) == len(made)


async def test_callers_of_a_used_up_limit_are_told_so_and_do_not_ask_again_at_once():
    world = World(limit_usd=0.05)
    await world.use_up()
    asked = world.store.exchanges

    answers = await asyncio.gather(*[world.select_one() for _ in range(20)])

    assert all(isinstance(answer, BudgetExhausted) for answer in answers)
    assert set(answers[0].removed) == {"cheap", "dear"}
    assert answers[0].lacking_usd > 0
    assert world.store.exchanges == asked


async def test_an_id_answered_before_is_answered_even_if_the_limit_is_used_up():
    world = World(limit_usd=0.05)
    first = await world.select_one(decision_id=MY_ID)
    await world.use_up()
    before = world.books

    again = await world.select_one(decision_id=MY_ID)
    other = await world.select_one(decision_id=MY_ID, fingerprint=b"another")

    assert again.recorded.replayed
    assert again.recorded.decision is first.recorded.decision
    assert isinstance(other, BudgetExhausted)
    assert world.books == before


async def test_an_id_answered_before_is_not_booked_again():
    world = World(target_usd=0.01)
    await world.select_one(decision_id=MY_ID)
    before = world.books

    again = await world.select_one(decision_id=MY_ID)
    reused = await world.select_one(decision_id=MY_ID, fingerprint=b"another")

    assert again.recorded.replayed
    assert isinstance(reused, InvalidInput)
    assert world.books == pytest.approx(before)


async def test_an_id_twice_in_one_batch_is_booked_once():
    world = World(target_usd=0.01)

    first, second = await world.select(a_query(decision_id=MY_ID), a_query(decision_id=MY_ID))

    assert second.recorded.replayed
    assert world.books[0] == pytest.approx(LIMIT_USD / 16 - reserved([first]))
    assert world.books[1] == 1


async def test_what_is_not_recorded_is_not_booked():
    world = World(target_usd=0.01)
    await world.select_one()
    before = world.books

    world.store.keeps = False
    refused = await world.select(a_query())
    world.store.refusal = Unavailable("too many writes are waiting for the database")
    with pytest.raises(Unavailable):
        await world.select(a_query(), a_query())

    assert isinstance(refused[0], InvalidInput)
    assert world.books == pytest.approx(before)


async def test_a_caller_who_goes_away_while_a_lease_is_fetched_takes_nothing_with_him():
    """What he had booked before is put back, and the lease is kept for others."""
    world = World(target_usd=0.01)
    first = await world.select_one()
    before, exchanges = world.books, world.store.exchanges
    queries = [a_query() for _ in range(200)]

    calling = asyncio.create_task(world.router.select(queries))
    while world.store.exchanges == exchanges:
        await asyncio.sleep(0)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    await asyncio.sleep(2 * SLOW_S)

    assert world.books[1:] == pytest.approx(before[1:])
    assert world.books[0] == pytest.approx(world.taken - reserved([first]))
    assert world.books[0] > before[0]


async def test_a_ledger_that_is_away_leaves_what_is_in_hand():
    world = World()
    await world.select_one()
    in_hand = world.books[0]
    world.store.is_away = True

    answers = await world.select(*[a_query() for _ in range(200)])

    made = [answer for answer in answers if not isinstance(answer, Exception)]
    assert isinstance(answers[-1], BudgetExhausted)
    assert 0 < reserved(made) <= in_hand


async def test_a_preview_needs_no_lease_and_takes_none():
    world = World(target_usd=0.01)
    before = world.books

    preview = world.router.preview(a_query(decision_id=MY_ID))
    again = world.router.preview(a_query(decision_id=MY_ID))

    assert world.books == before
    assert world.store.exchanges == 0
    assert preview.recorded.decision.arm_id == again.recorded.decision.arm_id
    selected = await world.select_one(decision_id=MY_ID)
    assert selected.recorded.decision.arm_id == preview.recorded.decision.arm_id
    assert selected.recorded.decision.charge.price == preview.recorded.decision.charge.price
    assert not selected.recorded.replayed


async def test_a_preview_of_a_used_up_limit_is_refused_too():
    world = World(limit_usd=0.05)
    await world.use_up()

    with pytest.raises(BudgetExhausted):
        world.router.preview(a_query())


async def test_recorded_decisions_hold_what_they_reserved():
    world = World(target_usd=0.01)

    answer = await world.select_one()

    decision = answer.recorded.decision
    with world.store.begin(world.policy.id) as fold:
        held = fold.reservations([DecisionId(decision.id)])[decision.id]
    assert held.reserved_usd == decision.charge.reserved_usd >= decision.charge.expected_usd
    assert held.name == world.policy.budget.limit_name(NOW)
