"""What surrounds every call: errors become statuses, calls under way are counted."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from bandit.domain.errors import BanditError
from services.logs import logger
from services.router.status import internal_status, status_of

_SLICES = 10

_log = logger(__name__)


class Calls(grpc.aio.ServerInterceptor):  # type: ignore[misc,type-arg,unused-ignore]
    """Turns a `BanditError` into its status, and anything else unforeseen into INTERNAL."""

    def __init__(self) -> None:
        self._started = 0
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def until_quiet(self, *, for_s: float) -> None:
        """Wait until no call is under way, and none has begun for a while."""
        quiet = 0
        # In slices: a loop that was held up runs what had piled up before it counts another one.
        while quiet < _SLICES:
            await self._idle.wait()
            seen = self._started
            await asyncio.sleep(for_s / _SLICES)
            quiet = quiet + 1 if self._idle.is_set() and self._started == seen else 0

    async def intercept_service(
        self,
        continuation: Callable[[Any], Awaitable[Any]],
        handler_call_details: Any,
    ) -> Any:
        """The handler of this call, wrapped; streams (health, reflection) stay as they are."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler

        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            self._started += 1
            self._under_way += 1
            self._idle.clear()
            try:
                return await handler.unary_unary(request, context)
            except BanditError as error:
                await _abort(context, status_of(error))
            except (grpc.aio.AbortError, asyncio.CancelledError):
                raise
            except Exception as error:
                error_id = secrets.token_hex(6)
                _log.error(
                    "call failed",
                    method=handler_call_details.method,
                    error_id=error_id,
                    exc_info=error,
                )
                await _abort(context, internal_status(error_id))
            finally:
                self._under_way -= 1
                if self._under_way == 0:
                    self._idle.set()

        return grpc.unary_unary_rpc_method_handler(
            call,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


async def _abort(context: grpc.aio.ServicerContext[Any, Any], status: Status) -> None:
    # The asynchronous context has no `abort_with_status`.
    whole = rpc_status.to_status(status)
    await context.abort(whole.code, whole.details, whole.trailing_metadata)
