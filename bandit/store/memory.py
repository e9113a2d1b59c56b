"""
Every port in memory: the twin of `store/postgres`, for replay and for tests.

One process, any number of threads; nothing survives the process.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from threading import RLock

from bandit.domain.budget import EMPTY, Account
from bandit.domain.decision import EPOCH, Decision, DecisionId, Recorded, day_of
from bandit.domain.errors import (
    AlreadyExists,
    InvalidInput,
    StalePolicy,
    UnknownPolicy,
)
from bandit.domain.objective import HEADS
from bandit.domain.outcome import Disposition, OutcomeRow
from bandit.domain.policy import Policy, PolicyId
from bandit.domain.tenant import DEFAULT_TENANT, Tenant
from bandit.routing.feedback import disposition_of
from bandit.routing.history import STRUCTURAL
from bandit.routing.ledger import (
    SETTLE_AFTER,
    Allowance,
    Statement,
    Wish,
    granted_of,
    reservation_of,
    with_booking,
)
from bandit.routing.ports import (
    NOTHING_HELD,
    Cell,
    Fold,
    Key,
    PolicyEvent,
    StoredSums,
    Versions,
)
from bandit.store.memory_fold import MemoryFold
from bandit.store.memory_state import PolicyState


class MemoryStore:
    """
    Implements `DecisionBacklog`, `ActivationLog`, `OutcomeLog`, `Catalog`, `PosteriorReader`,
    `Ledger`, `LedgerReader` and `LearningStore`.

    The asynchronous methods never wait; `record_now` and `append_now` are the same without the
    event loop, for replay.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        self._states: dict[PolicyId, PolicyState] = {}

    def state(self, policy_id: PolicyId) -> PolicyState:
        """All that is kept of a policy, for `memory_history`."""
        with self._lock:
            return self._states[policy_id]

    # Catalog

    def create(self, policy: Policy, event: PolicyEvent) -> None:
        with self._lock:
            name = (policy.tenant, policy.name)
            if any((p.tenant, p.name) == name for p in self._policies()):
                raise AlreadyExists("policy", policy.name)
            self._states[policy.id] = PolicyState(policy, [event])

    def get(self, name: str, tenant: Tenant = DEFAULT_TENANT) -> Policy:
        for policy in self._policies():
            if (policy.tenant, policy.name) == (tenant, name):
                return policy
        raise UnknownPolicy(name)

    def list(self, tenant: Tenant | None = None) -> Sequence[Policy]:
        return [policy for policy in self._policies() if tenant in (None, policy.tenant)]

    def policies(self, ids: Collection[PolicyId]) -> Sequence[Policy]:
        return [policy for policy in self._policies() if policy.id in ids]

    def _policies(self) -> Sequence[Policy]:
        """All of them, in the order of their names."""
        with self._lock:
            policies = [state.policy for state in self._states.values()]
        return sorted(policies, key=lambda policy: (policy.name, policy.tenant))

    def replace(self, policy: Policy, event: PolicyEvent) -> None:
        with self._lock:
            state = self._states.get(policy.id)
            if state is None or state.policy.version != policy.version - 1:
                raise StalePolicy(policy.name, expected=policy.version - 1)
            if event.kind in STRUCTURAL:
                state.keep_snapshot(event.kind, at=event.at)
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

    def quarantined(self, policy_id: PolicyId) -> int:
        with self._lock:
            return len(self._states[policy_id].quarantine)

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
        state = self.state(policy_id)
        if not state.lock.acquire(blocking=False):
            yield None
            return
        try:
            fold = MemoryFold(state, self._lock)
            yield fold
            fold.commit()
        finally:
            state.lock.release()
