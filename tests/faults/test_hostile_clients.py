"""
Clients that mean harm: whoever else calls the same router hardly notices.

One router on a real Postgres; the attacker is a process of its own.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import grpc
import pytest

from bandit.wire import catalog_pb2 as c
from bandit.wire import router_pb2, router_pb2_grpc
from services.supervisor import ChildProcess
from tests.faults.form import Form, Tally
from tests.faults.hostile import attacks
from tests.faults.memory import resident_bytes
from tests.faults.wellbehaved import Hostile, alternated, latencies
from tests.service.calls import Calls, router_process

POLICY = "steady"
REQUEST = router_pb2.SelectRequest(policy=POLICY, vector={"values": [1.0, 2.0, 3.0]})
PER_SECOND = 50.0


@dataclass(frozen=True)
class Target:
    """A router that has a policy."""

    child: ChildProcess
    port: int


@pytest.fixture(scope="module")
def target(module_database_url: str) -> Iterator[Target]:
    with router_process(module_database_url) as child:
        port = child.readiness(within_s=60.0)["port"]
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            context = c.ContextSettings(vector=c.VectorContext(length=3))
            price = c.Price(input_usd_per_million=1.0, output_usd_per_million=2.0)
            Calls(channel).catalog.CreatePolicy(
                c.CreatePolicyRequest(
                    name=POLICY,
                    settings=c.PolicySettings(context=context),
                    arms=[c.Arm(name=arm, price=price) for arm in "ab"],
                )
            )
        yield Target(child, port)


@pytest.fixture
async def router(target: Target) -> "AsyncIterator[router_pb2_grpc.RouterAsyncStub]":
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{target.port}", options=options) as channel:
        stub = router_pb2_grpc.RouterStub(channel)
        await latencies(stub, REQUEST, lasting_s=0.2, per_second=PER_SECOND)
        yield stub


@pytest.mark.parametrize("kind", attacks(b""))
async def test_an_ordinary_caller_hardly_waits_longer(
    kind: str, target: Target, router: "router_pb2_grpc.RouterAsyncStub", form: Form, tally: Tally
) -> None:
    """TODO"""
    before = resident_bytes(target.child.pid)
    with Hostile.start(kind, target.port, POLICY) as hostile:
        seen = await alternated(
            router,
            REQUEST,
            hostile,
            windows=form.windows,
            lasting_s=form.window_s,
            per_second=PER_SECOND,
        )
    grown = resident_bytes(target.child.pid) - before
    tally.tell(f"{kind}: {seen.told(form.share)}; {grown / 2**20:+.1f} MiB")

    assert target.child.is_running()
    assert seen.failures() == 0
    without, during = seen.quantiles(form.share)
    allowance = min(seen.noise(form.share), form.allowance_s)
    assert during <= 2 * without + allowance
