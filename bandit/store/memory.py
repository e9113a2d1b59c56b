"""
Every port in memory: the twin of `store/postgres`, for replay and for tests.

One process, any number of threads; nothing survives the process.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from threading import Lock, RLock

from bandit.domain.budget import EMPTY, Account
from bandit.domain.decision import EPOCH, Decision, DecisionId, Recorded, day_of
from bandit.domain.errors import (
    AlreadyExists,
    Conflict,
    InvalidInput,
    StalePolicy,
    UnknownPolicy,
)
from bandit.domain.objective import HEADS
from bandit.domain.outcome import Disposition, OutcomeRow
from bandit.domain.policy import Policy, PolicyId
from bandit.learning.alarms import Alarm, Monitor
from bandit.routing.feedback import disposition_of
from bandit.routing.ledger import (
    SETTLE_AFTER,
    Allowance,
    Reservation,
    Settlement,
    Statement,
    Wish,
    granted_of,
    reservation_of,
    with_booking,
)
from bandit.routing.ports import (
    NOTHING_HELD,
    Cell,
    Due,
    Fold,
    Key,
    PolicyEvent,
    StoredSums,
    Versions,
)


@dataclass(slots=True)
class _PolicyState:
    """All that is kept of one policy."""

    policy: Policy
    events: list[PolicyEvent]
    learned_version: int = 0
    decisions: dict[DecisionId, Decision] = field(default_factory=dict)
    outcomes: dict[Key, list[OutcomeRow]] = field(default_factory=dict)
    line: dict[int, tuple[Key, datetime]] = field(default_factory=dict)
    held: set[int] = field(default_factory=set)  # tickets that wait for a window to close
    contributions: dict[Key, float] = field(default_factory=dict)
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

    def put_back(self, name: str, amount: float) -> None:
        """Return a part of a limit; negative: more was used than was taken."""
        held = self.allowances.get(name)
        if held is not None:
            self.allowances[name] = Allowance(held.taken - amount, held.at)


class MemoryStore:
    """
    Implements `DecisionBacklog`, `ActivationLog`, `OutcomeLog`, `Catalog`, `PosteriorReader`,
    `Ledger`, `LedgerReader` and `LearningStore`.

    The asynchronous methods never wait; `record_now` and `append_now` are the same without the
    event loop, for replay.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        self._states: dict[PolicyId, _PolicyState] = {}

    # Catalog

    def create(self, policy: Policy, event: PolicyEvent) -> None:
        with self._lock:
            if any(state.policy.name == policy.name for state in self._states.values()):
                raise AlreadyExists("policy", policy.name)
            self._states[policy.id] = _PolicyState(policy, [event])

    def get(self, name: str) -> Policy:
        with self._lock:
            for state in self._states.values():
                if state.policy.name == name:
                    return state.policy
        raise UnknownPolicy(name)

    def list(self) -> Sequence[Policy]:
        with self._lock:
            policies = [state.policy for state in self._states.values()]
        return sorted(policies, key=lambda policy: policy.name)

    def replace(self, policy: Policy, event: PolicyEvent) -> None:
        with self._lock:
            state = self._states.get(policy.id)
            if state is None or state.policy.version != policy.version - 1:
                raise StalePolicy(policy.name, expected=policy.version - 1)
            state.policy = policy
            state.events.append(event)

    def versions(self) -> dict[PolicyId, Versions]:
        with self._lock:
            return {
                policy_id: Versions(state.policy.version, state.learned_version)
                for policy_id, state in self._states.items()
            }

    # DecisionBacklog, in which nothing ever waits

    is_away = False

    def waiting(
        self, policy_id: PolicyId, ids: Collection[DecisionId]
    ) -> dict[DecisionId, Decision]:
        return {}

    async def record(self, decisions: Sequence[Decision]) -> Sequence[Recorded | Exception]:
        return self.record_now(decisions)

    def record_now(self, decisions: Sequence[Decision]) -> Sequence[Recorded | Exception]:
        with self._lock:
            return [self._record(decision) for decision in decisions]

    def _record(self, decision: Decision) -> Recorded | Exception:
        try:
            day_of(decision.id)
        except InvalidInput as error:
            return error
        state = self._states[decision.policy_id]
        held = state.decisions.get(decision.id)
        if held is not None:
            return Recorded(held, replayed=True)
        state.decisions[decision.id] = decision
        reservation = reservation_of(decision)
        if reservation is not None:
            state.reservations[decision.id] = (reservation, decision.at + SETTLE_AFTER)
        if decision.is_active:
            for objective, due_at in decision.held_until.items():
                state.enqueue((decision.id, objective), due_at, is_held=True)
        return Recorded(decision)

    async def find(
        self, policy_id: PolicyId, ids: Collection[DecisionId]
    ) -> dict[DecisionId, Decision]:
        return self.find_now(policy_id, ids)

    def find_now(
        self, policy_id: PolicyId, ids: Collection[DecisionId]
    ) -> dict[DecisionId, Decision]:
        with self._lock:
            held = self._states[policy_id].decisions
            return {decision_id: held[decision_id] for decision_id in ids if decision_id in held}

    # ActivationLog

    async def activate(self, decisions: Sequence[Decision], *, at: datetime) -> Sequence[bool]:
        with self._lock:
            return [self._activate(decision, at) for decision in decisions]

    def _activate(self, decision: Decision, at: datetime) -> bool:
        state = self._states[decision.policy_id]
        stored = state.decisions[decision.id]
        if stored.is_active:
            return False
        state.decisions[decision.id] = replace(stored, activated_at=at)
        for objective in HEADS:
            due_at = stored.held_until.get(objective)
            state.enqueue(
                (decision.id, objective), EPOCH if due_at is None else due_at, is_held=bool(due_at)
            )
        return True

    # OutcomeLog

    async def append(
        self,
        policy_id: PolicyId,
        rows: Sequence[OutcomeRow],
        *,
        held_until: Mapping[Key, datetime] = NOTHING_HELD,
        dry_run: bool = False,
    ) -> Sequence[Disposition]:
        return self.append_now(policy_id, rows, held_until=held_until, dry_run=dry_run)

    def append_now(
        self,
        policy_id: PolicyId,
        rows: Sequence[OutcomeRow],
        *,
        held_until: Mapping[Key, datetime] = NOTHING_HELD,
        dry_run: bool = False,
    ) -> Sequence[Disposition]:
        with self._lock:
            state = self._states[policy_id]
            added: dict[Key, Sequence[OutcomeRow]] = {}
            dispositions = []
            for row in rows:
                key = (row.decision_id, row.objective)
                held = [*state.outcomes.get(key, ()), *added.get(key, ())]
                sequences = [other.sequence for other in held if other.source == row.source]
                disposition = disposition_of(row.sequence, sequences)
                dispositions.append(disposition)
                if disposition in (Disposition.ACCEPTED, Disposition.CORRECTED):
                    added[key] = [*added.get(key, ()), row]
            if not dry_run:
                for key, new in added.items():
                    state.outcomes.setdefault(key, []).extend(new)
                    due_at = held_until.get(key, new[0].received_at)
                    state.enqueue(key, due_at, is_held=key in held_until)
            return dispositions

    # PosteriorReader

    def learned(
        self, policy_id: PolicyId, schema_id: str, *, known: Mapping[Cell, int]
    ) -> tuple[int, dict[Cell, StoredSums]]:
        with self._lock:
            state = self._states[policy_id]
            changed = {
                cell: sums
                for (schema, cell), sums in state.sums.items()
                if schema == schema_id and known.get(cell, 0) != sums.version
            }
            return state.learned_version, changed

    def pending(self, policy_id: PolicyId, *, now: datetime | None = None) -> int:
        with self._lock:
            state = self._states[policy_id]
            waiting = {
                key
                for ticket, (key, due_at) in state.line.items()
                if now is None or ticket not in state.held or due_at <= now
            }
            return len(waiting)

    # Ledger and LedgerReader

    async def exchange(self, wishes: Sequence[Wish]) -> Sequence[Statement]:
        return self.exchange_now(wishes)

    def exchange_now(self, wishes: Sequence[Wish]) -> Sequence[Statement]:
        with self._lock:
            return [self._exchange(wish) for wish in wishes]

    def _exchange(self, wish: Wish) -> Statement:
        state = self._states[wish.policy_id]
        account = with_booking(state.accounts.get(wish.epoch, EMPTY), wish.booking)
        state.accounts[wish.epoch] = account
        for name, amount in wish.returned.items():
            state.put_back(name, amount)
        granted = {}
        for request in wish.leases:
            held = state.allowances.get(request.name)
            taken = 0.0 if held is None else held.taken
            granted[request.name] = granted_of(request, taken=taken)
            if granted[request.name] > 0:
                taken += granted[request.name]
                state.allowances[request.name] = Allowance(taken, wish.at)
        return Statement(account, granted)

    def account(self, policy_id: PolicyId, epoch: int) -> Account:
        with self._lock:
            return self._states[policy_id].accounts.get(epoch, EMPTY)

    def allowances(self, policy_id: PolicyId) -> dict[str, Allowance]:
        with self._lock:
            return dict(self._states[policy_id].allowances)

    # LearningStore

    def policies_with_due(self, *, now: datetime) -> Sequence[PolicyId]:
        with self._lock:
            return [
                policy_id
                for policy_id, state in self._states.items()
                if any(due_at <= now for _, due_at in state.line.values())
                or any(until <= now for _, until in state.reservations.values())
            ]

    @contextmanager
    def begin(self, policy_id: PolicyId) -> Iterator[Fold | None]:
        with self._lock:
            state = self._states[policy_id]
        if not state.lock.acquire(blocking=False):
            yield None
            return
        try:
            fold = _MemoryFold(state, self._lock)
            yield fold
            fold.commit()
        finally:
            state.lock.release()


class _MemoryFold:
    """Implements `Fold`: reads see the state, writes wait for the end."""

    def __init__(self, state: _PolicyState, lock: RLock) -> None:
        self._state = state
        self._lock = lock
        self._sums: dict[tuple[str, Cell], StoredSums] = {}
        self._contributions: dict[Key, float] = {}
        self._settled: set[int] = set()
        self._postponed: dict[int, datetime] = {}
        self._monitors: dict[Cell, Monitor] = {}
        self._alarms: list[tuple[Cell, Alarm, PolicyEvent]] = []
        self._settlements: list[Settlement] = []
        self._advances = 0

    def due(self, *, now: datetime, limit: int) -> Sequence[Due]:
        with self._lock:
            waiting = sorted(
                (due_at, ticket, key)
                for ticket, (key, due_at) in self._state.line.items()
                if due_at <= now
            )
            return [Due(ticket, key) for _, ticket, key in waiting[:limit]]

    def decisions(self, ids: Collection[DecisionId]) -> dict[DecisionId, Decision]:
        with self._lock:
            held = self._state.decisions
            return {decision_id: held[decision_id] for decision_id in ids if decision_id in held}

    def outcomes(self, keys: Collection[Key]) -> dict[Key, list[OutcomeRow]]:
        with self._lock:
            return {key: list(self._state.outcomes.get(key, ())) for key in keys}

    def contributions(self, keys: Collection[Key]) -> dict[Key, float]:
        with self._lock:
            held = self._state.contributions
            return {key: held[key] for key in keys if key in held}

    def sums(self, schema_id: str, cells: Collection[Cell]) -> dict[Cell, StoredSums]:
        with self._lock:
            held = self._state.sums
            return {cell: held[schema_id, cell] for cell in cells if (schema_id, cell) in held}

    def write(
        self,
        *,
        schema_id: str,
        sums: Mapping[Cell, StoredSums],
        contributions: Mapping[Key, float],
    ) -> None:
        for cell, successor in sums.items():
            held = self._state.sums.get((schema_id, cell))
            if successor.version != (held.version if held is not None else 0) + 1:
                raise Conflict(f"the sums of {cell} have moved on")
            self._sums[schema_id, cell] = successor
        self._contributions.update(contributions)

    def monitors(self, cells: Collection[Cell]) -> dict[Cell, Monitor]:
        with self._lock:
            state = self._state
            return {
                cell: replace(state.monitors[cell], alarms=state.alarms.get(cell, ()))
                for cell in cells
                if cell in state.monitors
            }

    def watch(self, monitors: Mapping[Cell, Monitor]) -> None:
        self._monitors.update(monitors)

    def raise_alarm(self, cell: Cell, alarm: Alarm, event: PolicyEvent) -> None:
        self._alarms.append((cell, alarm, event))

    def settle(self, tickets: Collection[int]) -> None:
        self._settled.update(tickets)

    def postpone(self, tickets: Collection[int], *, until: datetime) -> None:
        self._postponed.update(dict.fromkeys(tickets, until))

    def reservations(self, ids: Collection[DecisionId]) -> dict[DecisionId, Reservation]:
        with self._lock:
            held = self._state.reservations
            return {id_: held[id_][0] for id_ in ids if id_ in held}

    def expired_reservations(self, *, now: datetime, limit: int) -> Sequence[Reservation]:
        with self._lock:
            over = sorted(
                (until, id_) for id_, (_, until) in self._state.reservations.items() if until <= now
            )
            return [self._state.reservations[id_][0] for _, id_ in over[:limit]]

    def settle_costs(self, settlements: Sequence[Settlement]) -> None:
        self._settlements.extend(settlements)

    def advance(self) -> int:
        self._advances += 1
        return self._state.learned_version + self._advances

    def commit(self) -> None:
        """Make all writes visible at once."""
        with self._lock:
            state = self._state
            state.sums.update(self._sums)
            state.contributions.update(self._contributions)
            state.monitors.update(self._monitors)
            for cell, alarm, event in self._alarms:
                held = (*state.alarms.get(cell, ()), alarm)
                state.alarms[cell] = tuple(sorted(held, key=lambda alarm: alarm.at))
                state.events.append(event)
            for ticket in self._settled:
                state.line.pop(ticket, None)
                state.held.discard(ticket)
            for ticket, until in self._postponed.items():
                state.line[ticket] = (state.line[ticket][0], until)
                state.held.discard(ticket)
            for settlement in self._settlements:
                account = state.accounts.get(settlement.epoch, EMPTY)
                state.accounts[settlement.epoch] = replace(
                    account,
                    balance=account.balance + settlement.balance,
                    spent_usd=account.spent_usd + settlement.spent_usd,
                )
                if settlement.name:
                    state.put_back(settlement.name, settlement.returned_usd)
                if settlement.is_final:
                    state.reservations.pop(settlement.decision_id, None)
            state.learned_version += self._advances
