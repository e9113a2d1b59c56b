"""Where the parts of the learner's process meet."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

from bandit.store.postgres.catalog import PostgresCatalog
from bandit.store.postgres.engine import make_engine
from bandit.store.postgres.learning import PostgresLearning
from bandit.store.postgres.partitions import keep_partitions
from services.learner.loop import Learner
from services.settings import Settings


@contextmanager
def composed(settings: Settings) -> Iterator[Learner]:
    """A learner over the settings' database, which need not be there yet; closed at the end."""
    engine = make_engine(settings.database_dsn, pool_size=2)

    try:
        yield Learner(
            PostgresLearning(engine),
            PostgresCatalog(engine),
            make_partitions=partial(keep_partitions, engine),
            clock=lambda: datetime.now(UTC),
            interval_s=settings.learner_interval_ms / 1000,
        )
    finally:
        engine.dispose()
