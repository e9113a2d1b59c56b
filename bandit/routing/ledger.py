"""
The money that all processes share: what is told to the ledger, asked of it, and answered.

Accounts follow what a budget's decisions cost.  Limits are leased: a process takes a part ahead of
its need and decides from what it has in hand, so that together they never take more than there is.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from bandit.domain.arm import ArmId
from bandit.domain.budget import Account
from bandit.domain.decision import Decision, DecisionId
from bandit.domain.policy import PolicyId

SLOTS, EXPLORE_USD = "slots", "explore-usd"
SETTLE_AFTER = timedelta(minutes=10)  # without an outcome, what was expected stands


def slots_name(arm_id: ArmId) -> str:
    """Under which the ledger keeps an exploring arm's trials."""
    return f"{SLOTS}:{arm_id}"


def explore_usd_name(arm_id: ArmId) -> str:
    """Under which the ledger keeps what an exploring arm's trials may cost."""
    return f"{EXPLORE_USD}:{arm_id}"


@dataclass(frozen=True, slots=True)
class Booking:
    """
    What decisions add to a budget's account: balance = min(balance + credit, cap) - debit.

    credit, debit, cap   USD, or quality under a quality floor
    spent_usd            expected until outcomes come
    """

    decisions: int = 0
    credit: float = 0.0
    debit: float = 0.0
    spent_usd: float = 0.0
    cap: float = math.inf

    def plus(self, other: "Booking", *, sign: int = 1) -> "Booking":
        """Both together; with sign -1 the other one is taken out again."""
        return Booking(
            decisions=self.decisions + sign * other.decisions,
            credit=self.credit + sign * other.credit,
            debit=self.debit + sign * other.debit,
            spent_usd=self.spent_usd + sign * other.spent_usd,
            cap=min(self.cap, other.cap),
        )


NOTHING_BOOKED = Booking()


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """
    A wish for a part of something limited that all processes share.

    name   what is limited
    need   at least so much is useful
    share  of what is left may be taken at once, where that is more than `need`; 0 to 1
    limit  of everything taken and not returned
    whole  only whole numbers are given
    """

    name: str
    need: float
    share: float
    limit: float
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Wish:
    """What one process tells the ledger about one policy, and asks of it."""

    policy_id: PolicyId
    epoch: int  # version of the policy that set the budget
    at: datetime
    booking: Booking = NOTHING_BOOKED
    leases: tuple[LeaseRequest, ...] = ()
    returned: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Statement:
    """
    The ledger's answer to one wish.

    account   after the booking
    granted   per name of a lease, 0 to what was asked for
    """

    account: Account | None
    granted: Mapping[str, float]


def granted_of(request: LeaseRequest, *, taken: float) -> float:
    """How much of a limit one lease gives, where so much of it is taken."""
    left = max(request.limit - taken, 0.0)
    granted = min(max(request.need, request.share * left), left)
    return float(math.floor(granted)) if request.whole else granted


class Ledger(Protocol):
    """The money that all processes share."""

    async def exchange(self, wishes: Sequence[Wish]) -> Sequence[Statement]:
        """Book, give back and lease, in one transaction; one statement per wish."""
        ...


def with_booking(account: Account, booking: Booking) -> Account:
    """The account after what decisions add to it."""
    if booking == NOTHING_BOOKED:
        return account
    return Account(
        balance=min(account.balance + booking.credit, booking.cap) - booking.debit,
        decisions=account.decisions + booking.decisions,
        spent_usd=account.spent_usd + booking.spent_usd,
    )


@dataclass(frozen=True, slots=True)
class Allowance:
    """What was taken of something limited, less what was returned, and when last taken."""

    taken: float
    at: datetime


class LedgerReader(Protocol):
    """The ledger as those who show it read it."""

    def account(self, policy_id: PolicyId, epoch: int) -> Account:
        """The account of a budget; empty where nothing was booked yet."""
        ...

    def allowances(self, policy_id: PolicyId) -> dict[str, Allowance]:
        """What was taken under each name."""
        ...


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a decision holds of a limit until its cost is known."""

    decision_id: DecisionId
    epoch: int
    name: str
    reserved_usd: float
    expected_usd: float


def reservation_of(decision: Decision) -> Reservation | None:
    """What a decision holds of its window's limit; None where there is none."""
    charge = decision.charge
    if charge is None or charge.reserved_usd is None or charge.limit_name is None:
        return None
    return Reservation(
        decision.id, charge.epoch, charge.limit_name, charge.reserved_usd, charge.expected_usd
    )


@dataclass(frozen=True, slots=True)
class Settlement:
    """
    What becomes of a decision's booking.

    balance       added to the account of `epoch`
    spent_usd     added to its spending
    name          of the limit that something is returned to; "": none
    returned_usd  may be negative: it cost more than was reserved
    is_final      the reservation ends
    """

    decision_id: DecisionId
    epoch: int
    balance: float = 0.0
    spent_usd: float = 0.0
    name: str = ""
    returned_usd: float = 0.0
    is_final: bool = False
