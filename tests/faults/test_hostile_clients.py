"""
Clients that mean harm: whoever else calls the same router hardly notices.

One router on a real Postgres; the attacker is a process of its own, at the rates in `hostile.py`.
"""

import json
import resource
import select
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
import psycopg
import pytest

from bandit.wire import catalog_pb2 as c
from bandit.wire import router_pb2, router_pb2_grpc
from services.supervisor import ChildProcess
from tests.faults import http2 as h
from tests.faults.form import SHORT, Form, Tally
from tests.faults.hostile import attacks, bomb
from tests.faults.memory import forget_highest, highest_resident_bytes, resident_bytes
from tests.faults.sending import answer_to
from tests.faults.wellbehaved import Hostile, alternated, latencies
from tests.service.calls import Calls, eventually, router_process

POLICY = "steady"
REQUEST = router_pb2.SelectRequest(policy=POLICY, vector={"values": [1.0, 2.0, 3.0]})
SELECT = b"/bandit.router.v1.Router/Select"
PER_SECOND = 50.0
MOST_NOISE_S = 0.005
MIB = 2**20
MOST_GROWTH = 96 * MIB
TOO_LARGE = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]


@dataclass(frozen=True)
class Target:
    """A router that has a policy."""

    child: ChildProcess
    port: int
    database_url: str


@pytest.fixture(scope="module")
def target(module_database_url: str) -> Iterator[Target]:
    with router_process(module_database_url) as child:
        port = child.readiness(within_s=60.0)["port"]
        with calls_to(port) as calls:
            context = c.ContextSettings(vector=c.VectorContext(length=3))
            price = c.Price(input_usd_per_million=1.0, output_usd_per_million=2.0)
            calls.catalog.CreatePolicy(
                c.CreatePolicyRequest(
                    name=POLICY,
                    settings=c.PolicySettings(context=context),
                    arms=[c.Arm(name=arm, price=price) for arm in "ab"],
                )
            )
        yield Target(child, port, module_database_url)


@contextmanager
def calls_to(port: int) -> Iterator[Calls]:
    """On a connection of their own."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        yield Calls(channel)


@pytest.fixture
async def router(target: Target) -> "AsyncIterator[router_pb2_grpc.RouterAsyncStub]":
    async with grpc.aio.insecure_channel(f"127.0.0.1:{target.port}") as channel:
        stub = router_pb2_grpc.RouterStub(channel)
        await latencies(stub, REQUEST, lasting_s=0.2, per_second=PER_SECOND)
        yield stub


@pytest.mark.parametrize("kind", attacks(b""))
async def test_an_ordinary_caller_hardly_waits_longer(
    kind: str, target: Target, router: "router_pb2_grpc.RouterAsyncStub", form: Form, tally: Tally
) -> None:
    """
    At most twice as long, by the 99th percentile.

    Windows without and with the attack come in turn, so that both see the same machine; each has
    its percentile, in the long form the second slowest of 150 calls, and the medians of five are
    compared: whatever else the machine does for some seconds decides nothing.  Two halves of the
    windows without an attack differ too; by as much as they do in this very run, but by no more
    than 5 ms, the bound is widened.  The short form, beside other tests, takes what it can get of
    four windows of six calls, and allows 250 ms.
    """
    before = resident_bytes(target.child.pid)
    with Hostile.start(kind, target.port, POLICY) as hostile:
        seen = await alternated(
            router,
            REQUEST,
            hostile,
            windows=form.windows,
            lasting_s=form.window_s,
            per_second=PER_SECOND,
            pause_s=form.pause_s,
        )
    grown = resident_bytes(target.child.pid) - before
    tally.tell(f"{kind}: {seen.told(form.share)}; {grown / MIB:+.1f} MiB")

    assert target.child.is_running()
    assert seen.failures() == 0
    assert seen.done["opened"] >= attacks(b"")[kind].connections
    without, during = seen.quantiles(form.share)
    allowance = max(form.allowance_s, min(seen.noise(form.share), MOST_NOISE_S))
    assert during <= 2 * without + allowance
    assert grown < MOST_GROWTH


# Either of these two may be reset before it has its status: gRPC does not wait until that is sent.
# Which status it is, the long form asks alone: beside other tests UNAVAILABLE was seen once, of
# which it is not known whence it comes.  That it is refused, and keeps no memory, holds in both.


def test_what_inflates_to_a_gigabyte_is_refused_before_it_does(
    target: Target, form: Form, tally: Tally
) -> None:
    before = resident_bytes(target.child.pid)
    forget_highest(target.child.pid)
    message = h.message(bomb(1024), compressed=1)

    status, sent = answer_to(target.port, SELECT, [message], more=[(b"grpc-encoding", b"gzip")])

    grown = highest_resident_bytes(target.child.pid) - before
    tally.tell(f"{sent / MIB:.1f} MiB that hold a GiB: {grown / MIB:+.1f} MiB at most")
    assert status != 0
    assert form is SHORT or status in (TOO_LARGE, None)
    assert grown < 32 * MIB


def test_a_message_that_says_it_is_too_large_is_refused_before_it_has_come(
    target: Target, form: Form, tally: Tally
) -> None:
    before = resident_bytes(target.child.pid)
    forget_highest(target.child.pid)
    message = [h.message(b"", length=2**30), *[bytes(MIB)] * 1024]

    status, sent = answer_to(target.port, SELECT, message)

    grown = highest_resident_bytes(target.child.pid) - before
    tally.tell(f"{sent / MIB:.1f} MiB sent of a GiB: {grown / MIB:+.1f} MiB at most")
    assert status != 0
    assert form is SHORT or status in (TOO_LARGE, None)
    assert sent < 16 * MIB
    assert grown < 32 * MIB


def test_at_the_limit_of_open_files_callers_are_served_and_new_ones_come_in_later(
    target: Target,
) -> None:
    """The service keeps some for itself: to reach its database it needs them, too."""
    child = ChildProcess("router")
    most = 400
    try:
        resource.prlimit(child.pid, resource.RLIMIT_NOFILE, (most, most))
        orders = {"port": 0, "log_level": "error", "database_url": target.database_url}
        child.order(json.dumps(orders).encode())
        port = child.readiness(within_s=60.0)["port"]
        with calls_to(port) as early:
            assert early.select(POLICY).durable
            crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(2 * most)]
            try:
                for peer in crowd:
                    peer.send(h.hello())
                assert early.select(POLICY).durable
                with psycopg.connect(target.database_url, autocommit=True) as database:
                    database.execute(
                        "select pg_terminate_backend(pid) from pg_stat_activity"
                        " where datname = current_database() and pid <> pg_backend_pid()"
                    )
                eventually(lambda: early.select(POLICY).durable, bool)
                with calls_to(port) as late, pytest.raises(grpc.RpcError) as raised:
                    late.router.Select(REQUEST, timeout=2.0)
                assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
            finally:
                for peer in crowd:
                    peer.close()
            with calls_to(port) as late:
                assert late.router.Select(REQUEST, timeout=10.0, wait_for_ready=True).durable
            assert child.is_running()
    finally:
        child.stop(within_s=10.0)


def test_connections_that_nobody_uses_are_closed(target: Target, form: Form, tally: Tally) -> None:
    if form is SHORT:
        pytest.skip("takes a minute and a half")
    ack = h.frame(h.SETTINGS, h.ACK)
    expected = {
        "silent": (b"", 10.0),
        "takes in no settings": (h.hello(), 10.0),
        "answers no ping": (
            h.hello() + ack + h.headers(1, h.request_fields(SELECT + b"Stream")),
            80.0,
        ),
    }
    opened = {name: socket.create_connection(("127.0.0.1", target.port)) for name in expected}
    began = time.monotonic()
    for name, (greeting, _) in expected.items():
        opened[name].sendall(greeting)
    with calls_to(target.port) as calls:
        assert calls.select(POLICY).durable

    took: dict[str, float] = {}
    while len(took) < len(expected) and time.monotonic() - began < 100.0:
        waiting = {peer: name for name, peer in opened.items() if name not in took}
        for peer in select.select(list(waiting), [], [], 1.0)[0]:
            try:
                data = peer.recv(65_536)
            except ConnectionError:
                data = b""
            if not data:
                took[waiting[peer]] = time.monotonic() - began
                peer.close()

    tally.tell(", ".join(f"{name}: {seconds:.1f} s" for name, seconds in took.items()))
    for name, (_, seconds) in expected.items():
        assert took.get(name, 1e9) < seconds + 5.0, name
