"""Keys and client certificates."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, Row, func, select, text
from sqlalchemy.dialects.postgresql import insert as upsert

from bandit.domain.credential import Credential, Scope
from bandit.domain.errors import InvalidInput
from bandit.domain.tenant import Tenant
from bandit.store.postgres import schema
from bandit.store.postgres.codecs import utc
from bandit.store.postgres.engine import transaction

_SCOPES = frozenset(Scope)
_KEPT = schema.credential.c
_VERSION = select(func.coalesce(func.max(_KEPT.version), 0))


class PostgresCredentials:
    """Implements `routing.credentials.Credentials`; each method is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def put(self, credentials: Sequence[Credential]) -> None:
        statement = upsert(schema.credential)
        successor = {
            column.name: statement.excluded[column.name]
            for column in schema.credential.columns
            if not column.primary_key
        }
        with transaction(self._engine) as connection:
            # One writer at a time: a version that is seen has none before it still to come.
            connection.execute(text("lock table credential in share row exclusive mode"))
            version = connection.execute(_VERSION).scalar_one() + 1
            connection.execute(
                statement.on_conflict_do_update(index_elements=[_KEPT.id], set_=successor),
                [
                    {
                        "id": each.id,
                        "tenant": each.tenant,
                        "name": each.name,
                        "scopes": sorted(each.scopes),
                        "digest": each.digest,
                        "created_at": each.created_at,
                        "expires_at": each.expires_at,
                        "revoked_at": each.revoked_at,
                        "calls_per_second": each.calls_per_second,
                        "max_batch": each.max_batch,
                        "version": version,
                    }
                    for each in credentials
                ],
            )
            connection.execute(
                text("select pg_notify(:channel, 'credentials')"), {"channel": schema.CHANGED}
            )

    def all(self) -> Sequence[Credential]:
        with transaction(self._engine) as connection:
            rows = connection.execute(
                select(schema.credential).order_by(_KEPT.created_at, _KEPT.id.collate("C"))
            ).all()
        read = [_credential(row) for row in rows]
        return [credential for credential in read if credential is not None]

    def version(self) -> int:
        with transaction(self._engine) as connection:
            version: int = connection.execute(_VERSION).scalar_one()
        return version


def _credential(row: Row[Any]) -> Credential | None:
    """
    What a row admits; None where it cannot be read: that lets nobody in, and keeps nobody out.

    Scopes of a later release are passed over.
    """
    try:
        return Credential(
            id=row.id,
            tenant=Tenant(row.tenant),
            name=row.name,
            scopes=frozenset(Scope(scope) for scope in row.scopes if scope in _SCOPES),
            digest=row.digest,
            created_at=utc(row.created_at),
            expires_at=None if row.expires_at is None else utc(row.expires_at),
            revoked_at=None if row.revoked_at is None else utc(row.revoked_at),
            calls_per_second=row.calls_per_second,
            max_batch=row.max_batch,
        )
    except InvalidInput:
        return None
