"""
What the use cases need from storage.

The hot path (`DecisionLog`, `ActivationLog`, `OutcomeLog`) is asynchronous: it awaits a group
commit.  The other ports are synchronous and called through a thread.  Every one raises
`Unavailable` when the store cannot answer, and has a twin in memory that passes the same contract
suite.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Protocol

from bandit.domain.arm import ArmId
from bandit.domain.decision import Decision, DecisionId, Recorded
from bandit.domain.objective import Objective
from bandit.domain.outcome import Disposition, OutcomeRow
from bandit.domain.policy import Policy, PolicyId
from bandit.domain.tenant import DEFAULT_TENANT, Tenant
from bandit.learning.alarms import Alarm, Monitor
from bandit.learning.exclusion import Exclusion
from bandit.learning.sums import Sums
from bandit.routing.ledger import Reservation, Settlement
from bandit.routing.misfit import Damaged, Misfit

Cell = tuple[ArmId, Objective]
Key = tuple[DecisionId, Objective]
NOTHING_HELD: Mapping[Key, datetime] = MappingProxyType({})


class DecisionLog(Protocol):
    """The recorded decisions."""

    async def record(self, decisions: Sequence[Decision]) -> Sequence[Recorded | Exception]:
        """
        Commit decisions (of any policies) and say, in order, what the log holds under each id.
        With a decision, and never without it, goes what falls due by itself (`held_until`).

        An id that is there already keeps its first decision, which comes back with `replayed`;
        two of one id in one call likewise.  One that cannot be stored gives its own exception
        (`InvalidInput` where the id's day is not kept) and harms no other.
        """
        ...

    async def find(
        self, policy_id: PolicyId, ids: Collection[DecisionId]
    ) -> dict[DecisionId, Decision]:
        """The stored decisions among `ids`."""
        ...


class ActivationLog(Protocol):
    """Decisions that were made to wait, and wait no longer."""

    async def activate(self, decisions: Sequence[Decision], *, at: datetime) -> Sequence[bool]:
        """
        Commit that these stored, deferred decisions teach from now on, and mark all their heads as
        dirty, each due when its window says; in order, whether this call did it.

        False: it was active already, and nothing changes.
        """
        ...


class DecisionBacklog(DecisionLog, Protocol):
    """A log that answers, with `durable` False, before a decision is stored if that takes long."""

    @property
    def is_away(self) -> bool:
        """Whether nothing can be confirmed just now, so that `record` answers without waiting."""
        ...

    def waiting(
        self, policy_id: PolicyId, ids: Collection[DecisionId]
    ) -> dict[DecisionId, Decision]:
        """The decisions among `ids` of which it is not known yet whether they are stored."""
        ...


class OutcomeLog(Protocol):
    """The append-only outcomes."""

    async def append(
        self,
        policy_id: PolicyId,
        rows: Sequence[OutcomeRow],
        *,
        held_until: Mapping[Key, datetime] = NOTHING_HELD,
        dry_run: bool = False,
    ) -> Sequence[Disposition]:
        """
        Commit outcome rows of stored decisions, mark what changed as dirty, and say what became
        of each: see `routing.feedback.disposition_of`.  Rows are taken in the order given, each
        seeing those before it.  `dry_run` answers the same and changes nothing.

        held_until  keys that are due then, and not at once
        """
        ...


@dataclass(frozen=True, slots=True)
class PolicyEvent:
    """One change to a policy, kept for good."""

    at: datetime
    who: str
    kind: str  # create_policy, update_policy, add_arm, set_price, ...
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Versions:
    """The two counters that say whether a snapshot is current."""

    policy: int
    learned: int


class Catalog(Protocol):
    """Policies with their arms and prices."""

    def create(self, policy: Policy, event: PolicyEvent) -> None:
        """Store a new policy; `AlreadyExists` if its tenant has one of that name, even archived."""
        ...

    def get(self, name: str, tenant: Tenant = DEFAULT_TENANT) -> Policy:
        """The tenant's policy of that name, archived or not; `UnknownPolicy`."""
        ...

    def list(self, tenant: Tenant | None = None) -> Sequence[Policy]:
        """All policies, or a tenant's, in the order of their names, archived ones included."""
        ...

    def policies(self, ids: Collection[PolicyId]) -> Sequence[Policy]:
        """Those with these ids, as far as there are any; otherwise as `list`."""
        ...

    def replace(self, policy: Policy, event: PolicyEvent) -> None:
        """Store the successor of version `policy.version - 1`; `StalePolicy` if that is gone."""
        ...

    def versions(self) -> dict[PolicyId, Versions]:
        """The counters of all policies, in one cheap query."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class StoredSums:
    """
    The sums of one cell as they are stored.

    version       0: nothing is stored yet
    observations  outcomes folded in, undecayed
    sums          None where they cannot be decoded; `fault` then says why
    alarms        all so far, in order of time; the sums are already discounted
    """

    version: int
    observations: int
    sums: Sums | None
    fault: str = ""
    alarms: tuple[Alarm, ...] = ()


class PosteriorReader(Protocol):
    """The learned state, as routers read it."""

    def learned(
        self, policy_id: PolicyId, schema_id: str, *, known: Mapping[Cell, int]
    ) -> tuple[int, dict[Cell, StoredSums]]:
        """
        The policy's learned version, and the cells whose version differs from `known`'s.

        One consistent read; cells never written are left out.
        """
        ...

    def pending(self, policy_id: PolicyId, *, now: datetime | None = None) -> int:
        """
        How many (decision, head) wait to be folded.

        now  those whose window is open then are left out; None: they are counted
        """
        ...

    def quarantined(self, policy_id: PolicyId) -> int:
        """How many things of the log were set aside, because they cannot be learned."""
        ...


@dataclass(frozen=True, slots=True)
class Due:
    """
    A (decision, head) whose effective value may have changed; `ticket` is its place in line.

    misfit   why it cannot even be named; `key` is None then
    """

    ticket: int
    key: Key | None
    misfit: Misfit | None = None


class Fold(Protocol):
    """One transaction of a learner on one policy."""

    def due(self, *, now: datetime, limit: int) -> Sequence[Due]:
        """What is due at `now`, oldest first, at most `limit`."""
        ...

    def decisions(self, ids: Collection[DecisionId]) -> dict[DecisionId, Decision | Damaged]:
        """The stored decisions among `ids`; one that cannot be decoded says why."""
        ...

    def exclusions(self) -> Sequence[Exclusion]:
        """The exclusions in force: rows that they cover do not count."""
        ...

    def outcomes(self, keys: Collection[Key]) -> dict[Key, list[OutcomeRow]]:
        """All outcome rows of each key; `observed_at` may be left out: no value depends on it."""
        ...

    def contributions(self, keys: Collection[Key]) -> dict[Key, float]:
        """The values now counted in the sums."""
        ...

    def sums(self, schema_id: str, cells: Collection[Cell]) -> dict[Cell, StoredSums]:
        """What is stored of each cell; one never written is left out."""
        ...

    def write(
        self,
        *,
        schema_id: str,
        sums: Mapping[Cell, StoredSums],
        contributions: Mapping[Key, float | None],
    ) -> None:
        """
        Store successors (each `version` is the stored one + 1; `Conflict` otherwise) and the
        contributions they now hold; None: none any more.
        """
        ...

    def quarantine(self, misfits: Collection[Misfit], *, at: datetime) -> None:
        """Set aside what cannot be learned; of one key the last reason stays."""
        ...

    def monitors(self, cells: Collection[Cell]) -> dict[Cell, Monitor]:
        """How far the watch over each cell has come; one never watched is left out."""
        ...

    def watch(self, monitors: Mapping[Cell, Monitor]) -> None:
        """Store monitors in place of those before, without their alarms."""
        ...

    def raise_alarm(self, cell: Cell, alarm: Alarm, event: PolicyEvent) -> None:
        """Log an alarm for good: for learning, and for people as an event of the policy."""
        ...

    def settle(self, tickets: Collection[int]) -> None:
        """These are folded: they leave the line."""
        ...

    def postpone(self, tickets: Collection[int], *, until: datetime) -> None:
        """These cannot be folded now: they are due again at `until`."""
        ...

    def reservations(self, ids: Collection[DecisionId]) -> dict[DecisionId, Reservation]:
        """What these decisions still hold of their limits."""
        ...

    def expired_reservations(self, *, now: datetime, limit: int) -> Sequence[Reservation]:
        """Reservations whose time is over, oldest first, at most `limit`."""
        ...

    def settle_costs(self, settlements: Sequence[Settlement]) -> None:
        """Bring accounts and limits up to date; final ones end their reservation."""
        ...

    def advance(self) -> int:
        """Add 1 to the policy's learned version, tell the routers at commit, return it."""
        ...


class LearningStore(Protocol):
    """Where learners take work and leave posteriors."""

    def policies_with_due(self, *, now: datetime) -> Sequence[PolicyId]:
        """The policies that have something due."""
        ...

    def begin(self, policy_id: PolicyId) -> AbstractContextManager[Fold | None]:
        """
        A transaction under the policy's lock; None if another learner holds it.

        Commits when the block ends well, and changes nothing otherwise.
        """
        ...
