"""`python -m benchmarks.wire.echo FILE`: answers each `Select` with the response in a file."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc
import uvloop

from bandit.wire import router_pb2, router_pb2_grpc


class Echo(router_pb2_grpc.RouterServicer):
    """Reads the request, and thinks of nothing."""

    def __init__(self, response: router_pb2.SelectResponse) -> None:
        self._response = response

    async def Select(  # noqa: N802 - gRPC's name
        self, request: router_pb2.SelectRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> router_pb2.SelectResponse:
        """The response."""
        return self._response


async def serve(response: router_pb2.SelectResponse, port: int) -> None:
    """Serve until the process is ended; prints the port."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 1)])
    router_pb2_grpc.add_RouterServicer_to_server(Echo(response), server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print(bound, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    message = router_pb2.SelectResponse.FromString(Path(sys.argv[1]).read_bytes())
    uvloop.run(serve(message, int(sys.argv[2]) if len(sys.argv) > 2 else 0))
