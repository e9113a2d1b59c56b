"""gRPC's asynchronous server, but for what anybody who reaches its port could stop it with."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import grpc
from grpc._cython import cygrpc
from grpc.aio import _server

_UNKNOWN = "unknown"


class Server(_server.Server, grpc.aio.Server):  # type: ignore[misc]
    """
    Serves registered methods, and answers UNIMPLEMENTED to calls of any other.

    gRPC's own server decodes the path of such a call in the loop that takes all calls: one path
    that is not UTF-8, and it takes no calls any more.  Here nobody looks at that path.  This leans
    on gRPC's private names; `tests/faults/test_fuzzing.py` sends such paths.
    """

    def __init__(self, options: Sequence[tuple[str, int]]) -> None:
        self._loop = cygrpc.get_working_loop()
        self._server = _Core(self._loop, None, (), (), tuple(options), None)

    def add_generic_rpc_handlers(
        self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]
    ) -> None:
        """Nothing: the same methods are registered one by one."""


class _Core(cygrpc.AioServer):  # type: ignore[misc]
    def _make_request_call_future(self, method: bytes | None) -> "asyncio.Task[Any]":
        """The next call of a registered method, or None: of another one, which never comes."""
        if method is not None:
            task: asyncio.Task[Any] = super()._make_request_call_future(method)
            return task
        return asyncio.create_task(self._refuse_others())

    async def _refuse_others(self) -> None:
        loop = asyncio.get_running_loop()
        nothing = cygrpc._MethodResolver([], {})
        refusing: set[asyncio.Task[None]] = set()
        while True:  # until the request for a call fails, at the end of the server
            call = await self._request_call()
            answer = cygrpc._handle_rpc(_UNKNOWN, nothing, (), call, loop, False)
            task = asyncio.create_task(cygrpc._schedule_rpc_coro(answer, call, loop, _UNKNOWN))
            refusing.add(task)
            task.add_done_callback(refusing.discard)
