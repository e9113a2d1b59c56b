"""The server beneath the services: what it says of methods that it has not, and of its own end."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from services.router.grpc_server import Server
from services.router.server import StoppedServing, _told_to_stop
from tests.faults import http2 as h

pytestmark = pytest.mark.asyncio


async def echo(request: bytes, context: object) -> bytes:
    return request


@pytest.fixture
async def server() -> Server:
    """One that has a single method."""
    made = Server([])
    made.add_registered_method_handlers("it", {"echo": grpc.unary_unary_rpc_method_handler(echo)})
    return made


@pytest.fixture
async def port(server: Server) -> AsyncIterator[int]:
    number = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield number
    await server.stop(None)


async def echoed(port: int, method: str = "/it/echo") -> bytes:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        answer: bytes = await channel.unary_unary(method, None, None)(b"hello")
        return answer


async def test_a_method_that_it_has_not_is_unimplemented(port: int) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await echoed(port, "/it/nothing")

    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert await echoed(port) == b"hello"


async def test_a_path_that_is_no_text_ends_its_own_call_and_no_other(port: int) -> None:
    for path in (b"/\xff", b"\x80", b"/it/echo\xc3", b"/it/\xed\xa0\x80"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(h.hello() + h.call(1, path, b""))
        answer = b""
        while b"grpc-status" not in answer:
            answer += await asyncio.wait_for(reader.read(65_536), 10)
        writer.close()

        assert b"Method not found!" in answer
        assert await echoed(port) == b"hello"


async def test_a_process_whose_server_has_ended_does_not_go_on(server: Server, port: int) -> None:
    stopping = asyncio.Event()
    waiting = asyncio.create_task(_told_to_stop(stopping, server))
    assert await echoed(port) == b"hello"
    assert not waiting.done()

    await server.stop(None)

    with pytest.raises(StoppedServing):
        await asyncio.wait_for(waiting, 10)
