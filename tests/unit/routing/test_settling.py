"""What a decision finally takes of an account and a limit, whatever came in which order."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandit.domain.budget import Budget
from bandit.domain.objective import Objective
from bandit.routing.learner import fold_due
from bandit.routing.ledger import SETTLE_AFTER, Booking, LeaseRequest, Wish, reservation_of
from bandit.routing.settling import Known, lapsed, settlements
from bandit.store.memory import MemoryStore
from tests.builders import NOW, a_charge, a_decision, a_policy, an_event, an_outcome

QUALITY, COST = Objective.QUALITY, Objective.COST
LIMIT = "limit:now"
EXPECTED, RESERVED, LEASED = 0.001, 0.004, 1.0
TARGETED = Budget(target_usd=0.01, limit_usd=5.0)


def with_budget(budget=TARGETED):
    return replace(a_policy(), budget=budget, budget_epoch=2, version=2)


def with_limit(policy, **charge):
    charge = a_charge(expected_usd=EXPECTED, reserved_usd=RESERVED, limit_name=LIMIT, **charge)
    return a_decision(policy, charge=charge)


class World:
    """One decision of a policy, booked in a ledger from which a dollar was leased."""

    def __init__(self, policy):
        self.policy = policy
        self.store = MemoryStore()
        self.store.create(policy, an_event())
        self.decision = with_limit(policy)
        booking = Booking(1, 0.01, EXPECTED, EXPECTED, 1.0)
        lease = LeaseRequest(LIMIT, LEASED, 0.0, 5.0)
        self.store.exchange_now([Wish(policy.id, 2, NOW, booking, (lease,))])
        self.store.record_now([self.decision])
        self.now = NOW

    def tell(self, value, *, source="default", sequence=0):
        row = an_outcome(
            self.decision, COST, value=value, source=source, sequence=sequence, received_at=self.now
        )
        self.store.append_now(self.policy.id, [row])

    def fold(self):
        fold_due(self.store, self.policy, now=self.now)

    def wait(self):
        self.now = NOW + SETTLE_AFTER + timedelta(seconds=1)

    @property
    def books(self):
        """Balance, USD spent, and what is taken of the limit besides the rest of the lease."""
        account = self.store.account(self.policy.id, 2)
        taken = self.store.allowances(self.policy.id)[LIMIT].taken
        return (account.balance, account.spent_usd, taken - (LEASED - RESERVED))

    @property
    def holds(self):
        return self.store.policies_with_due(now=NOW + timedelta(days=1)) != []


def settled(cost):
    return pytest.approx((0.01 - cost, cost, cost), abs=1e-12)


def test_the_cost_that_was_takes_the_place_of_the_one_that_was_expected():
    world = World(with_budget())

    world.tell(0.003)
    world.fold()

    assert world.books == settled(0.003)
    assert not world.holds


def test_a_call_dearer_than_its_reservation_takes_more_of_the_limit():
    world = World(with_budget())

    world.tell(0.009)
    world.fold()

    assert world.books == settled(0.009)


def test_without_an_outcome_what_was_expected_stands_and_the_rest_goes_back():
    world = World(with_budget())

    world.fold()
    held = world.books
    world.wait()
    world.fold()

    assert held == pytest.approx((0.01 - EXPECTED, EXPECTED, RESERVED))
    assert world.books == settled(EXPECTED)
    assert not world.holds


@settings(deadline=None)
@given(
    costs=st.lists(st.floats(0, 0.02), min_size=1, max_size=4),
    steps=st.permutations(["wait", *["tell"] * 4]),
    folds=st.lists(st.booleans(), min_size=5, max_size=5),
    sources=st.lists(st.sampled_from(["billing", "caller"]), min_size=4, max_size=4),
)
def test_the_final_books_depend_on_the_effective_cost_alone(costs, steps, folds, sources):
    """Corrections, late outcomes, several sources, expiry before, between and after, or at once."""
    world = World(with_budget())
    latest, left = {}, list(costs)
    for step, folds_now in zip(steps, folds, strict=True):
        if step == "wait":
            world.wait()
        elif left:
            cost, source = left.pop(), sources[len(left)]
            world.tell(cost, source=source, sequence=10 - len(left))
            latest[source] = cost
        if folds_now:
            world.fold()

    world.wait()
    world.fold()

    assert world.books == settled(sum(latest.values()) / len(latest))
    assert not world.holds


def test_an_outcome_that_changes_nothing_settles_nothing():
    world = World(with_budget())
    world.tell(0.003)
    world.fold()

    world.tell(0.003, sequence=1)
    world.fold()

    assert world.books == settled(0.003)


def test_without_a_target_the_balance_stays_as_it_is():
    policy = with_budget(Budget(limit_usd=5.0))
    decision = with_limit(policy, overshoot_usd=None)
    held = {decision.id: reservation_of(decision)}

    (one,) = settlements(policy, [Known(decision, COST, None, 0.003)], held)

    assert one.balance == 0.0
    assert one.spent_usd == pytest.approx(0.003 - EXPECTED)
    assert one.returned_usd == pytest.approx(RESERVED - 0.003)
    assert one.is_final


def test_a_learner_that_has_not_read_the_budget_yet_settles_all_the_same():
    policy = with_budget()
    decision = with_limit(policy)
    held = {decision.id: reservation_of(decision)}
    known = [Known(decision, COST, None, 0.003)]

    seen = settlements(policy, known, held)
    unseen = settlements(replace(policy, budget=None, budget_epoch=0), known, held)

    assert unseen == seen


def test_under_a_quality_floor_the_quality_does_what_the_cost_does():
    """Expected .9, first .7, then corrected to .8; costs leave the balance alone."""
    policy = with_budget(Budget(quality_floor=0.75))
    decision = a_decision(policy, charge=a_charge(overshoot_usd=None))

    first, then, cost = settlements(
        policy,
        [
            Known(decision, QUALITY, None, 0.7),
            Known(decision, QUALITY, 0.7, 0.8),
            Known(decision, COST, None, 0.5),
        ],
        {},
    )

    assert first.balance == pytest.approx(-0.2)
    assert then.balance == pytest.approx(0.1)
    assert (cost.balance, cost.spent_usd) == (0.0, pytest.approx(0.5 - 0.001))


def test_qualities_and_latencies_leave_the_books_of_a_target_alone():
    policy = with_budget()
    decision = with_limit(policy)
    known = [Known(decision, QUALITY, None, 0.1), Known(decision, Objective.LATENCY, None, 5.0)]

    assert settlements(policy, known, {}) == []


def test_decisions_without_a_charge_settle_nothing():
    policy = with_budget()

    assert settlements(policy, [Known(a_decision(policy), COST, None, 1.0)], {}) == []


def test_what_lapsed_gives_back_all_but_what_was_expected():
    policy = with_budget()
    reservation = reservation_of(with_limit(policy))

    (one,) = lapsed([reservation])

    assert (one.name, one.is_final) == (LIMIT, True)
    assert one.returned_usd == pytest.approx(RESERVED - EXPECTED)
    assert (one.balance, one.spent_usd) == (0.0, 0.0)
