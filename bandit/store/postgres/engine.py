"""Blocking connections, and where a driver's error becomes `Unavailable`."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import sqlalchemy.exc
from psycopg import errors as postgres
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import Connection, Engine, create_engine

from bandit.domain.errors import Contended, Unavailable
from bandit.store.postgres.patience import PATIENCE_S, PatientConnection

STATEMENT_TIMEOUT_MS = 5000
CONNECT_TIMEOUT_S = 2  # the least that libpq accepts
# A database may have other defaults, and the driver cannot read what is then written: a moment
# whose year in the session's time zone is 0 or 10000.  Set in each transaction, since a pooler
# runs the next one in another session.
READABLE = "set local timezone = 'UTC'; set local datestyle = 'ISO'"

# A peer that is gone without a farewell is missed within about ten seconds.
_CONNECTING: dict[str, str | int | None] = {
    "connect_timeout": CONNECT_TIMEOUT_S,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
_PATIENCE_ALLOWANCE_S = 1.0

_SCHEMES = ("postgresql+psycopg://", "postgresql://", "postgres://")
_AWAY = (
    psycopg.OperationalError,  # lost, refused, timed out, deadlocked, out of disk
    psycopg.InterfaceError,  # closed already
    psycopg.InternalError,  # read-only since a failover, idle for too long in a transaction
    postgres.UndefinedTable,  # not migrated yet
)
_COLLISIONS = (postgres.DeadlockDetected, postgres.SerializationFailure)


def driver_url(url: str, *, scheme: str = "postgresql://") -> str:
    """A `postgresql://` URL, however the driver is spelt in it, with the given scheme."""
    for known in _SCHEMES:
        if url.startswith(known):
            return scheme + url.removeprefix(known)
    raise ValueError("a database URL begins with postgresql://")


def conninfo_of(url: str) -> str:
    """What the driver takes to connect; what the URL says itself comes first."""
    return make_conninfo("", **(_CONNECTING | conninfo_to_dict(driver_url(url))))


def make_engine(url: str, *, pool_size: int = 4) -> Engine:
    """
    The blocking ports' connections; none is made before the first is needed.

    Nothing is kept in a session beyond a transaction, so a pooler may hand sessions around.
    """
    conninfo = conninfo_of(url)

    def connect() -> PatientConnection:
        return PatientConnection.connect(conninfo, prepare_threshold=None)

    return create_engine(
        driver_url(url, scheme="postgresql+psycopg://"),
        creator=connect,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=CONNECT_TIMEOUT_S,
        pool_pre_ping=True,
        use_native_hstore=False,
    )


@contextmanager
def transaction(
    engine: Engine,
    *,
    statement_timeout_ms: int = STATEMENT_TIMEOUT_MS,
    idle_timeout_ms: int = 0,
    is_snapshot: bool = False,
) -> Iterator[Connection]:
    """
    One transaction: committed when the block ends well, undone otherwise.

    idle_timeout_ms   the server ends the session after that long without a statement; 0: never
    is_snapshot       reads only, all of one moment
    Raises Unavailable where the driver could not connect, lost the connection or timed out.
    """
    try:
        with (
            engine.connect() as connection,
            _patient(connection, statement_timeout_ms=statement_timeout_ms),
        ):
            if is_snapshot:
                connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
            with connection.begin():
                connection.exec_driver_sql(
                    f"{READABLE}; set local statement_timeout = {statement_timeout_ms:d};"
                    f"set local idle_in_transaction_session_timeout = {idle_timeout_ms:d}"
                )
                yield connection
    except (psycopg.Error, sqlalchemy.exc.DBAPIError, sqlalchemy.exc.TimeoutError) as error:
        refusal = refusal_of(error)
        if refusal is None:
            raise
        raise refusal from error


@contextmanager
def _patient(connection: Connection, *, statement_timeout_ms: int) -> Iterator[None]:
    """Wait for statements a little longer than the server lets them take."""
    driver = connection.connection.driver_connection
    if not isinstance(driver, PatientConnection):
        yield
        return
    timeout_s = statement_timeout_ms / 1000
    driver.patience_s = timeout_s + _PATIENCE_ALLOWANCE_S if timeout_s else None
    try:
        yield
    finally:
        driver.patience_s = PATIENCE_S


def is_collision(error: BaseException) -> bool:
    """Whether others were in the way, so that the same goes well a moment later."""
    return isinstance(error, _COLLISIONS)


def lacks_partition(error: BaseException) -> bool:
    """
    Whether a row has no place: a violation of no constraint in particular.

    So it has, for a moment, where its day is made while the statement begins, which sees the day
    and yet has no place for its rows.
    """
    return isinstance(error, postgres.CheckViolation) and error.diag.constraint_name is None


def refusal_of(error: BaseException) -> Unavailable | None:
    """What callers are told of a driver's error; None where trying again would not help."""
    if isinstance(error, sqlalchemy.exc.TimeoutError):
        return Unavailable("all database connections are busy")
    if isinstance(error, sqlalchemy.exc.DBAPIError):
        return refusal_of(error.orig) if error.orig is not None else None
    if is_collision(error):
        return Contended()
    if isinstance(error, _AWAY):
        return Unavailable("the database is away or too slow")
    return None
