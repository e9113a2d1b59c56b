"""Brings a database to the newest schema; needs nothing but this package and a URL."""

import time
from datetime import UTC, date, datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from psycopg.errors import DeadlockDetected, LockNotAvailable
from sqlalchemy import Engine, NullPool, create_engine, text
from sqlalchemy.exc import DBAPIError

from bandit.domain.errors import Unavailable
from bandit.store.postgres.engine import CONNECT_TIMEOUT_S, driver_url, transaction
from bandit.store.postgres.partitions import ensure_partitions

_LOCK = 0x62616E6469745F6D  # any number that nobody else uses: "bandit_m"
_SCRIPTS = Path(__file__).parent
# A table that is in use is waited for so long, since whoever comes meanwhile waits behind us.
_LOCK_TIMEOUT_MS = 1000
_ATTEMPTS = 20
_PAUSE_S = 0.5


def upgrade(
    url: str, *, today: date | None = None, scripts: Path = _SCRIPTS, revision: str = "head"
) -> None:
    """
    Run the migrations that are missing and make the partitions around `today` (UTC, default: now).

    One transaction: all of it or nothing.  Harmless when repeated, and in several processes at
    once: one migrates, the others wait and find nothing left to do.  A service may go on meanwhile:
    where its work is in the way (a deadlock, a table in use) all is undone and begun again.
    scripts, revision   the folder of the migrations, and the last one to run
    Raises Unavailable where the database cannot be reached, or is too busy.
    """
    engine = create_engine(
        driver_url(url, scheme="postgresql+psycopg://"),
        poolclass=NullPool,
        use_native_hstore=False,
        connect_args={"prepare_threshold": None, "connect_timeout": CONNECT_TIMEOUT_S},
    )
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _upgrade(engine, today or datetime.now(UTC).date(), scripts, revision)
            return
        except Unavailable as error:
            if attempt == _ATTEMPTS or not _is_in_the_way(error):
                raise
        time.sleep(_PAUSE_S)


def _upgrade(engine: Engine, today: date, scripts: Path, revision: str) -> None:
    with transaction(engine, statement_timeout_ms=0) as connection:
        connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        connection.exec_driver_sql(f"set local lock_timeout = {_LOCK_TIMEOUT_MS:d}")
        config = Config()
        config.set_main_option("script_location", str(scripts).replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        ensure_partitions(connection, today)


def _is_in_the_way(error: Unavailable) -> bool:
    """Whether others used what was to be changed."""
    cause = error.__cause__
    return isinstance(cause, DBAPIError) and isinstance(
        cause.orig, DeadlockDetected | LockNotAvailable
    )
