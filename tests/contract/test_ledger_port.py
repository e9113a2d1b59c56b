"""The ports `Ledger` and `LedgerReader`, and what `Fold` does to the ledger."""

import asyncio
import math
from dataclasses import replace
from datetime import timedelta
from threading import Barrier, Thread
from uuid import uuid4

import psycopg
import pytest

from bandit.domain.arm import ArmId
from bandit.domain.budget import EMPTY, Account
from bandit.domain.decision import DecisionId
from bandit.domain.errors import Unavailable, Unconfirmed
from bandit.domain.policy import PolicyId
from bandit.routing.ledger import (
    NOTHING_BOOKED,
    SETTLE_AFTER,
    Booking,
    LeaseRequest,
    Settlement,
    Wish,
    reservation_of,
)
from bandit.store.postgres.engine import make_engine
from bandit.store.postgres.ledger import PostgresLedger
from tests.builders import NOW, a_charge, a_policy
from tests.contract.comparing import assert_same_decision

pytestmark = pytest.mark.asyncio

LIMIT, SLOTS = "limit:now", f"slots:{ArmId(uuid4())}"
_LOST_AT_COMMIT = """
    create function lose() returns trigger language plpgsql as
        $$ begin raise exception 'lost' using errcode = 'admin_shutdown'; end $$;
    create constraint trigger lose after insert or update on allowance
        deferrable initially deferred for each row execute function lose();
"""
LATER = NOW + timedelta(seconds=1)
EXPIRED = NOW + SETTLE_AFTER


def wish(policy, *leases, booking=NOTHING_BOOKED, epoch=2, at=NOW, returned=None):
    return Wish(policy.id, epoch, at, booking, leases, returned or {})


def a_lease(need, *, share=0.0, limit=10.0, name=LIMIT, whole=False):
    return LeaseRequest(name, need, share, limit, whole=whole)


async def granted(store, policy, *leases, **others):
    (statement,) = await store.ledger.exchange([wish(policy, *leases, **others)])
    return [statement.granted[lease.name] for lease in leases]


def taken(store, policy, name=LIMIT):
    held = store.accounts.allowances(policy.id).get(name)
    return 0.0 if held is None else held.taken


async def a_reserved(store, policy, *, at=NOW, **charge):
    charge = {"reserved_usd": 0.25, "expected_usd": 0.125, "limit_name": LIMIT} | charge
    return await store.with_decision(policy, at=at, charge=a_charge(**charge))


async def test_bookings_add_up_under_their_cap(store, policy):
    """min(0 + 3, 2) - 1 = 1, then min(1 + .5, 2) - 4 = -2.5."""
    first, second = Booking(3, 3.0, 1.0, 1.0, 2.0), Booking(1, 0.5, 4.0, 4.0, 2.0)

    (one,) = await store.ledger.exchange([wish(policy, booking=first)])
    (two,) = await store.ledger.exchange([wish(policy, booking=second)])
    (read,) = await store.ledger.exchange([wish(policy)])

    assert one.account == Account(1.0, 3, 1.0)
    assert two.account == read.account == Account(-2.5, 4, 5.0)
    assert store.accounts.account(policy.id, 2) == two.account


async def test_a_booking_without_a_cap_and_one_taken_back(store, policy):
    booking = Booking(1, 0.0, 0.0, 0.25)
    assert booking.cap == math.inf

    await store.ledger.exchange([wish(policy, booking=booking)])
    await store.ledger.exchange([wish(policy, booking=NOTHING_BOOKED.plus(booking, sign=-1))])

    assert store.accounts.account(policy.id, 2) == EMPTY


async def test_accounts_of_other_budgets_and_policies_are_apart(store, policy):
    other = store.with_policy()
    bookings = [Booking(n, 0.0, 0.0, float(n)) for n in (1, 2, 3)]

    statements = await store.ledger.exchange(
        [
            wish(policy, booking=bookings[0]),
            wish(other, booking=bookings[1]),
            wish(policy, booking=bookings[2], epoch=3),
        ]
    )

    assert [statement.account.decisions for statement in statements] == [1, 2, 3]
    assert store.accounts.account(policy.id, 2).decisions == 1
    assert store.accounts.account(policy.id, 3).decisions == 3
    assert store.accounts.account(other.id, 2).decisions == 2


async def test_an_account_that_nothing_was_booked_in_is_empty(store, policy):
    (statement,) = await store.ledger.exchange([wish(policy)])

    assert statement.account == store.accounts.account(policy.id, 2) == EMPTY
    assert store.accounts.allowances(PolicyId(policy.id)) == {}


async def test_statements_come_in_the_order_of_their_wishes(store):
    policies = sorted((store.with_policy() for _ in range(5)), key=lambda p: p.id, reverse=True)
    wishes = [wish(p, booking=Booking(n, 0.0, 0.0, 0.0)) for n, p in enumerate(policies, 1)]

    statements = await store.ledger.exchange(wishes)

    assert [statement.account.decisions for statement in statements] == [1, 2, 3, 4, 5]


async def test_no_wishes_get_no_statements(store):
    assert list(await store.ledger.exchange([])) == []


async def test_a_lease_gives_what_is_needed_or_a_share_of_what_is_left(store, policy):
    """Of 10: need 1, a quarter of 9, then a tenth of 6.75 is less than 2.25 needed."""
    first = await granted(store, policy, a_lease(1.0))
    second = await granted(store, policy, a_lease(1.0, share=0.25))
    third = await granted(store, policy, a_lease(2.25, share=0.1))

    assert [*first, *second, *third] == [1.0, 2.25, 2.25]
    assert taken(store, policy) == 5.5


async def test_a_lease_gives_no_more_than_is_left(store, policy):
    some = await granted(store, policy, a_lease(8.0))
    rest = await granted(store, policy, a_lease(8.0))
    nothing = await granted(store, policy, a_lease(8.0))

    assert [*some, *rest, *nothing] == [8.0, 2.0, 0.0]
    assert taken(store, policy) == 10.0


async def test_a_limit_that_was_lowered_below_what_is_taken_gives_nothing(store, policy):
    await granted(store, policy, a_lease(8.0))

    assert await granted(store, policy, a_lease(1.0, limit=5.0)) == [0.0]
    assert await granted(store, policy, a_lease(1.0, limit=8.5)) == [0.5]


async def test_slots_are_given_whole(store, policy):
    first = await granted(store, policy, a_lease(2.0, limit=2.5, name=SLOTS, whole=True))
    second = await granted(store, policy, a_lease(2.0, limit=2.5, name=SLOTS, whole=True))

    assert [*first, *second] == [2.0, 0.0]


async def test_what_is_given_back_can_be_leased_again_in_the_same_exchange(store, policy):
    await granted(store, policy, a_lease(10.0))

    again = await granted(store, policy, a_lease(3.0), returned={LIMIT: 4.0})

    assert again == [3.0]
    assert taken(store, policy) == 9.0


async def test_what_was_never_leased_cannot_be_given_back(store, policy):
    await store.ledger.exchange([wish(policy, returned={"limit:unknown": 4.0})])

    assert taken(store, policy, "limit:unknown") == 0.0


async def test_an_allowance_tells_when_something_was_last_taken(store, policy):
    await granted(store, policy, a_lease(9.0), a_lease(1.0, name=SLOTS))
    await granted(store, policy, a_lease(9.0), at=LATER)
    await granted(store, policy, a_lease(9.0), at=LATER + timedelta(hours=1))
    await store.ledger.exchange([wish(policy, returned={SLOTS: 1.0}, at=LATER)])

    held = store.accounts.allowances(policy.id)
    assert {name: (one.taken, one.at) for name, one in held.items()} == {
        LIMIT: (10.0, LATER),
        SLOTS: (0.0, NOW),
    }


async def test_a_decision_comes_back_with_its_charge(store, policy):
    charges = [
        None,
        a_charge(reserved_usd=0.25, limit_name=LIMIT),
        a_charge(overshoot_usd=None, price=0.0),
    ]

    made = [await store.with_decision(policy, charge=charge) for charge in charges]

    found = await store.decisions.find(policy.id, {decision.id for decision in made})
    for decision in made:
        assert_same_decision(found[decision.id], decision)


async def test_a_recorded_decision_holds_its_reservation(store, policy):
    decision = await a_reserved(store, policy)
    without = await store.with_decision(policy, charge=a_charge())

    with store.learning.begin(policy.id) as fold:
        held = fold.reservations({decision.id, without.id, DecisionId(uuid4())})

    assert held == {decision.id: reservation_of(decision)}


async def test_a_decision_recorded_twice_is_reserved_once_as_it_was_first(store, policy):
    first = await a_reserved(store, policy)
    again = replace(first, charge=a_charge(reserved_usd=0.5, limit_name="limit:later"))

    await store.decisions.record([again])

    with store.learning.begin(policy.id) as fold:
        assert fold.reservations({first.id}) == {first.id: reservation_of(first)}


async def test_reservations_expire_oldest_first_and_their_policies_are_named(store, policy):
    other = store.with_policy()
    late = await a_reserved(store, policy, at=NOW + timedelta(seconds=2))
    early = await a_reserved(store, policy)
    await a_reserved(store, other, at=NOW + timedelta(seconds=5))
    then = EXPIRED + timedelta(seconds=3)

    with store.learning.begin(policy.id) as fold:
        none = fold.expired_reservations(now=EXPIRED - timedelta(seconds=1), limit=10)
        one = fold.expired_reservations(now=then, limit=1)
        both = fold.expired_reservations(now=then, limit=10)

    assert none == []
    assert [each.decision_id for each in one] == [early.id]
    assert [each.decision_id for each in both] == [early.id, late.id]
    assert list(store.learning.policies_with_due(now=then)) == [policy.id]


async def test_settlements_move_accounts_and_limits_and_end_reservations(store, policy):
    await granted(store, policy, a_lease(5.0), booking=Booking(2, 1.0, 0.25, 0.25, 9.0))
    first, second = await a_reserved(store, policy), await a_reserved(store, policy)

    with store.learning.begin(policy.id) as fold:
        fold.settle_costs(
            [
                Settlement(first.id, 2, -0.5, 0.5, LIMIT, -0.25, is_final=True),
                Settlement(second.id, 2, 0.125, -0.125, LIMIT, 1.0),
                Settlement(second.id, 3, 0.0, 2.0),
            ]
        )
        fold.settle_costs([])

    assert store.accounts.account(policy.id, 2) == Account(0.375, 2, 0.625)
    assert store.accounts.account(policy.id, 3) == Account(0.0, 0, 2.0)
    assert taken(store, policy) == 4.25
    with store.learning.begin(policy.id) as fold:
        assert set(fold.reservations({first.id, second.id})) == {second.id}


async def test_a_settlement_that_fails_leaves_no_trace(store, policy):
    await granted(store, policy, a_lease(5.0))
    decision = await a_reserved(store, policy)

    with pytest.raises(ZeroDivisionError), store.learning.begin(policy.id) as fold:  # noqa: PT012 - one transaction
        fold.settle_costs([Settlement(decision.id, 2, 1.0, 1.0, LIMIT, 1.0, is_final=True)])
        raise ZeroDivisionError

    assert store.accounts.account(policy.id, 2) == EMPTY
    assert taken(store, policy) == 5.0
    with store.learning.begin(policy.id) as fold:
        assert set(fold.reservations({decision.id})) == {decision.id}


async def test_a_limit_that_is_not_leased_from_is_not_opened_by_a_settlement(store, policy):
    with store.learning.begin(policy.id) as fold:
        fold.settle_costs([Settlement(DecisionId(uuid4()), 2, 0.0, 1.0, LIMIT, 1.0)])

    assert store.accounts.allowances(policy.id) == {}
    assert store.accounts.account(policy.id, 2) == Account(0.0, 0, 1.0)


async def test_concurrent_leases_never_exceed_the_limit(store, policy):
    """Four threads take a fifth more than there is, and give some of it back in between."""
    start, given = Barrier(4), [0.0] * 4

    def take(process):
        async def run():
            start.wait()
            for number in range(30):
                back = {LIMIT: 0.03125} if number % 3 == 2 else {}
                (amount,) = await granted(store, policy, a_lease(0.125, limit=10.0), returned=back)
                given[process] += amount - sum(back.values())

        asyncio.run(run())

    threads = [Thread(target=take, args=(process,)) for process in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)

    assert sum(given) == taken(store, policy) <= 10.0
    assert sum(given) > 9.0


async def test_exchanges_settlements_and_decisions_do_not_wait_for_each_other_for_ever(store):
    """Several processes at once, over the rows of two policies in opposite orders."""
    policies = [store.with_policy(a_policy()) for _ in range(2)]
    rounds, failures = 25, []

    def exchange(order):
        async def run():
            for _ in range(rounds):
                await store.ledger.exchange(
                    [
                        wish(p, a_lease(0.01), a_lease(0.01, name=SLOTS), booking=Booking(1))
                        for p in policies[::order]
                    ]
                )

        _collect(failures, lambda: asyncio.run(run()))

    def settle(policy):
        def run():
            for _ in range(rounds):
                with store.learning.begin(policy.id) as fold:
                    if fold is None:
                        continue
                    ids = [DecisionId(uuid4()) for _ in range(2)]
                    fold.settle_costs(
                        [
                            Settlement(ids[0], 2, 1.0, 1.0, SLOTS, 0.001),
                            Settlement(ids[1], 2, 1.0, 1.0, LIMIT, 0.001),
                        ]
                    )

        _collect(failures, run)

    threads = [Thread(target=exchange, args=(order,)) for order in (1, -1, 1)]
    threads += [Thread(target=settle, args=(policy,)) for policy in policies]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)

    assert failures == []
    for policy in policies:
        found = store.accounts.account(policy.id, 2)
        assert found == Account(2.0 * rounds, 3 * rounds, 2.0 * rounds)


async def test_an_exchange_that_was_lost_while_it_was_committed_says_that_it_is_unknown(
    new_database, template
):
    policy = a_policy()
    with new_database(template) as url:
        engine = make_engine(url)
        ledger = PostgresLedger(engine)
        leasing = wish(policy, a_lease(1.0))

        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_LOST_AT_COMMIT)
            with pytest.raises(Unconfirmed):
                await ledger.exchange([leasing])
            connection.execute("alter table allowance rename to elsewhere")
            with pytest.raises(Unavailable) as undone:
                await ledger.exchange([leasing])

        engine.dispose()
    assert not isinstance(undone.value, Unconfirmed)


def _collect(failures, work):
    try:
        work()
    except Exception as error:
        failures.append(error)
