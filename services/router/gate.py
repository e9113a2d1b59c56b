"""Who may come in, and what for."""

import hmac
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import grpc

from bandit.domain.arm import checked_name
from bandit.domain.credential import Credential, Scope, certificate_id
from bandit.domain.errors import (
    ExpiredKey,
    InvalidInput,
    MissingKey,
    MissingScope,
    RevokedKey,
    Unavailable,
    UnknownKey,
)
from bandit.domain.outcome import DEFAULT_SOURCE
from bandit.domain.tenant import DEFAULT_TENANT
from bandit.routing.credentials import LONGEST_TOKEN, shown
from services.router.request import Caller, Request
from services.router.served_credentials import ServedCredentials
from services.router.usage import Usage

AUTHORIZATION = "authorization"
SOURCE_METADATA = "bandit-source"
_BEARER = "bearer "
_MOST_REMEMBERED = 10_000
_PACKAGE = "bandit.router.v1"

# What each method needs; one that is not here cannot be served.
SCOPES: Mapping[str, Scope] = {
    f"/{_PACKAGE}.{service}/{method}": scope
    for service, scope, methods in (
        ("Router", Scope.SELECT, "Select BatchSelect SelectStream Preview Activate"),
        ("Feedback", Scope.REPORT, "Report BatchReport ReportStream"),
        ("Catalog", Scope.READ, "GetPolicy ListPolicies GetBudget"),
        (
            "Catalog",
            Scope.ADMIN,
            "CreatePolicy UpdatePolicy ArchivePolicy AddArm UpdateArm SetArmStatus RemoveArm"
            " SetPrice SetBudget",
        ),
        ("Learning", Scope.READ, "GetState ListSnapshots"),
        ("Learning", Scope.ADMIN, "Rebuild Rollback"),
    )
    for method in methods.split()
}

_ALL_SCOPES = frozenset(Scope)


class Gate:
    """
    Finds out who calls, by its key or else its client certificate, and whether it may.

    is_open          whether callers need no key as long as there never was one: where only this
                     machine can call
    takes_certificates   whether client certificates were asked for and checked
    workers          processes that share a credential's rate
    """

    def __init__(
        self,
        credentials: ServedCredentials,
        *,
        is_open: bool,
        takes_certificates: bool,
        max_streams: int,
        workers: int,
        clock: Callable[[], datetime],
    ) -> None:
        self._credentials = credentials
        self._is_open = is_open
        self._takes_certificates = takes_certificates
        self._max_streams = max_streams
        self._workers = workers
        self._clock = clock
        self._anybody = Caller(
            DEFAULT_TENANT, DEFAULT_SOURCE, _ALL_SCOPES, self._usage(calls_per_second=None)
        )
        self._read_from: Mapping[str, Credential] = {}
        self._remembered: dict[str, Credential] = {}  # by token, as far as it was right
        self._callers: dict[str, tuple[Credential, Caller]] = {}

    async def admit(self, request: Request, context: grpc.aio.ServicerContext[Any, Any]) -> Caller:
        """
        Who makes the request; counts it.

        Raises Unauthenticated, MissingScope, RateLimited; Unavailable before the keys are read.
        """
        if not self._credentials.is_loaded:
            raise Unavailable("the service is starting")
        token = request.given(AUTHORIZATION)
        if token is None and self._is_open and not self._credentials.held:
            return self._anonymous(request)
        credential = (
            await self._of_certificate(context) if token is None else await self._of_token(token)
        )
        if credential.revoked_at is not None:
            raise RevokedKey
        if credential.expires_at is not None and credential.expires_at <= self._clock():
            raise ExpiredKey
        caller = self._caller(credential)
        caller.usage.call()
        scope = SCOPES[request.method]
        if scope not in credential.scopes:
            raise MissingScope(scope.value)
        return caller

    def _anonymous(self, request: Request) -> Caller:
        """Somebody on this machine, under the name that it gives itself."""
        source = request.given(SOURCE_METADATA)
        if source is None:
            return self._anybody
        return Caller(
            DEFAULT_TENANT,
            checked_name(SOURCE_METADATA, source),
            _ALL_SCOPES,
            self._anybody.usage,
        )

    async def _of_token(self, header: str) -> Credential:
        if self._read_from is not self._credentials.held:
            self._read_from, self._remembered = self._credentials.held, {}
        token = header[len(_BEARER) :].strip()
        if header[: len(_BEARER)].lower() != _BEARER or len(token) > LONGEST_TOKEN:
            raise UnknownKey
        credential = self._remembered.get(token)
        if credential is not None:
            return credential
        key = shown(token)
        if key is None:
            raise UnknownKey
        credential = await self._found(key.id)
        if credential.digest is None or not hmac.compare_digest(credential.digest, key.digest):
            raise UnknownKey
        if len(self._remembered) < _MOST_REMEMBERED:
            self._remembered[token] = credential
        return credential

    async def _of_certificate(self, context: grpc.aio.ServicerContext[Any, Any]) -> Credential:
        if not self._takes_certificates:
            raise MissingKey
        names = list(context.auth_context().get("x509_common_name") or ())
        if len(names) != 1:
            raise MissingKey
        try:
            id_ = certificate_id(names[0].decode(errors="replace"))
        except InvalidInput:
            raise UnknownKey from None
        return await self._found(id_)

    async def _found(self, id_: str) -> Credential:
        """The credential of that id, which may have been made a moment ago."""
        credential = self._credentials.held.get(id_)
        if credential is None:
            if not await self._credentials.look_again():
                raise Unavailable("keys that are not known here cannot be looked up now")
            credential = self._credentials.held.get(id_)
        if credential is None:
            raise UnknownKey
        return credential

    def _caller(self, credential: Credential) -> Caller:
        known = self._callers.get(credential.id)
        if known is not None and known[0] is credential:
            return known[1]
        usage = (
            known[1].usage
            if known is not None and known[0].calls_per_second == credential.calls_per_second
            else self._usage(calls_per_second=credential.calls_per_second)
        )
        caller = Caller(
            credential.tenant, credential.name, credential.scopes, usage, credential.max_batch
        )
        self._callers[credential.id] = credential, caller
        return caller

    def _usage(self, *, calls_per_second: float | None) -> Usage:
        share = None if calls_per_second is None else calls_per_second / self._workers
        return Usage(calls_per_second=share, max_streams=self._max_streams, clock=time.monotonic)
