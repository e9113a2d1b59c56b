"""What surrounds every call: who calls is found out, errors become statuses, calls are counted."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError
from grpc_status import rpc_status

from bandit.domain.errors import BanditError, InvalidInput, Overloaded
from services.logs import logger
from services.router.gate import Gate
from services.router.request import REQUEST, REQUEST_ID, Request
from services.router.status import internal_status, status_of

_SLICES = 10

_Method = TypeVar("_Method")

_log = logger(__name__)


def raw(method: _Method) -> _Method:
    """Marks a method that takes and gives messages as they travel, and reads them itself."""
    method.is_raw = True  # type: ignore[attr-defined]
    return method


class Calls:
    """
    The server, as the generated code adds services to it: each method is wrapped once.

    Lets `gate` see who calls; turns a `BanditError` into its status, and anything else unforeseen
    into INTERNAL; counts the calls under way, and refuses more than `most_under_way` at once: what
    waited longer than its caller would be done for nobody.  An interceptor would be asked again for
    each call.
    """

    def __init__(self, server: grpc.aio.Server, gate: Gate, *, most_under_way: int) -> None:
        self._server = server
        self._gate = gate
        self._most_under_way = most_under_way
        self._started = 0
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Nothing: the same methods are registered one by one."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Add the methods of a service to the server, wrapped."""
        wrapped = {
            name: self._wrapped(handler, f"/{service}/{name}")
            if handler.unary_unary is not None
            else self._wrapped_stream(handler, f"/{service}/{name}")
            for name, handler in handlers.items()
        }
        generic = grpc.method_handlers_generic_handler(service, wrapped)
        self._server.add_generic_rpc_handlers((generic,))
        self._server.add_registered_method_handlers(service, wrapped)

    async def until_quiet(self, *, for_s: float) -> None:
        """Wait until no call is under way, and none has begun for a while."""
        quiet = 0
        # In slices: a loop that was held up runs what had piled up before it counts another one.
        while quiet < _SLICES:
            await self._idle.wait()
            seen = self._started
            await asyncio.sleep(for_s / _SLICES)
            quiet = quiet + 1 if self._idle.is_set() and self._started == seen else 0

    def _begin(self) -> None:
        """One more call is under way; `Overloaded` where there are enough."""
        if self._under_way >= self._most_under_way:
            raise Overloaded
        self._under_way += 1
        self._idle.clear()

    def _end(self) -> None:
        self._under_way -= 1
        if self._under_way == 0:
            self._idle.set()

    def _request(self, method: str, context: grpc.aio.ServicerContext[Any, Any]) -> Request:
        return Request(
            method,
            context.invocation_metadata() or (),
            lambda request: self._gate.admit(request, context),
        )

    def _wrapped(self, handler: Any, method: str) -> Any:
        is_raw = getattr(handler.unary_unary, "is_raw", False)

        async def call(data: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            self._started += 1
            request = self._request(method, context)
            try:
                # Before it is counted: who waits to be let in keeps nobody out.
                await request.admit()
                REQUEST.set(request)
                self._begin()
                try:
                    request.message = data if is_raw else _read(handler.request_deserializer, data)
                    return await handler.unary_unary(request.message, context)
                finally:
                    self._end()
            except Exception as error:
                await _told(error, request, context)

        # Messages are read here, not by gRPC, which would do it for anybody.
        return grpc.unary_unary_rpc_method_handler(
            call, response_serializer=None if is_raw else handler.response_serializer
        )

    def _wrapped_stream(self, handler: Any, method: str) -> Any:
        async def stream(messages: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            # Not counted: it ends when its caller likes, and by itself when the service stops.
            request = self._request(method, context)
            try:
                asking = await request.admit()
                REQUEST.set(request)
                with asking.usage.stream():
                    read = (_read(handler.request_deserializer, data) async for data in messages)
                    async with aclosing(handler.stream_stream(read, context)) as items:
                        async for item in items:
                            yield item
            except Exception as error:
                await _told(error, request, context)

        return grpc.stream_stream_rpc_method_handler(
            stream, response_serializer=handler.response_serializer
        )


def _read(read: Callable[[bytes], Any], data: bytes) -> Any:
    """A message; `InvalidInput` where it is none of its kind."""
    try:
        return read(data)
    except DecodeError:
        raise InvalidInput(
            "request", "is not a message of the kind that the method takes"
        ) from None


async def _told(
    error: Exception, request: Request, context: grpc.aio.ServicerContext[Any, Any]
) -> None:
    """End the call with what its caller may know of the error."""
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if isinstance(error, BanditError):
        status = status_of(error, request_id=request.id)
    else:
        _log.error("call failed", method=request.method, request_id=request.id, exc_info=error)
        status = internal_status(request.id)
    # The asynchronous context has no `abort_with_status`.
    whole = rpc_status.to_status(status)
    trailing = (*(whole.trailing_metadata or ()), (REQUEST_ID, request.id))
    await context.abort(whole.code, whole.details, trailing)
