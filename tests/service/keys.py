"""Keys as an operator makes them, and calls that are made with one."""

import secrets
from collections import namedtuple
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import grpc

from bandit.domain.credential import Scope
from bandit.routing.credentials import CredentialKeeper
from bandit.store.postgres.credentials import PostgresCredentials
from bandit.store.postgres.engine import make_engine

EVERY_SCOPE = frozenset(Scope)


class _Details(
    namedtuple("_Details", "method timeout metadata credentials wait_for_ready compression"),
    grpc.ClientCallDetails,
):
    """What gRPC wants of a call whose metadata an interceptor changed."""


class _WithMetadata(
    grpc.UnaryUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    def __init__(self, metadata: Sequence[tuple[str, str]]) -> None:
        self._metadata = metadata

    def _more(self, details: Any) -> _Details:
        given = [*(details.metadata or ()), *self._metadata]
        return _Details(
            details.method,
            details.timeout,
            given,
            details.credentials,
            details.wait_for_ready,
            details.compression,
        )

    def intercept_unary_unary(self, call: Any, details: Any, request: Any) -> Any:
        return call(self._more(details), request)

    def intercept_stream_stream(self, call: Any, details: Any, requests: Any) -> Any:
        return call(self._more(details), requests)


def with_metadata(channel: grpc.Channel, *metadata: tuple[str, str]) -> grpc.Channel:
    """The channel, every call of which brings this."""
    return grpc.intercept_channel(channel, _WithMetadata(metadata))


def with_key(channel: grpc.Channel, key: str) -> grpc.Channel:
    """The channel, every call of which brings this key."""
    return with_metadata(channel, ("authorization", f"Bearer {key}"))


def keeper(database_url: str, clock: Callable[[], datetime] | None = None) -> CredentialKeeper:
    """Makes keys of the service on that database."""
    return CredentialKeeper(
        PostgresCredentials(make_engine(database_url, pool_size=1)),
        clock=clock or (lambda: datetime.now(UTC)),
        random_bytes=secrets.token_bytes,
    )


def a_key(
    keeper: CredentialKeeper,
    *,
    tenant: str = "acme",
    name: str = "backend",
    scopes: frozenset[Scope] = EVERY_SCOPE,
    **given: Any,
) -> str:
    """The token of a new key."""
    token = keeper.create(tenant=tenant, name=name, scopes=scopes, **given).token
    assert token is not None
    return token
