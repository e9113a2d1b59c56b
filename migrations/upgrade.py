"""Brings a database to the newest schema; needs nothing but this package and a URL."""

from datetime import UTC, date, datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import NullPool, create_engine, text

from bandit.store.postgres.engine import CONNECT_TIMEOUT_S, driver_url, transaction
from bandit.store.postgres.partitions import ensure_partitions

_LOCK = 0x62616E6469745F6D  # any number that nobody else uses: "bandit_m"


def upgrade(url: str, *, today: date | None = None) -> None:
    """
    Run the migrations that are missing and make the partitions around `today` (UTC, default: now).

    One transaction: all of it or nothing.  Harmless when repeated, and in several processes at
    once: one migrates, the others wait and find nothing left to do.
    Raises Unavailable where the database cannot be reached.
    """
    engine = create_engine(
        driver_url(url, scheme="postgresql+psycopg://"),
        poolclass=NullPool,
        use_native_hstore=False,
        connect_args={"prepare_threshold": None, "connect_timeout": CONNECT_TIMEOUT_S},
    )
    with transaction(engine, statement_timeout_ms=0) as connection:
        connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        ensure_partitions(connection, today or datetime.now(UTC).date())
