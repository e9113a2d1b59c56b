"""What the calls answer with: frozen values in the units of the API."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from bandit.domain.arm import ArmStatus
from bandit.domain.objective import Objective
from bandit.domain.outcome import Receipt
from bandit.domain.policy import PolicySettings
from bandit.domain.price import Price


@dataclass(frozen=True, slots=True)
class Estimate:
    """An expected value and the standard deviation of the belief about it, in one unit."""

    mean: float
    deviation: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """What is expected of an arm's answer; None: not learned by the policy."""

    quality: Estimate | None = None
    cost_usd: Estimate | None = None
    latency_ms: Estimate | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """
    One arm as a decision saw it.

    utility      expected, under the request's trade-off
    propensity   probability with which it was to be chosen; 0 when removed
    removed_by   empty when eligible, else the filter that removed it, such as `max_cost_usd`
    """

    arm: str
    predicted: Prediction
    utility: float
    propensity: float
    removed_by: str


@dataclass(frozen=True, slots=True)
class Decision:
    """
    The arm chosen for one request.

    id           to report outcomes under; None in a preview
    propensity   probability with which the arm was chosen; in (0, 1]
    ranked       the eligible arms, highest expected utility first: what to fall back on
    candidates   every arm, if the request asked to explain
    is_durable   stored for certain; False: unknown, or a preview
    is_replayed  this decision id was answered before, and this is that answer
    """

    policy: str
    id: UUID | None
    arm: str
    propensity: float
    predicted: Prediction
    ranked: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    policy_version: int
    snapshot_version: int
    is_durable: bool
    is_replayed: bool


@dataclass(frozen=True, slots=True)
class ReportResult:
    """What became of a report's values: one receipt per objective it has a value for."""

    receipts: tuple[Receipt, ...]


@dataclass(frozen=True, slots=True)
class Arm:
    """
    A model that a policy can choose.

    status                  None in a request: active in a new policy, explore in one that exists
    price                   None: not known, its cost is learned from outcomes alone
    context_window_tokens   input plus output tokens; None: no limit
    """

    name: str
    status: ArmStatus | None = None
    price: Price | None = None
    context_window_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """
    A policy as it is.

    policy_version    grows with every change to it, an arm or a price
    learned_version   grows with each batch of outcomes learned
    arms              oldest first, retired ones too
    """

    name: str
    settings: PolicySettings
    policy_version: int
    learned_version: int
    created_at: datetime
    is_archived: bool
    arms: tuple[Arm, ...]


@dataclass(frozen=True, slots=True)
class HeadState:
    """
    What is believed about one objective of one arm.

    observations      outcomes learned
    weight            what they count together; less than their number where outcomes age
    mean, deviation   the belief for a request of which nothing is known: quality, USD, milliseconds
    fault             empty when healthy, else why the stored state is not used
    """

    objective: Objective
    observations: int
    weight: float
    mean: float
    deviation: float
    version: int
    fault: str


@dataclass(frozen=True, slots=True)
class ArmState:
    """What is believed about one arm."""

    arm: str
    status: ArmStatus
    price: Price | None
    heads: tuple[HeadState, ...]


@dataclass(frozen=True, slots=True)
class PolicyState:
    """
    What the router that answered serves of a policy.

    learned_version    of the state in the database
    snapshot_version   of the state that is served; behind for a moment after each batch
    pending_outcomes   stored and not yet learned
    """

    policy: str
    policy_version: int
    learned_version: int
    snapshot_version: int
    as_of: datetime
    pending_outcomes: int
    arms: tuple[ArmState, ...]
