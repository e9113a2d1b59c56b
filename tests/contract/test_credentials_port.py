"""The port `Credentials`."""

from dataclasses import replace
from datetime import timedelta

import pytest

from bandit.domain.credential import Credential, Scope, certificate_id
from bandit.domain.tenant import Tenant
from bandit.store.memory_credentials import MemoryCredentials
from bandit.store.postgres.credentials import PostgresCredentials
from bandit.store.postgres.engine import make_engine
from tests.builders import NOW

KEY = Credential(
    id="abc",
    tenant=Tenant("acme"),
    name="naïve 政策",
    scopes=frozenset([Scope.SELECT, Scope.ADMIN]),
    digest=bytes(range(32)),
    created_at=NOW,
    expires_at=NOW + timedelta(days=1),
    calls_per_second=0.5,
    max_batch=3,
)
CERTIFICATE = Credential(
    id=certificate_id("edge.example"),
    tenant=Tenant("other"),
    name="edge",
    scopes=frozenset(Scope),
    digest=None,
    created_at=NOW + timedelta(seconds=1),
)


@pytest.fixture(params=["memory", "postgres"])
def credentials(request):
    if request.param == "memory":
        yield MemoryCredentials()
        return
    engine = make_engine(request.getfixturevalue("database_url"), pool_size=1)
    yield PostgresCredentials(engine)
    engine.dispose()


def test_at_first_there_is_none(credentials):
    assert credentials.all() == []
    assert credentials.version() == 0


def test_credentials_come_back_as_they_were_stored_in_the_order_they_were_made(credentials):
    credentials.put([CERTIFICATE, KEY])

    assert credentials.all() == [KEY, CERTIFICATE]


def test_a_successor_takes_the_place_of_what_has_its_id(credentials):
    credentials.put([KEY])
    revoked = replace(KEY, revoked_at=NOW + timedelta(hours=1))

    credentials.put([revoked, CERTIFICATE])

    assert credentials.all() == [revoked, CERTIFICATE]


def test_the_version_grows_with_every_change(credentials):
    versions = [credentials.version()]
    for change in ([KEY], [KEY], [CERTIFICATE, KEY]):
        credentials.put(change)
        versions.append(credentials.version())

    assert versions == sorted(set(versions))
