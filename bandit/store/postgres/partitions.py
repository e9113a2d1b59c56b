"""The daily partitions of the log, made ahead of the days they hold."""

from datetime import date, datetime, timedelta

from sqlalchemy import Connection, Engine, text

from bandit.domain.decision import NO_DAY
from bandit.store.postgres.engine import transaction
from bandit.store.postgres.schema import PARTITIONED

DAYS_BACK = 2  # a caller's clock may be behind, and its retries late
DAYS_AHEAD = 7
_LOCK = 0x62616E6469745F70  # any number that nobody else uses: "bandit_p"


def partition_name(table: str, day: date) -> str:
    """The name of a table's partition for a day; writers look for it by this name."""
    return f"{table}_p{day:%Y%m%d}"


def ensure_partitions(connection: Connection, today: date) -> int:
    """
    Make what is missing from 2 days before `today` (UTC) to 7 days after, and of 1970-01-01.

    The caller owns the transaction.  Harmless when repeated, and in several processes at once.
    A partition is made apart and then attached, which lets readers and writers go on, as
    `create table ... partition of` would not.  Returns how many were made.
    """
    days = [NO_DAY, *(today + timedelta(days=n) for n in range(-DAYS_BACK, DAYS_AHEAD + 1))]
    wanted = {
        partition_name(table.name, day): (table.name, day) for day in days for table in PARTITIONED
    }
    missing = _missing(connection, list(wanted))
    if missing:
        connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        missing = _missing(connection, missing)
    for name in missing:
        table, day = wanted[name]
        connection.exec_driver_sql(
            f"create table {name} (like {table} including defaults including constraints)"
        )
        connection.exec_driver_sql(
            f"alter table {table} attach partition {name} "
            f"for values from ('{day}') to ('{day + timedelta(days=1)}')"
        )
    return len(missing)


def keep_partitions(engine: Engine, now: datetime) -> int:
    """`ensure_partitions` around the moment `now` (UTC), in a transaction of its own."""
    with transaction(engine) as connection:
        return ensure_partitions(connection, now.date())


def _missing(connection: Connection, names: list[str]) -> list[str]:
    query = text(
        "select name from unnest(cast(:names as text[])) as name where to_regclass(name) is null"
    )
    return list(connection.execute(query, {"names": names}).scalars())
