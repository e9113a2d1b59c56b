"""
What this process knows of its policies' money, and what it holds of it.

Decisions are taken from memory: the price of budget, the account as last read and what was booked
since, dollars leased from the window's limit, trial slots leased for new arms.  `asked` and `told`
exchange all this with the ledger that the processes share, as often as the caller finds time.
"""

import math
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from bandit.domain.arm import Arm, ArmStatus
from bandit.domain.budget import EMPTY, Account, Budget
from bandit.domain.decision import Decision
from bandit.domain.policy import Policy, PolicyId
from bandit.policies.pacing import Pacer
from bandit.policies.spending import NO_TERMS, Terms
from bandit.routing.deciding import Decided
from bandit.routing.ledger import (
    NOTHING_BOOKED,
    SLOTS,
    Booking,
    LeaseRequest,
    Statement,
    Wish,
    explore_usd_name,
    slots_name,
    with_booking,
)
from bandit.routing.snapshot import Snapshot

BALANCE_CAP = 100.0  # of targets: no windfall is spent in one burst
QUALITY_CAP = 30.0  # of quality above the floor
SLOTS_IN_HAND = 2.0
EXPLORE_SHARE = 1 / 4  # of what trials may cost: one may cost far more than it is expected to
LEASE_SHARE = 1 / 16  # of what is left of a limit, in one lease
IDLE = timedelta(seconds=2)
ASK_AGAIN = timedelta(milliseconds=200)


@dataclass(slots=True)
class _Lease:
    """What is in hand of one limit; `asked_at` is when the ledger last had nothing more."""

    in_hand: float = 0.0
    used_at: datetime | None = None
    refused_at: datetime | None = None


@dataclass(slots=True)
class _Purse:
    """One policy's money in this process."""

    policy: Policy
    epoch: int
    pacer: Pacer
    account: Account = EMPTY
    pending: Booking = NOTHING_BOOKED
    on_the_way: Booking = NOTHING_BOOKED
    limit_name: str | None = None
    leases: dict[str, _Lease] = field(default_factory=dict)
    to_return: dict[str, float] = field(default_factory=dict)


class Budgets:
    """The purses of all policies that have a budget or arms in exploration."""

    def __init__(self) -> None:
        self._purses: dict[PolicyId, _Purse] = {}

    @staticmethod
    def is_free(policy: Policy, arms: Sequence[Arm]) -> bool:
        """Whether nothing limits or steers what its decisions spend: all have `NO_TERMS`."""
        return policy.budget is None and not any(arm.status is ArmStatus.EXPLORE for arm in arms)

    def terms(self, snapshot: Snapshot, at: datetime, *, is_kept: bool = True) -> Terms:
        """
        On what terms the next decision of a policy may spend.

        is_kept  False: nobody decides, so a price that is solved for it is not kept
        """
        policy = snapshot.policy
        if self.is_free(policy, snapshot.arms):
            return NO_TERMS
        exploring = [arm for arm in snapshot.arms if arm.status is ArmStatus.EXPLORE]
        purse = self._purse(policy, at)
        budget = purse.policy.budget
        account = with_booking(with_booking(purse.account, purse.on_the_way), purse.pending)
        price = 0.0
        lease_usd = math.inf
        if budget is not None and budget.is_paced:
            pacer = purse.pacer if is_kept else copy(purse.pacer)
            price = pacer.price(
                budget,
                account.balance,
                arms=[arm.id for arm in snapshot.arms],
                prices=snapshot.prices,
                unpriced_usd=snapshot.unpriced_usd,
            )
        if purse.limit_name is not None:
            lease_usd = _in_hand(purse, purse.limit_name)
        return Terms(
            budget=budget,
            epoch=purse.epoch,
            account=account,
            price=price,
            lease_usd=lease_usd,
            limit_name=purse.limit_name,
            slots={arm.id: _in_hand(purse, slots_name(arm.id)) for arm in exploring},
            explore_usd={
                arm.id: _in_hand(purse, explore_usd_name(arm.id))
                for arm in exploring
                if arm.explore_limit_usd is not None
            },
        )

    def preview_terms(self, snapshot: Snapshot, at: datetime) -> Terms:
        """`terms` as they are after a lease that is not asked for, unless there was none left."""
        terms = self.terms(snapshot, at, is_kept=False)
        if terms.budget is None or terms.budget.limit_usd is None or terms.limit_name is None:
            return terms
        lease = self._purse(snapshot.policy, at).leases.get(terms.limit_name)
        if lease is not None and lease.refused_at is not None:
            return terms
        return replace(terms, lease_usd=terms.budget.limit_usd)

    def book(self, snapshot: Snapshot, decided: Decided) -> None:
        """Take what a decision costs, for now, out of what is in hand."""
        self._move(snapshot.policy, decided.decision, sign=1)
        purse = self._purses.get(snapshot.policy.id)
        if purse is not None and decided.considered is not None:
            purse.pacer.record(decided.considered)

    def unbook(self, policy: Policy, decision: Decision) -> None:
        """Put back what a decision took that turned out to have been made before."""
        self._move(policy, decision, sign=-1)

    def _move(self, policy: Policy, decision: Decision, *, sign: int) -> None:
        purse = self._purses.get(policy.id)
        if purse is None:
            return
        charge = decision.charge
        budget = purse.policy.budget
        if charge is not None and charge.epoch == purse.epoch and budget is not None:
            purse.pending = purse.pending.plus(_booking(budget, decision), sign=sign)
        if charge is not None and charge.reserved_usd is not None and charge.limit_name is not None:
            self._take(purse, charge.limit_name, sign * charge.reserved_usd, decision.at)
        arm = policy.arm(decision.arm_id)
        if arm.status is ArmStatus.EXPLORE:
            self._take(purse, slots_name(arm.id), sign, decision.at)
            if arm.explore_limit_usd is not None:
                cost_usd = float(decision.chosen["mean"][1])
                self._take(purse, explore_usd_name(arm.id), sign * cost_usd, decision.at)

    @staticmethod
    def _take(purse: _Purse, name: str, amount: float, at: datetime) -> None:
        lease = purse.leases.setdefault(name, _Lease())
        lease.in_hand -= amount
        lease.used_at = at

    # Between this process and the ledger

    def wish_for(self, snapshot: Snapshot, lacking_usd: float, at: datetime) -> Wish | None:
        """
        What to ask of the ledger when the lease did not cover an arm.

        None: there is no limit, somebody else has asked meanwhile, or there was none left just now.
        """
        policy = snapshot.policy
        purse = self._purse(policy, at)
        budget = purse.policy.budget
        name = purse.limit_name
        if budget is None or budget.limit_usd is None or name is None:
            return None
        if lacking_usd > budget.limit_usd:
            return None  # no lease could ever cover it, and asking would take all that is left
        lease = purse.leases.setdefault(name, _Lease())
        if lease.refused_at is not None and at - lease.refused_at < ASK_AGAIN:
            return None
        need = lacking_usd - lease.in_hand
        if need <= 0:
            return None
        request = LeaseRequest(name, need, LEASE_SHARE, budget.limit_usd)
        return Wish(policy.id, purse.epoch, at, leases=(request,))

    def asked(self, policies: Sequence[Policy], at: datetime) -> list[Wish]:
        """Everything that is to be told to the ledger and asked of it now."""
        wishes = []
        for policy in policies:
            exploring = [arm for arm in policy.arms if arm.status is ArmStatus.EXPLORE]
            if policy.budget is None and not exploring and policy.id not in self._purses:
                continue
            purse = self._purse(policy, at)
            leases = []
            for arm in exploring:
                missing = SLOTS_IN_HAND - _in_hand(purse, slots_name(arm.id))
                quota = float(policy.settings.explore_quota)
                if missing >= 1:
                    leases.append(LeaseRequest(slots_name(arm.id), missing, 0.0, quota, whole=True))
                if arm.explore_limit_usd is not None:
                    share = arm.explore_limit_usd * EXPLORE_SHARE
                    lacks = share - _in_hand(purse, explore_usd_name(arm.id))
                    if lacks > share / 4:
                        name = explore_usd_name(arm.id)
                        leases.append(LeaseRequest(name, lacks, 0.0, arm.explore_limit_usd))
            self._give_up_idle(purse, at)
            booking, purse.pending = purse.pending, NOTHING_BOOKED
            purse.on_the_way = purse.on_the_way.plus(booking)
            returned, purse.to_return = purse.to_return, {}
            is_needed = policy.budget is not None
            if is_needed or leases or returned:
                wishes.append(Wish(policy.id, purse.epoch, at, booking, tuple(leases), returned))
        return wishes

    def told(self, wishes: Sequence[Wish], statements: Sequence[Statement], at: datetime) -> None:
        """Take over what the ledger answered."""
        for wish, statement in zip(wishes, statements, strict=True):
            purse = self._purses.get(wish.policy_id)
            if purse is None:
                continue
            if purse.epoch == wish.epoch:
                if statement.account is not None:
                    purse.account = statement.account
                purse.on_the_way = purse.on_the_way.plus(wish.booking, sign=-1)
            # Limits outlive the budget that was replaced meanwhile.
            for request in wish.leases:
                granted = statement.granted.get(request.name, 0.0)
                lease = purse.leases.setdefault(request.name, _Lease())
                lease.in_hand += granted
                lease.used_at = lease.used_at or at
                lease.refused_at = None if granted >= request.need else at

    def failed(self, wishes: Sequence[Wish], *, is_unknown: bool = False) -> None:
        """
        The ledger could not be reached: bookings wait for the next time.

        is_unknown  it may have been carried out: what was given back is not given back again, since
                    a limit must not grow by that; it stays taken until its window ends
        """
        for wish in wishes:
            purse = self._purses.get(wish.policy_id)
            if purse is None:
                continue
            if purse.epoch == wish.epoch:
                purse.on_the_way = purse.on_the_way.plus(wish.booking, sign=-1)
                purse.pending = purse.pending.plus(wish.booking)
            if is_unknown:
                continue
            for name, amount in wish.returned.items():
                purse.to_return[name] = purse.to_return.get(name, 0.0) + amount

    def status(self, policy: Policy) -> tuple[float, Account] | None:
        """The price of budget and the account as this process has them; None: no purse."""
        purse = self._purses.get(policy.id)
        if purse is None or purse.epoch != policy.budget_epoch:
            return None
        account = with_booking(with_booking(purse.account, purse.on_the_way), purse.pending)
        return purse.pacer.last_price, account

    def hand_back(self, at: datetime) -> list[Wish]:
        """Everything in hand, for the end of the process."""
        wishes = []
        for policy_id, purse in self._purses.items():
            returned, purse.to_return = purse.to_return, {}
            for name, lease in purse.leases.items():
                if lease.in_hand > 0:
                    returned[name] = returned.get(name, 0.0) + lease.in_hand
            purse.leases.clear()
            booking, purse.pending = purse.pending, NOTHING_BOOKED
            if returned or booking.decisions:
                wishes.append(Wish(policy_id, purse.epoch, at, booking, (), returned))
        return wishes

    def _give_up_idle(self, purse: _Purse, at: datetime) -> None:
        """Leases that nobody uses go back, so that other processes may have them."""
        for name, lease in list(purse.leases.items()):
            if name.startswith(SLOTS) or lease.in_hand <= 0:
                continue
            if lease.used_at is not None and at - lease.used_at > IDLE:
                purse.to_return[name] = purse.to_return.get(name, 0.0) + lease.in_hand
                del purse.leases[name]

    def _purse(self, policy: Policy, at: datetime) -> _Purse:
        """The purse of the newest budget seen; a batch may still decide from an older snapshot."""
        purse = self._purses.get(policy.id)
        if purse is None:
            purse = self._purses[policy.id] = _Purse(policy, policy.budget_epoch, Pacer(()))
        elif policy.budget_epoch > purse.epoch:
            successor = _Purse(policy, policy.budget_epoch, Pacer(()))
            successor.leases, successor.to_return = purse.leases, purse.to_return
            purse = self._purses[policy.id] = successor
        elif policy.version > purse.policy.version:
            purse.policy = policy
        budget = purse.policy.budget
        has_limit = budget is not None and budget.limit_usd is not None
        purse.limit_name = budget.limit_name(at) if budget is not None and has_limit else None
        return purse


def _in_hand(purse: _Purse, name: str) -> float:
    lease = purse.leases.get(name)
    return 0.0 if lease is None else lease.in_hand


def _booking(budget: Budget, decision: Decision) -> Booking:
    """What one decision adds to the account, until its outcome comes."""
    assert decision.charge is not None  # noqa: S101 - the caller has looked
    expected_usd = decision.charge.expected_usd
    if budget.target_usd is not None:
        return Booking(
            decisions=1,
            credit=budget.target_usd,
            debit=expected_usd,
            spent_usd=expected_usd,
            cap=BALANCE_CAP * budget.target_usd,
        )
    if budget.quality_floor is not None:
        quality = float(decision.chosen["mean"][0])
        return Booking(1, quality, budget.quality_floor, expected_usd, QUALITY_CAP)
    return Booking(decisions=1, spent_usd=expected_usd)
