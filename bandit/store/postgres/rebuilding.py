"""Where the log is read as a whole, and the state from it takes the place of the one before."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import Engine, delete, func, select, text

from bandit.domain.decision import DecisionId, day_of
from bandit.domain.policy import PolicyId
from bandit.learning.alarms import Alarm, Monitor
from bandit.learning.exclusion import Exclusion
from bandit.routing.history import KeptState
from bandit.routing.log_fold import LogFold
from bandit.routing.misfit import Misfit
from bandit.routing.ports import Cell, PolicyEvent
from bandit.store.postgres import schema
from bandit.store.postgres.catalog import log_event
from bandit.store.postgres.codecs import utc
from bandit.store.postgres.engine import transaction
from bandit.store.postgres.exceptions import exclude, exclusions_of
from bandit.store.postgres.history import keep_snapshot, kept_state
from bandit.store.postgres.learning import PostgresFold, lock_of
from bandit.store.postgres.watching import alarms_of, keep_monitors, log_alarm

REBUILD_STATEMENT_TIMEOUT_MS = 600_000  # one statement looks at every outcome of the policy
# A router has more to do than a learner; one that is stopped gives the policy back all the same.
REBUILD_HOLD_TIMEOUT_MS = 10_000
LOCK_TIMEOUT_MS = 30_000

_PAGE = text(
    """
    select id from decision where policy_id = :policy_id
        and day >= cast(:day as date) and (day, id) > (cast(:day as date), cast(:id as uuid))
    order by day, id limit :limit
    """
)
_FIRST_PAGE = text(
    "select id from decision where policy_id = :policy_id order by day, id limit :limit"
)
_ORPHANS = text(
    """
    delete from contribution where policy_id = :policy_id and not exists (
        select from decision where (decision.policy_id, decision.day, decision.id)
            = (contribution.policy_id, contribution.day, contribution.decision_id)
    )
    """
)


class PostgresRebuilds:
    """Implements `routing.rebuilding.RebuildStore`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def begin_rebuild(self, policy_id: PolicyId, *, is_promotion: bool) -> Iterator[LogFold | None]:
        """
        READ COMMITTED under the lock: no change of the catalog can make a promotion fail.

        Outcomes that come meanwhile are in it or not, each one whole: its contribution says which,
        and its dirty key stays in line, so the learner finds it done or folds it.
        """
        with transaction(
            self._engine,
            statement_timeout_ms=REBUILD_STATEMENT_TIMEOUT_MS,
            idle_timeout_ms=REBUILD_HOLD_TIMEOUT_MS,
            is_snapshot=not is_promotion,
        ) as connection:
            if is_promotion:
                connection.exec_driver_sql(f"set local lock_timeout = {LOCK_TIMEOUT_MS:d}")
                connection.execute(
                    text("select pg_advisory_xact_lock(:lock)"), {"lock": lock_of(policy_id)}
                )
            yield PostgresLogFold(connection, policy_id)


class PostgresLogFold(PostgresFold):
    """Implements `LogFold`.  The caller owns the transaction."""

    def page(self, after: DecisionId | None, *, limit: int) -> Sequence[DecisionId]:
        values = {"policy_id": self._policy_id, "limit": limit}
        if after is None:
            rows = self._connection.execute(_FIRST_PAGE, values)
        else:
            rows = self._connection.execute(_PAGE, {**values, "day": day_of(after), "id": after})
        return [DecisionId(id_) for id_ in rows.scalars()]

    def sources(self) -> Mapping[str, tuple[datetime, datetime]]:
        columns = schema.outcome.c
        query = (
            select(columns.source, func.min(columns.received_at), func.max(columns.received_at))
            .where(columns.policy_id == self._policy_id)
            .group_by(columns.source)
        )
        return {
            source: (utc(first), utc(last))
            for source, first, last in self._connection.execute(query)
        }

    def alarms(self) -> Mapping[Cell, tuple[Alarm, ...]]:
        return alarms_of(self._connection, self._policy_id)

    def exclusion_ids(self) -> frozenset[int]:
        return frozenset(id_ for id_, _ in exclusions_of(self._connection, self._policy_id))

    def exclusions_of(self, ids: Iterable[int]) -> Sequence[Exclusion]:
        found = exclusions_of(self._connection, self._policy_id, ids)
        return [exclusion for _, exclusion in found]

    def snapshot(self, snapshot_id: int, schema_id: str) -> KeptState:
        return kept_state(self._connection, self._policy_id, snapshot_id, schema_id)

    def keep_snapshot(self, reason: str, *, at: datetime) -> int | None:
        return keep_snapshot(self._connection, self._policy_id, reason, at=at)

    def exclude(
        self, exclusions: Sequence[Exclusion], *, beside: frozenset[int], at: datetime
    ) -> None:
        exclude(self._connection, self._policy_id, exclusions, beside=beside, at=at)

    def replace_alarms(self, alarms: Mapping[Cell, tuple[Alarm, ...]]) -> None:
        held = self.alarms()
        if {cell: tuple(them) for cell, them in alarms.items() if them} == held:
            return
        self._connection.execute(
            delete(schema.alarm).where(schema.alarm.c.policy_id == self._policy_id)
        )
        for cell, of_cell in sorted(alarms.items()):
            for alarm in of_cell:
                log_alarm(self._connection, self._policy_id, cell, alarm)

    def replace_monitors(self, monitors: Mapping[Cell, Monitor]) -> None:
        self._connection.execute(
            delete(schema.drift_monitor).where(schema.drift_monitor.c.policy_id == self._policy_id)
        )
        keep_monitors(self._connection, self._policy_id, monitors)

    def replace_quarantine(self, misfits: Sequence[Misfit], *, at: datetime) -> None:
        self._connection.execute(
            delete(schema.quarantine).where(schema.quarantine.c.policy_id == self._policy_id)
        )
        self.quarantine(misfits, at=at)

    def drop_orphans(self) -> None:
        self._connection.execute(_ORPHANS, {"policy_id": self._policy_id})

    def log(self, event: PolicyEvent) -> None:
        log_event(self._connection, self._policy_id, event)
