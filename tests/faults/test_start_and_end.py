"""The first and the last moments of a router whose Postgres is away."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bandit.store.postgres.embedded import EmbeddedPostgres
from bandit.wire import catalog_pb2 as c
from tests.faults.proxy import Proxy, proxied
from tests.service.calls import Calls, eventually

pytestmark = pytest.mark.timeout(400)
PROJECT = Path(__file__).resolve().parents[2]
SERVING, NOT_SERVING = (
    health_pb2.HealthCheckResponse.SERVING,
    health_pb2.HealthCheckResponse.NOT_SERVING,
)
GRACE_S = 2.0
START_S = 150.0  # compiling the kernels takes seconds of a processor that others use too


@dataclass
class Router:
    """A router process on its own; `told` is what it has logged, once it has ended."""

    process: subprocess.Popen[str]
    channel: grpc.Channel
    told: str = ""

    @property
    def calls(self) -> Calls:
        return Calls(self.channel)

    def readiness(self) -> Any:
        stub: Any = health_pb2_grpc.HealthStub(self.channel)
        request = health_pb2.HealthCheckRequest(service="bandit.router.v1.Router")
        return stub.Check(request, wait_for_ready=True, timeout=START_S).status

    def until_ready(self) -> None:
        eventually(self.readiness, lambda status: status == SERVING, within_s=START_S)

    def end(self) -> float:
        """Ask it to end; the seconds that took."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        _, self.told = self.process.communicate(timeout=30)
        return time.monotonic() - started


@contextmanager
def router(url: str, **settings: object) -> Iterator[Router]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    orders = {"port": port, "database_url": url, "grace_s": GRACE_S, "log_format": "json"}
    given = {f"BANDIT_{key.upper()}": str(value) for key, value in (orders | settings).items()}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "services.router"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(PROJECT)} | given,
    )
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Router(process, channel)
    finally:
        process.kill()
        process.communicate()


def a_policy(calls: Calls) -> str:
    settings = c.PolicySettings(context=c.ContextSettings(vector=c.VectorContext(length=3)))
    arms = [c.Arm(name=arm) for arm in ("a", "b")]
    calls.catalog.CreatePolicy(c.CreatePolicyRequest(name="chat", settings=settings, arms=arms))
    return "chat"


def stored(postgres: EmbeddedPostgres) -> set[str]:
    with psycopg.connect(postgres.url) as connection:
        return {str(id_) for (id_,) in connection.execute("select id from decision")}


def test_a_router_is_ready_once_it_has_read_its_policies_and_stays_so(
    postgres: EmbeddedPostgres, proxy: Proxy
) -> None:
    proxy.mode = "refuse"
    with router(proxied(postgres.url, proxy)) as running:
        assert running.readiness() == NOT_SERVING
        time.sleep(1.0)
        assert running.readiness() == NOT_SERVING

        proxy.mode = "pass"
        running.until_ready()
        policy = a_policy(running.calls)
        proxy.mode = "stall"
        time.sleep(3.0)

        assert running.readiness() == SERVING
        assert not running.calls.select(policy).durable


def test_at_the_end_what_waits_is_written_if_it_can_be(
    postgres: EmbeddedPostgres, proxy: Proxy
) -> None:
    """The database is back just when the router is told to end."""
    with router(proxied(postgres.url, proxy)) as running:
        running.until_ready()
        policy = a_policy(running.calls)
        proxy.mode = "refuse"
        made = [running.calls.select(policy) for _ in range(500)]
        assert not made[-1].durable

        proxy.mode = "pass"
        took_s = running.end()

    assert stored(postgres) == {decision.decision_id for decision in made}
    assert running.process.returncode == 0
    assert took_s < GRACE_S + 2
    assert "lost" not in running.told
    assert running.told.count("storing decisions fails") == 1
    assert running.told.count("storing decisions works again") == 1
    assert '"stored": ' in running.told


def test_the_end_does_not_wait_for_a_database_that_is_silent(
    postgres: EmbeddedPostgres, proxy: Proxy
) -> None:
    """And says how many decisions are lost with it."""
    with router(proxied(postgres.url, proxy)) as running:
        running.until_ready()
        policy = a_policy(running.calls)
        proxy.mode = "stall"
        made = [running.calls.select(policy) for _ in range(20)]
        time.sleep(2.0)

        took_s = running.end()

    assert not any(decision.durable for decision in made)
    assert took_s < GRACE_S + 3.0
    assert running.process.returncode == 0
    assert '"lost": 20' in running.told


def test_the_oldest_go_when_there_is_no_room(postgres: EmbeddedPostgres, proxy: Proxy) -> None:
    """Those in hand when the database is back, and those in line behind them, are stored."""
    room = 50
    with router(proxied(postgres.url, proxy), offline_buffer=room) as running:
        running.until_ready()
        policy = a_policy(running.calls)
        proxy.mode = "refuse"
        made = [running.calls.select(policy) for _ in range(4 * room)]
        proxy.mode = "pass"
        while not made[-1].durable:
            time.sleep(0.05)
            made.append(running.calls.select(policy))
        running.end()

    kept = [decision for decision in made if decision.decision_id in stored(postgres)]
    assert made[-room:] == kept[-room:]
    assert room <= len(kept) <= 2 * room + 1
    [told] = [
        json.loads(line)
        for line in running.told.splitlines()
        if "works again" in line and "storing" in line
    ]
    assert told["dropped"] == len(made) - len(kept)
    assert told["unconfirmed"] == len(made) - 1
