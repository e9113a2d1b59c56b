"""`History` and `RebuildStore` in memory: the twins of `store/postgres/{history,rebuilding}.py`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from threading import RLock

from bandit.domain.decision import DecisionId, day_of
from bandit.domain.errors import UnknownSnapshot
from bandit.domain.policy import PolicyId
from bandit.learning.alarms import Alarm, Monitor
from bandit.learning.exclusion import Exclusion
from bandit.routing.history import (
    KEPT_FOR,
    KEPT_SCHEDULED,
    SCHEDULED,
    KeptState,
    SnapshotInfo,
)
from bandit.routing.log_fold import LogFold
from bandit.routing.misfit import Misfit
from bandit.routing.ports import Cell, PolicyEvent
from bandit.store.memory import MemoryStore
from bandit.store.memory_fold import MemoryFold
from bandit.store.memory_state import PolicyState

LOCK_TIMEOUT_S = 30.0


class MemoryHistory:
    """Implements `History` and `RebuildStore` on what a `MemoryStore` holds."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._lock = RLock()

    def snapshots(self, policy_id: PolicyId) -> Sequence[SnapshotInfo]:
        held = self._store.state(policy_id).snapshots
        return [held[id_].info for id_ in sorted(held, reverse=True)]

    def keep_scheduled(self, policy_id: PolicyId, *, now: datetime, every: timedelta) -> int | None:
        state = self._store.state(policy_id)
        infos = self.snapshots(policy_id)
        if infos and (
            infos[0].at > now - every or infos[0].learned_version == state.learned_version
        ):
            return None
        kept = state.keep_snapshot(SCHEDULED, at=now)
        infos = self.snapshots(policy_id)
        scheduled = [info.id for info in infos if info.reason == SCHEDULED]
        old = [i.id for i in infos if i.reason != SCHEDULED and i.at < now - KEPT_FOR]
        for id_ in [*scheduled[KEPT_SCHEDULED:], *old]:
            del state.snapshots[id_]
        return kept

    @contextmanager
    def begin_rebuild(self, policy_id: PolicyId, *, is_promotion: bool) -> Iterator[LogFold | None]:
        """A look holds the lock as well: nothing else gives it one moment."""
        state = self._store.state(policy_id)
        if not state.lock.acquire(timeout=LOCK_TIMEOUT_S):
            yield None
            return
        try:
            fold = _MemoryLogFold(state, self._lock)
            yield fold
            if is_promotion:
                fold.commit()
        finally:
            state.lock.release()


class _MemoryLogFold(MemoryFold):
    """Implements `LogFold`: what it replaces waits for the end, too."""

    def __init__(self, state: PolicyState, lock: RLock) -> None:
        super().__init__(state, lock)
        self._new_exclusions: list[Exclusion] = []
        self._beside: frozenset[int] | None = None
        self._new_alarms: Mapping[Cell, tuple[Alarm, ...]] | None = None
        self._new_monitors: Mapping[Cell, Monitor] | None = None
        self._new_quarantine: Sequence[Misfit] | None = None
        self._snapshot: tuple[str, datetime] | None = None
        self._events: list[PolicyEvent] = []

    def page(self, after: DecisionId | None, *, limit: int) -> Sequence[DecisionId]:
        ids = sorted(self._state.decisions, key=lambda id_: (day_of(id_), id_))
        start = 0 if after is None else ids.index(after) + 1
        return ids[start : start + limit]

    def sources(self) -> Mapping[str, tuple[datetime, datetime]]:
        received: dict[str, list[datetime]] = {}
        for rows in self._state.outcomes.values():
            for row in rows:
                received.setdefault(row.source, []).append(row.received_at)
        return {source: (min(times), max(times)) for source, times in received.items()}

    def alarms(self) -> Mapping[Cell, tuple[Alarm, ...]]:
        return dict(self._state.alarms)

    def exclusion_ids(self) -> frozenset[int]:
        return frozenset(self._state.in_force())

    def exclusions_of(self, ids: Iterable[int]) -> Sequence[Exclusion]:
        return [self._state.exclusions[id_] for id_ in sorted(ids)]

    def snapshot(self, snapshot_id: int, schema_id: str) -> KeptState:
        held = self._state.snapshots.get(snapshot_id)
        if held is None:
            raise UnknownSnapshot(snapshot_id)
        return held

    def keep_snapshot(self, reason: str, *, at: datetime) -> int | None:
        if self._state.learned_version == 0:
            return None
        self._snapshot = (reason, at)
        return max(self._state.snapshots, default=0) + 1

    def exclude(
        self, exclusions: Sequence[Exclusion], *, beside: frozenset[int], at: datetime
    ) -> None:
        self._new_exclusions.extend(exclusions)
        self._beside = beside

    def replace_alarms(self, alarms: Mapping[Cell, tuple[Alarm, ...]]) -> None:
        self._new_alarms = alarms

    def replace_monitors(self, monitors: Mapping[Cell, Monitor]) -> None:
        self._new_monitors = monitors

    def replace_quarantine(self, misfits: Sequence[Misfit], *, at: datetime) -> None:
        self._new_quarantine = misfits

    def drop_orphans(self) -> None:
        state = self._state
        self._contributions.update(
            {key: None for key in state.contributions if key[0] not in state.decisions}
        )

    def log(self, event: PolicyEvent) -> None:
        self._events.append(event)

    def commit(self) -> None:
        """Make all writes visible at once."""
        state = self._state
        if self._snapshot is not None:
            state.keep_snapshot(self._snapshot[0], at=self._snapshot[1])
        if self._beside is not None:
            state.lifted = set(state.exclusions) - self._beside
        for exclusion in self._new_exclusions:
            state.exclusions[len(state.exclusions) + 1] = exclusion
        if self._new_alarms is not None:
            state.alarms = {cell: them for cell, them in self._new_alarms.items() if them}
        if self._new_monitors is not None:
            state.monitors = dict(self._new_monitors)
        if self._new_quarantine is not None:
            state.quarantine = {(one.kind, one.key): one for one in self._new_quarantine}
        state.events.extend(self._events)
        super().commit()
