"""`grpc.health.v1`: whether the process answers, and whether each service takes calls."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

PROCESS = ""  # as a name: the process itself, which answers as soon as it can be asked

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN

Context = grpc.aio.ServicerContext[Any, Any]


class Readiness(health_pb2_grpc.HealthServicer):
    """
    Answers those who ask, and tells those who watch.

    A change waits for nobody: whoever watches and does not read learns of it when he reads.  gRPC's
    own servicer holds a lock while it writes to a watcher, and one that never reads keeps a service
    from becoming ready, and from stopping.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._services = frozenset(services)
        self._is_ready = False
        self._changed = asyncio.Event()

    def set(self, is_ready: bool) -> None:
        """Whether calls of the services are welcome."""
        self._is_ready = is_ready
        self._changed.set()
        self._changed = asyncio.Event()

    async def Check(  # noqa: N802 - gRPC's name
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        """How a service is now; NOT_FOUND where there is none of that name."""
        status = self._status(request.service)
        if status == _UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service")
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(  # noqa: N802 - gRPC's name
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """How a service is, now and whenever that changes."""
        told = None
        while True:
            changed = self._changed
            status = self._status(request.service)
            if status != told:
                told = status
                yield health_pb2.HealthCheckResponse(status=status)
            else:
                await changed.wait()

    def _status(self, service: str) -> int:
        if service == PROCESS:
            return _SERVING
        if service not in self._services:
            return _UNKNOWN
        return _SERVING if self._is_ready else _NOT_SERVING
