"""Where the parts of the learner's process meet."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import uuid4

from sqlalchemy import Engine

from bandit.routing.catalog import CatalogKeeper
from bandit.routing.exploring import graduate
from bandit.store.postgres.catalog import PostgresCatalog
from bandit.store.postgres.engine import make_engine
from bandit.store.postgres.history import PostgresHistory
from bandit.store.postgres.learning import PostgresLearning
from bandit.store.postgres.ledger import PostgresLedger
from bandit.store.postgres.partitions import keep_partitions
from bandit.store.postgres.posteriors import PostgresPosteriors
from bandit.store.postgres.retention import drop_before
from services.learner.loop import Learner
from services.learner.retention import Retention
from services.settings import Settings
from services.telemetry.learner import told_of_folds


def _dropping(
    settings: Settings, catalog: PostgresCatalog, engine: Engine
) -> Callable[[datetime], None]:
    """What a learner does about days that are old enough to go; nothing, unless it was told to."""
    if settings.retention_days is None:
        return lambda _: None
    retention = timedelta(days=settings.retention_days)
    return Retention(retention, catalog, drop_before=partial(drop_before, engine)).apply


def now() -> datetime:
    """The moment, in UTC."""
    return datetime.now(UTC)


@contextmanager
def composed(settings: Settings) -> Iterator[Learner]:
    """A learner over the settings' database, which need not be there yet; closed at the end."""
    engine = make_engine(settings.database_dsn, pool_size=2)
    catalog = PostgresCatalog(engine)
    keeper = CatalogKeeper(catalog, clock=now, new_id=uuid4, random_bytes=secrets.token_bytes)
    ledger, posteriors = PostgresLedger(engine), PostgresPosteriors(engine)
    history = PostgresHistory(engine)
    try:
        with told_of_folds(settings, engine, catalog, clock=now) as told:
            yield Learner(
                PostgresLearning(engine),
                catalog,
                make_partitions=partial(keep_partitions, engine),
                drop_old=_dropping(settings, catalog, engine),
                graduate=lambda policy, at: graduate(
                    policy, keeper, ledger, posteriors, now=at, who="learner"
                ),
                keep_snapshot=lambda policy, at: history.keep_scheduled(
                    policy.id, now=at, every=timedelta(minutes=settings.snapshot_interval_minutes)
                ),
                clock=now,
                interval_s=settings.learner_interval_ms / 1000,
                told=told,
            )
    finally:
        engine.dispose()
