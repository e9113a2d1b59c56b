"""
Taking leave of the days of the log that are no longer kept.

A day goes by `drop table`, which needs its parents for itself, for the moment that it takes; it
waits for that no longer than `LOCK_TIMEOUT_MS`, since whoever comes meanwhile waits behind it.
`detach partition concurrently` would ask for less, but waits for every reader of the day without
end, and leaves the day half detached when its process is killed.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from psycopg.errors import LockNotAvailable
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from bandit.domain.decision import NO_DAY
from bandit.domain.errors import Unavailable
from bandit.store.postgres.engine import transaction
from bandit.store.postgres.partitions import partition_name
from bandit.store.postgres.schema import PARTITIONED

LOCK_TIMEOUT_MS = 100
STATEMENT_TIMEOUT_MS = 2000
PRUNE_ROWS = 5_000
# A day on which outcomes wait to be folded (corrupt sums, learners that are away) is kept so long.
PATIENCE = timedelta(days=7)
_ATTEMPTS = 5
_PAUSE_S = 0.5
_LOCK = 0x62616E6469745F72  # any number that nobody else uses: "bandit_r"

_DAYS = text(
    "select relname from pg_inherits join pg_class on pg_class.oid = inhrelid"
    " where inhparent = to_regclass(:parent)"
)
_WAITS = """
    select exists (select from dirty_key line join {decisions} day
                   on (line.policy_id, line.decision_id) = (day.policy_id, day.id))
"""
_FORGET = """
    delete from dirty_key line using {decisions} day
    where (line.policy_id, line.decision_id) = (day.policy_id, day.id)
"""
_OLD = text(
    f"""
    with old as materialized (
        select policy_id, id from decision
        where day = :day and at < :since and (at < :regardless or not exists (
            select from dirty_key line
            where (line.policy_id, line.decision_id) = (decision.policy_id, decision.id)))
        limit {PRUNE_ROWS} for update skip locked
    ), outcomes as (
        delete from outcome using old
        where day = :day and (outcome.policy_id, outcome.decision_id) = (old.policy_id, old.id)
    ), contributions as (
        delete from contribution using old where day = :day
        and (contribution.policy_id, contribution.decision_id) = (old.policy_id, old.id)
    ), waiting as (
        delete from dirty_key using old
        where (dirty_key.policy_id, dirty_key.decision_id) = (old.policy_id, old.id)
        returning 1
    ), gone as (
        delete from decision using old
        where day = :day and (decision.policy_id, decision.id) = (old.policy_id, old.id)
        returning 1
    )
    select (select count(*) from gone), (select count(*) from waiting)
    """  # noqa: S608 - a constant of this file
)


@dataclass(frozen=True, slots=True)
class Dropped:
    """
    What a round did.

    days       that went
    decisions  of no day (ids that are not UUIDv7) that went
    unfolded   outcomes that were never folded, and now never will be
    put_off    days that are old enough and were left: outcomes wait, or readers were in the way
    """

    days: tuple[date, ...] = ()
    decisions: int = 0
    unfolded: int = 0
    put_off: tuple[date, ...] = ()


def drop_before(
    engine: Engine,
    since: datetime,
    *,
    now: datetime,
    pause: Callable[[float], None] = time.sleep,
) -> Dropped:
    """
    Drop the days that ended before `since`, and what was decided before it under ids without one.

    now   as `since` was reckoned from it; where it is ahead of the database's clock, less goes
    What was learned stays as it is.  Harmless when repeated, and in several processes at once.
    """
    dropped, put_off, unfolded = [], [], 0
    with transaction(engine) as connection:
        since -= max(now - connection.execute(text("select now()")).scalar_one(), timedelta(0))
        days = _days_before(connection, since)
    for day in days:
        left = _dropped(engine, day, is_overdue=_end_of(day) <= since - PATIENCE, pause=pause)
        if left is None:
            put_off.append(day)
        else:
            dropped.append(day)
            unfolded += left
    pruned = 0
    while True:
        with transaction(engine) as connection:
            moments = {"day": NO_DAY, "since": since, "regardless": since - PATIENCE}
            gone, left = connection.execute(_OLD, moments).one()
        pruned, unfolded = pruned + gone, unfolded + left
        if gone < PRUNE_ROWS:
            return Dropped(tuple(dropped), pruned, unfolded, tuple(put_off))


def _dropped(
    engine: Engine, day: date, *, is_overdue: bool, pause: Callable[[float], None]
) -> int | None:
    """How many unfolded outcomes went with the day; None: it is still there."""
    for attempt in range(_ATTEMPTS):
        try:
            with transaction(engine, statement_timeout_ms=STATEMENT_TIMEOUT_MS) as connection:
                connection.exec_driver_sql(f"set local lock_timeout = {LOCK_TIMEOUT_MS:d}")
                return _drop(connection, day, is_overdue=is_overdue)
        except Unavailable as error:
            if not _is_in_use(error):
                raise
        if attempt + 1 < _ATTEMPTS:
            pause(_PAUSE_S)
    return None


def _drop(connection: Connection, day: date, *, is_overdue: bool) -> int | None:
    connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    names = [partition_name(table.name, day) for table in PARTITIONED]
    present = [name for name in names if _is_there(connection, name)]
    unfolded = 0
    if names[0] in present and is_overdue:
        unfolded = connection.exec_driver_sql(_FORGET.format(decisions=names[0])).rowcount
    # Nobody adds to the day from here on: no outcome that arrives now is overlooked.
    parents = ", ".join(f"only {table.name}" for table in PARTITIONED)
    connection.exec_driver_sql(f"lock table {parents} in access exclusive mode")
    if names[0] in present and not is_overdue:
        waits = connection.exec_driver_sql(_WAITS.format(decisions=names[0])).scalar_one()
        if waits:
            return None
    if present:
        connection.exec_driver_sql(f"drop table {', '.join(present)}")
    return unfolded


def _is_there(connection: Connection, table: str) -> bool:
    query = text("select to_regclass(:table) is not null")
    return bool(connection.execute(query, {"table": table}).scalar_one())


def _is_in_use(error: Unavailable) -> bool:
    cause = error.__cause__
    return isinstance(cause, DBAPIError) and isinstance(cause.orig, LockNotAvailable)


def _days_before(connection: Connection, since: datetime) -> list[date]:
    """The days with a partition that ended before that moment, oldest first."""
    days = set()
    for table in PARTITIONED:
        for name in connection.execute(_DAYS, {"parent": table.name}).scalars():
            found = re.fullmatch(rf"{table.name}_p(\d{{8}})", name)
            if found is not None:
                days.add(datetime.strptime(found[1], "%Y%m%d").date())
    return sorted(day for day in days if day != NO_DAY and _end_of(day) <= since)


def _end_of(day: date) -> datetime:
    return datetime.fromisoformat(f"{day}T00:00:00+00:00") + timedelta(days=1)
