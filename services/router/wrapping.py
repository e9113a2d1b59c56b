"""What surrounds every call: errors become statuses, calls under way are counted."""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from bandit.domain.errors import BanditError, InvalidInput, Overloaded
from services.logs import logger
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

    Turns a `BanditError` into its status, and anything else unforeseen into INTERNAL; counts the
    calls under way, and refuses more than `most_under_way` at once: what waited longer than its
    caller would be done for nobody.  An interceptor would be asked again for each call.
    """

    def __init__(self, server: grpc.aio.Server, *, most_under_way: int) -> None:
        self._server = server
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

    def _wrapped(self, handler: Any, method: str) -> Any:
        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            self._started += 1
            if self._under_way >= self._most_under_way:
                await _abort(context, status_of(Overloaded(self._most_under_way)))
            self._under_way += 1
            self._idle.clear()
            try:
                return await handler.unary_unary(_readable(request), context)
            except Exception as error:
                await _told(error, method, context)
            finally:
                self._under_way -= 1
                if self._under_way == 0:
                    self._idle.set()

        if getattr(handler.unary_unary, "is_raw", False):
            return grpc.unary_unary_rpc_method_handler(call)
        return grpc.unary_unary_rpc_method_handler(
            call,
            request_deserializer=_reader(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )

    def _wrapped_stream(self, handler: Any, method: str) -> Any:
        async def stream(requests: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            # Not counted: it ends when its caller likes, and by itself when the service stops.
            try:
                readable = (_readable(request) async for request in requests)
                async with aclosing(handler.stream_stream(readable, context)) as items:
                    async for item in items:
                        yield item
            except Exception as error:
                await _told(error, method, context)

        return grpc.stream_stream_rpc_method_handler(
            stream,
            request_deserializer=_reader(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )


def _reader(read: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """The same, but for bytes that are no such message: gRPC would answer INTERNAL and log them."""

    def reader(data: bytes) -> Any:
        try:
            return read(data)
        except DecodeError as error:
            return error

    return reader


def _readable(request: Any) -> Any:
    if isinstance(request, DecodeError):
        raise InvalidInput("request", "is not a message of the kind that the method takes")
    return request


async def _told(error: Exception, method: str, context: grpc.aio.ServicerContext[Any, Any]) -> None:
    """End the call with what its caller may know of the error."""
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if isinstance(error, BanditError):
        await _abort(context, status_of(error))
    error_id = secrets.token_hex(6)
    _log.error("call failed", method=method, error_id=error_id, exc_info=error)
    await _abort(context, internal_status(error_id))


async def _abort(context: grpc.aio.ServicerContext[Any, Any], status: Status) -> None:
    # The asynchronous context has no `abort_with_status`.
    whole = rpc_status.to_status(status)
    await context.abort(whole.code, whole.details, whole.trailing_metadata)
