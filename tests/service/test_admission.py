"""More calls than a router takes at once: refused in so many words, and nothing else suffers."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack

import grpc
import psycopg
import pytest

from bandit.wire import router_pb2 as r
from bandit.wire import router_pb2_grpc
from services.supervisor import Stack
from tests.service.calls import error_of, running_router

pytestmark = pytest.mark.asyncio
BURST = 2000


async def outcome(router: "router_pb2_grpc.RouterAsyncStub", policy: str) -> str:
    """OK, or the reason of the refusal."""
    request = r.SelectRequest(policy=policy, vector={"values": [1.0, 2.0, 3.0]})
    try:
        await router.Select(request, timeout=30)
    except grpc.aio.AioRpcError as error:
        code, found = error_of(error)
        if not found:
            return code.name
        assert found["RetryInfo"].retry_delay.ToTimedelta()
        return f"{code.name} {found['ErrorInfo'].reason}"
    return "OK"


async def burst(target: str, policy: str, *, channels: int = 1) -> Counter[str]:
    """What becomes of many calls at once."""
    # Without pools of their own, channels to one address would share a connection.
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with AsyncExitStack() as ending:
        routers = [
            router_pb2_grpc.RouterStub(
                await ending.enter_async_context(grpc.aio.insecure_channel(target, options=options))
            )
            for _ in range(channels)
        ]
        return Counter(
            await asyncio.gather(*(outcome(routers[n % channels], policy) for n in range(BURST)))
        )


@pytest.mark.parametrize("channels", [1, 4])
async def test_a_burst_within_the_limit_is_answered_whole(
    stack: Stack, new_policy: Callable[..., str], channels: int
) -> None:
    assert await burst(stack.target, new_policy(), channels=channels) == {"OK": BURST}


async def test_what_exceeds_the_limit_is_refused_and_not_begun(
    stack: Stack, new_policy: Callable[..., str], database: psycopg.Connection
) -> None:
    policy = new_policy()
    with running_router(stack.database_url, max_calls=16) as port:
        target = f"127.0.0.1:{port}"

        became = await burst(target, policy)

        assert set(became) == {"OK", "RESOURCE_EXHAUSTED OVERLOADED"}
        async with grpc.aio.insecure_channel(target) as channel:
            assert await outcome(router_pb2_grpc.RouterStub(channel), policy) == "OK"
    query = "select count(*) from decision join policy on policy.id = policy_id where name = %s"
    row = database.execute(query, [policy]).fetchone()
    assert row is not None
    assert row[0] == became["OK"] + 1
