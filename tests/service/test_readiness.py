"""`grpc.health.v1`, also for those who watch and do not read."""

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.router.readiness import Readiness

SERVICE = "bandit.router.v1.Router"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class World:
    def __init__(self, readiness, stub):
        self.readiness = readiness
        self.stub = stub

    async def check(self, service):
        return (await self.stub.Check(health_pb2.HealthCheckRequest(service=service))).status

    def watch(self, service):
        return self.stub.Watch(health_pb2.HealthCheckRequest(service=service))


@pytest.fixture
async def world():
    readiness = Readiness([SERVICE])
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(readiness, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield World(readiness, health_pb2_grpc.HealthStub(channel))
    await server.stop(None)


async def test_the_process_answers_before_its_services_do(world):
    assert await world.check("") == SERVING
    assert await world.check(SERVICE) == NOT_SERVING

    world.readiness.set(True)

    assert await world.check(SERVICE) == SERVING


async def test_an_unknown_service_is_not_found(world):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await world.check("nothing")

    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    assert (await world.watch("nothing").read()).status == UNKNOWN


async def test_whoever_watches_is_told_of_each_change(world):
    watching = world.watch(SERVICE)
    told = [(await watching.read()).status]
    for is_ready in (True, False):
        world.readiness.set(is_ready)
        told.append((await watching.read()).status)

    assert told == [NOT_SERVING, SERVING, NOT_SERVING]
    watching.cancel()


async def test_whoever_does_not_read_keeps_nobody_waiting(world):
    """Two hundred who never read, and a status that changes more often than a window holds."""
    silent = [world.watch(SERVICE) for _ in range(200)]
    await asyncio.gather(*(watching.read() for watching in silent))

    async with asyncio.timeout(5):
        for number in range(2001):
            world.readiness.set(number % 2 == 0)
            if number % 100 == 0:
                await asyncio.sleep(0)
        assert await world.check(SERVICE) == SERVING

    for watching in silent:
        watching.cancel()
