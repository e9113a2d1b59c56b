"""A call as everybody inside it sees it: who makes it, and the id under which it is told of."""

import re
import secrets
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from bandit.domain.credential import Scope
from bandit.domain.tenant import Tenant
from services.router.usage import Usage

REQUEST_ID = "x-request-id"
TRACE_PARENT = "traceparent"

_REQUEST_ID = re.compile(r"[!-~]{1,128}")
_TRACE_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")
_NO_TRACE = "0" * 32


@dataclass(frozen=True, slots=True, eq=False)
class Caller:
    """
    Who calls.

    source      under which its outcomes count and its changes are told
    max_batch   None: as the service allows
    """

    tenant: Tenant
    source: str
    scopes: frozenset[Scope]
    usage: Usage
    max_batch: int | None = None

    def batch_of(self, most: int) -> int:
        """How many items a batch of this caller may have, where the service takes `most`."""
        return most if self.max_batch is None else min(most, self.max_batch)


class Request:
    """
    One call.

    method     such as `/bandit.router.v1.Router/Select`
    metadata   as the caller sent it
    caller     as soon as that is known
    message    what is asked, as soon as it is read; of a raw method, as it travelled
    """

    __slots__ = ("_admitting", "_id", "caller", "message", "metadata", "method")

    def __init__(
        self,
        method: str,
        metadata: Iterable[tuple[str, str | bytes]],
        admitting: Callable[["Request"], Awaitable[Caller]],
    ) -> None:
        self.method = method
        self.metadata = metadata
        self.caller: Caller | None = None
        self.message: Any = None
        self._admitting = admitting
        self._id = ""

    async def admit(self) -> Caller:
        """Find out who calls, or make sure that it still may; see `Gate.admit`."""
        self.caller = await self._admitting(self)
        return self.caller

    @property
    def id(self) -> str:
        """The caller's own `x-request-id`, the id of its trace, or a fresh one."""
        if not self._id:
            self._id = self._given_id() or secrets.token_hex(16)
        return self._id

    def given(self, key: str) -> str | None:
        """The first value of that metadata."""
        for name, value in self.metadata:
            if name == key:
                return value if isinstance(value, str) else value.decode(errors="replace")
        return None

    def _given_id(self) -> str | None:
        own = self.given(REQUEST_ID)
        if own is not None and _REQUEST_ID.fullmatch(own):
            return own
        trace = _TRACE_PARENT.fullmatch(self.given(TRACE_PARENT) or "")
        return trace[1] if trace is not None and trace[1] != _NO_TRACE else None


REQUEST: ContextVar[Request] = ContextVar("request")


def caller() -> Caller:
    """Who makes the call that is being answered."""
    known = REQUEST.get().caller
    assert known is not None  # noqa: S101 - nothing is asked before that
    return known


def call_facts() -> dict[str, str]:
    """What a line of the log says of the call that is being answered, if there is one."""
    request = REQUEST.get(None)
    return {} if request is None else {"method": request.method, "request_id": request.id}


async def admitted() -> Caller:
    """The same, after another look: a stream may outlive the key that it was begun with."""
    return await REQUEST.get().admit()
