"""All that the store in memory keeps of one policy."""

from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock

from bandit.domain.budget import Account
from bandit.domain.decision import Decision, DecisionId
from bandit.domain.outcome import OutcomeRow
from bandit.domain.policy import Policy
from bandit.learning.alarms import Alarm, Monitor
from bandit.learning.exclusion import Exclusion
from bandit.routing.history import KeptState, SnapshotInfo
from bandit.routing.ledger import Allowance, Reservation
from bandit.routing.misfit import Misfit
from bandit.routing.ports import Cell, Key, PolicyEvent, StoredSums


@dataclass(slots=True)
class PolicyState:
    """All that is kept of one policy."""

    policy: Policy
    events: list[PolicyEvent]
    learned_version: int = 0
    decisions: dict[DecisionId, Decision] = field(default_factory=dict)
    outcomes: dict[Key, list[OutcomeRow]] = field(default_factory=dict)
    line: dict[int, tuple[Key, datetime]] = field(default_factory=dict)
    held: set[int] = field(default_factory=set)  # tickets that wait for a window to close
    contributions: dict[Key, float] = field(default_factory=dict)
    exclusions: dict[int, Exclusion] = field(default_factory=dict)
    lifted: set[int] = field(default_factory=set)
    quarantine: dict[tuple[str, str], Misfit] = field(default_factory=dict)
    snapshots: dict[int, KeptState] = field(default_factory=dict)
    sums: dict[tuple[str, Cell], StoredSums] = field(default_factory=dict)
    monitors: dict[Cell, Monitor] = field(default_factory=dict)
    alarms: dict[Cell, tuple[Alarm, ...]] = field(default_factory=dict)
    reservations: dict[DecisionId, tuple[Reservation, datetime]] = field(default_factory=dict)
    accounts: dict[int, Account] = field(default_factory=dict)
    allowances: dict[str, Allowance] = field(default_factory=dict)
    next_ticket: int = 0
    lock: Lock = field(default_factory=Lock)

    def enqueue(self, key: Key, due_at: datetime, *, is_held: bool) -> None:
        """Mark a key as dirty; `is_held`: it waits for its window to close."""
        self.line[self.next_ticket] = (key, due_at)
        if is_held:
            self.held.add(self.next_ticket)
        self.next_ticket += 1

    def in_force(self) -> dict[int, Exclusion]:
        """The exclusions that count, by their ids."""
        return {id_: one for id_, one in self.exclusions.items() if id_ not in self.lifted}

    def keep_snapshot(self, reason: str, *, at: datetime) -> int | None:
        """Copy what is stored; the id of the copy, None if nothing was ever learned."""
        if self.learned_version == 0:
            return None
        info = SnapshotInfo(
            id=max(self.snapshots, default=0) + 1,
            at=at,
            reason=reason,
            learned_version=self.learned_version,
            pending=len(
                {
                    key
                    for ticket, (key, due_at) in self.line.items()
                    if ticket not in self.held or due_at <= at
                }
            ),
            posteriors=len(self.sums),
            observations=sum(held.observations for held in self.sums.values()),
        )
        sums = {cell: held for (_, cell), held in self.sums.items()}
        self.snapshots[info.id] = KeptState(
            info, sums, dict(self.alarms), frozenset(self.in_force())
        )
        return info.id

    def put_back(self, name: str, amount: float) -> None:
        """Return a part of a limit; negative: more was used than was taken."""
        held = self.allowances.get(name)
        if held is not None:
            self.allowances[name] = Allowance(held.taken - amount, held.at)
