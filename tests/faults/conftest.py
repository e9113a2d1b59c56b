"""A Postgres of each test's own, which may be stopped, killed and cut off."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from bandit.store.postgres.embedded import EmbeddedPostgres
from migrations.upgrade import upgrade
from tests.faults.proxy import Proxy, target_of


@pytest.fixture
def postgres() -> Iterator[EmbeddedPostgres]:
    """A server with a migrated database and room for today's decisions; durable as by default."""
    with EmbeddedPostgres.start() as server:
        upgrade(server.url, today=datetime.now(UTC).date())
        yield server


@pytest.fixture
def proxy(postgres: EmbeddedPostgres) -> Iterator[Proxy]:
    """The network before that server."""
    with Proxy(target_of(postgres.url)) as made:
        yield made
