"""What the calls answer with: frozen values in the units of the API."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from uuid import UUID

from bandit.domain.arm import ArmStatus
from bandit.domain.budget import Budget
from bandit.domain.objective import Objective
from bandit.domain.offline_prior import OfflinePrior
from bandit.domain.outcome import Receipt
from bandit.domain.policy import PolicySettings
from bandit.domain.price import Price
from bandit.domain.reward_window import RewardWindow


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

    utility      expected, under the request's trade-off, less the price of budget times the
                 expected cost
    propensity   probability with which it was to be chosen; 0 when removed
    removed_by   empty when eligible, else the filter that removed it, such as `max_cost_usd`
    """

    arm: str
    predicted: Prediction
    utility: float
    propensity: float
    removed_by: str


@dataclass(frozen=True, slots=True)
class Charge:
    """
    What the policy's budget had to do with one decision.

    price          of budget: utility per USD; 0: the budget did not bind
    balance        of the account when the decision was made: USD, or quality under a floor
    utilisation    mean cost over the target until then; None: no target, or no decision yet
    overshoot_usd  spent above the target until then; None: no target
    expected_usd   booked until the cost is known
    reserved_usd   held of the window's limit until the cost is known; None: no limit
    """

    price: float
    balance: float
    utilisation: float | None
    overshoot_usd: float | None
    expected_usd: float
    reserved_usd: float | None


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
    budget       what the policy's budget had to do with it; None: it had none
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
    budget: Charge | None = None


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
    offline                 what outcomes recorded elsewhere say of it; in an answer without sums
    explore_limit_usd       what its trials may cost together while it is new; None: no limit
    """

    name: str
    status: ArmStatus | None = None
    price: Price | None = None
    context_window_tokens: int | None = None
    offline: Mapping[Objective, OfflinePrior] = field(default_factory=lambda: MappingProxyType({}))
    explore_limit_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """
    A policy as it is.

    policy_version    grows with every change to it, an arm or a price
    learned_version   grows with each batch of outcomes learned
    arms              oldest first, retired ones too
    budget            what it may spend; None: as much as its decisions cost
    """

    name: str
    settings: PolicySettings
    policy_version: int
    learned_version: int
    created_at: datetime
    is_archived: bool
    arms: tuple[Arm, ...]
    budget: Budget | None = None


@dataclass(frozen=True, slots=True)
class BudgetWindow:
    """
    The part of time that a limit now holds for.

    taken_usd   spent, reserved or held by a router, and not returned
    """

    start: datetime
    limit_usd: float
    taken_usd: float


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """
    A policy's budget and what was spent since it was set, by all routers together.

    price          utility per USD at the router that answered
    balance        USD left over, negative when overspent; under a quality floor quality above it
    decisions      booked
    spent_usd      real where outcomes came, expected elsewhere
    utilisation    mean cost of a decision over the target; None: no target, or no decision yet
    overshoot_usd  spent above the target so far; None: no target
    window         None: there is no limit
    """

    budget: Budget
    price: float
    balance: float
    decisions: int
    spent_usd: float
    utilisation: float | None
    overshoot_usd: float | None
    window: BudgetWindow | None


@dataclass(frozen=True, slots=True)
class HeadState:
    """
    What is believed about one objective of one arm.

    observations      outcomes learned
    weight            what they count together; less than their number where outcomes age
    mean, deviation   the belief for a request of which nothing is known: quality, USD, milliseconds
    fault             empty when healthy, else why the stored state is not used
    alarms            how often a change was found
    alarmed_at        outcomes of decisions up to then count less, for the last one; None: none yet
    prior_strength    outcomes that the arm's offline prior counts as
    """

    objective: Objective
    observations: int
    weight: float
    mean: float
    deviation: float
    version: int
    fault: str
    alarms: int
    alarmed_at: datetime | None
    prior_strength: float


@dataclass(frozen=True, slots=True)
class Trials:
    """
    How far an arm that is new has been tried.

    taken       of `quota` decisions, by all routers
    limit_usd   what they may cost together; None: no limit
    taken_usd   of that limit
    """

    taken: int
    quota: int
    limit_usd: float | None
    taken_usd: float


@dataclass(frozen=True, slots=True)
class ArmState:
    """What is believed about one arm; exploring None: it is no longer new."""

    arm: str
    status: ArmStatus
    price: Price | None
    heads: tuple[HeadState, ...]
    exploring: Trials | None = None


@dataclass(frozen=True, slots=True)
class PolicyState:
    """
    What the router that answered serves of a policy.

    learned_version    of the state in the database
    snapshot_version   of the state that is served; behind for a moment after each batch
    pending_outcomes   stored and not yet learned, but for those whose reward window is open
    context_weight     0 to 1, how far predictions of quality lean on a request's context
    budget             with what was spent; None: it has none
    reward_windows     how long outcomes are waited for, per objective; absent: for ever
    quarantined        what of the log was set aside because it cannot be learned
    """

    policy: str
    policy_version: int
    learned_version: int
    snapshot_version: int
    as_of: datetime
    pending_outcomes: int
    arms: tuple[ArmState, ...]
    context_weight: float
    budget: BudgetStatus | None = None
    reward_windows: Mapping[Objective, RewardWindow] = field(
        default_factory=lambda: MappingProxyType({})
    )
    quarantined: int = 0
