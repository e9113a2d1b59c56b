"""What surrounds `Calls` in turn, where calls are told of: between them and gRPC's server."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple, Protocol

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from services.logs import logger
from services.router.request import REQUEST, REQUEST_ID

_PACKAGE = "/bandit.router.v1."
_DETAILS = "grpc-status-details-bin"
_NAMES: Mapping[int, str] = {code.value[0]: code.name for code in grpc.StatusCode}

Context = grpc.aio.ServicerContext[Any, Any]

_log = logger(__name__)


class Layer(Protocol):
    """Wraps methods; each is wrapped once, when the server is made."""

    def unary(self, call: Any, method: str) -> Any:
        """The same call, of `(request, context)`, told of."""
        ...

    def stream(self, stream: Any, method: str) -> Any:
        """The same stream, of `(requests, context)`, told of."""
        ...


class LayeredServer:
    """gRPC's server as the generated code uses it: what is added is wrapped by all layers."""

    def __init__(self, server: grpc.aio.Server, layers: Sequence[Layer]) -> None:
        self._server = server
        self._layers = layers

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Nothing: the same methods are registered one by one."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Add the methods of a service to the server."""
        wrapped = {
            name: self._wrapped(handler, f"/{service}/{name}") for name, handler in handlers.items()
        }
        generic = grpc.method_handlers_generic_handler(service, wrapped)
        self._server.add_generic_rpc_handlers((generic,))
        self._server.add_registered_method_handlers(service, wrapped)

    def _wrapped(self, handler: Any, method: str) -> Any:
        call, stream = handler.unary_unary, handler.stream_stream
        if call is not None:
            for layer in self._layers:
                call = layer.unary(call, method)
            make, behaviour = grpc.unary_unary_rpc_method_handler, call
        else:
            for layer in self._layers:
                stream = layer.stream(stream, method)
            make, behaviour = grpc.stream_stream_rpc_method_handler, stream
        return make(
            behaviour,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


class Ended(NamedTuple):
    """
    How a call ended.

    code     the name of its status; CANCELLED where its caller left or its deadline passed
    seconds  from its arrival on
    """

    method: str
    code: str
    seconds: float
    is_stream: bool
    context: Context

    @property
    def reason(self) -> str:
        """Of an error; empty where there is none."""
        return "" if self.code == "OK" else reason_of(self.context)

    @property
    def request_id(self) -> str:
        """Under which the call is told of; empty where it is not known."""
        return request_id_of(self.context)


class Counted:
    """
    A layer that tells how each call ended.

    under_way   calls being answered, without streams
    """

    def __init__(self, witnesses: Sequence[Callable[[Ended], None]]) -> None:
        self._witnesses = witnesses
        self.under_way = 0

    def unary(self, call: Any, method: str) -> Any:
        """See `Layer`."""

        async def counted(request: Any, context: Context) -> Any:
            began = time.perf_counter()
            error: BaseException | None = None
            self.under_way += 1
            try:
                return await call(request, context)
            except BaseException as raised:
                error = raised
                raise
            finally:
                self.under_way -= 1
                self._tell(method, error, context, began, is_stream=False)

        return counted

    def stream(self, stream: Any, method: str) -> Any:
        """See `Layer`."""

        async def counted(requests: Any, context: Context) -> Any:
            began = time.perf_counter()
            error: BaseException | None = None
            try:
                async with aclosing(stream(requests, context)) as items:
                    async for item in items:
                        yield item
            except BaseException as raised:
                error = raised
                raise
            finally:
                self._tell(method, error, context, began, is_stream=True)

        return counted

    def _tell(
        self,
        method: str,
        error: BaseException | None,
        context: Context,
        began: float,
        *,
        is_stream: bool,
    ) -> None:
        code = "OK" if error is None else code_of(error, context)
        ended = Ended(method, code, time.perf_counter() - began, is_stream, context)
        for witness in self._witnesses:
            witness(ended)


def tell_debug(ended: Ended) -> None:
    """A line per call."""
    _log.debug(
        "call ended",
        method=ended.method,
        request_id=ended.request_id,
        code=ended.code,
        duration_ms=round(1000 * ended.seconds, 3),
    )


def short(method: str) -> str:
    """`Router/Select` for `/bandit.router.v1.Router/Select`."""
    return method.removeprefix(_PACKAGE)


def code_of(error: BaseException, context: Context) -> str:
    """The name of the status with which a call ended that raised."""
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return "CANCELLED"
    code: Any = context.code()
    if isinstance(code, grpc.StatusCode):
        return code.name
    return _NAMES.get(code, "UNKNOWN")


def request_id_of(context: Context) -> str:
    """The id of the call that is being answered; empty where it was not looked at."""
    request = REQUEST.get(None)
    if request is not None:
        return request.id
    for key, value in context.trailing_metadata() or ():  # refused before it came in
        if key == REQUEST_ID and isinstance(value, str):
            return value
    return ""


def reason_of(context: Context) -> str:
    """The reason in the details of an error; empty where there are none."""
    for key, value in context.trailing_metadata() or ():
        if key == _DETAILS and isinstance(value, bytes):
            for detail in Status.FromString(value).details:
                info = ErrorInfo()
                if detail.Unpack(info):
                    return info.reason
    return ""
