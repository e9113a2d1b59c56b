"""One transaction of a learner, in memory: reads see the state, writes wait for the end."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from threading import RLock

from bandit.domain.budget import EMPTY
from bandit.domain.decision import Decision, DecisionId
from bandit.domain.errors import (
    Conflict,
)
from bandit.domain.outcome import OutcomeRow
from bandit.learning.alarms import Alarm, Monitor
from bandit.learning.exclusion import Exclusion
from bandit.routing.ledger import (
    Reservation,
    Settlement,
)
from bandit.routing.misfit import Damaged, Misfit
from bandit.routing.ports import (
    Cell,
    Due,
    Key,
    PolicyEvent,
    StoredSums,
)
from bandit.store.memory_state import PolicyState


class MemoryFold:
    """Implements `Fold`: reads see the state, writes wait for the end."""

    def __init__(self, state: PolicyState, lock: RLock) -> None:
        self._state = state
        self._lock = lock
        self._sums: dict[tuple[str, Cell], StoredSums] = {}
        self._contributions: dict[Key, float | None] = {}
        self._misfits: list[Misfit] = []
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

    def decisions(self, ids: Collection[DecisionId]) -> dict[DecisionId, Decision | Damaged]:
        with self._lock:
            held = self._state.decisions
            return {id_: decision for id_ in ids if (decision := held.get(id_)) is not None}

    def exclusions(self) -> Sequence[Exclusion]:
        with self._lock:
            return list(self._state.in_force().values())

    def outcomes(self, keys: Collection[Key]) -> dict[Key, list[OutcomeRow]]:
        with self._lock:
            return {key: list(self._state.outcomes.get(key, ())) for key in keys}

    def contributions(self, keys: Collection[Key]) -> dict[Key, float]:
        with self._lock:
            held = self._state.contributions
            return {key: value for key in keys if (value := held.get(key)) is not None}

    def sums(self, schema_id: str, cells: Collection[Cell]) -> dict[Cell, StoredSums]:
        with self._lock:
            held = self._state.sums
            return {cell: held[schema_id, cell] for cell in cells if (schema_id, cell) in held}

    def write(
        self,
        *,
        schema_id: str,
        sums: Mapping[Cell, StoredSums],
        contributions: Mapping[Key, float | None],
    ) -> None:
        for cell, successor in sums.items():
            held = self._state.sums.get((schema_id, cell))
            if successor.version != (held.version if held is not None else 0) + 1:
                raise Conflict(f"the sums of {cell} have moved on")
            self._sums[schema_id, cell] = successor
        self._contributions.update(contributions)

    def quarantine(self, misfits: Collection[Misfit], *, at: datetime) -> None:
        self._misfits.extend(misfits)

    def monitors(self, cells: Collection[Cell]) -> dict[Cell, Monitor]:
        with self._lock:
            state = self._state
            held = {cell: state.monitors[cell] for cell in cells if cell in state.monitors}
            return {
                cell: replace(monitor, alarms=state.alarms.get(cell, ()))
                if state.alarms or monitor.alarms
                else monitor
                for cell, monitor in held.items()
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
            for key, value in self._contributions.items():
                if value is None:
                    state.contributions.pop(key, None)
                else:
                    state.contributions[key] = value
            state.quarantine.update({(one.kind, one.key): one for one in self._misfits})
            state.monitors.update(self._monitors)
            for cell, alarm, event in self._alarms:
                held = (*state.alarms.get(cell, ()), replace(alarm, raised_at=event.at))
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
