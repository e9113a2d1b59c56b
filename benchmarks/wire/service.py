"""Everything that the contests over the wire need running, on one Postgres."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
import numpy as np

from bandit.store.postgres.embedded import EmbeddedPostgres
from bandit.wire import catalog_pb2 as c
from bandit.wire import catalog_pb2_grpc, router_pb2_grpc
from bandit.wire import router_pb2 as r
from benchmarks.wire.load import body_of, load
from migrations.upgrade import upgrade
from services.settings import Settings
from services.supervisor import ChildProcess, Stack

POLICY = "bench"
ARMS, LENGTH, NAMED, BATCH = 12, 24, 23, 64  # 24 + 23 + 1 features
SELECT = "/bandit.router.v1.Router/Select"
BATCH_SELECT = "/bandit.router.v1.Router/BatchSelect"
ROUND_S = 1.5
_START_S = 60.0
_END_S = 10.0


@dataclass(frozen=True, slots=True)
class Service:
    """
    Ports of 127.0.0.1, and what is sent to them.

    router       stores every decision before it answers; router_pid: its process
    unwritten    the same, which stores nothing
    workers      two routers on one port
    echo         answers a `Select` with what `router` answered once; echoes: two of it on one port
    select       the body of a `Select`, batch: of a `BatchSelect` of 64
    """

    database_url: str
    router: int
    router_pid: int
    unwritten: int
    workers: int
    echo: int
    echoes: int
    select: Path
    batch: Path
    answer_bytes: int

    def rate(self, port: int, method: str = SELECT, *, streams: int = 8, each: int = 1) -> float:
        """Decisions per second, `8 x streams` calls in flight; every answer has been a decision."""
        body = self.batch if method == BATCH_SELECT else self.select
        loaded = load(port, method, body, seconds=ROUND_S, streams=streams)
        least = self.answer_bytes * each * 0.9
        if loaded.bytes_each < least:
            raise RuntimeError(f"answers of {loaded.bytes_each:.0f} bytes: they are errors")
        return loaded.per_second * each


@contextmanager
def service() -> Iterator[Service]:
    """All of it, ended with the block."""
    with ExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory()))
        postgres = ending.enter_context(EmbeddedPostgres.start())
        url = postgres.url
        upgrade(url, today=datetime.now(UTC).date())
        router_pid, router = _router(ending, url)
        channel = ending.enter_context(grpc.insecure_channel(f"127.0.0.1:{router}"))
        _create_policy(catalog_pb2_grpc.CatalogStub(channel))
        request = a_request()
        answer = router_pb2_grpc.RouterStub(channel).Select(request)
        (folder / "answer").write_bytes(answer.SerializeToString())
        (folder / "select").write_bytes(body_of(request.SerializeToString()))
        batch = r.BatchSelectRequest(requests=[request] * BATCH)
        (folder / "batch").write_bytes(body_of(batch.SerializeToString()))
        settings = Settings.load(port=0, workers=2, log_level="error", database_url=url)
        workers = ending.enter_context(Stack.start(settings, routers_only=True))
        echoes = _echo(ending, folder)
        _echo(ending, folder, port=echoes)
        yield Service(
            database_url=url,
            router=router,
            router_pid=router_pid,
            unwritten=_unwritten(ending, url),
            workers=int(workers.target.rpartition(":")[2]),
            echo=_echo(ending, folder),
            echoes=echoes,
            select=folder / "select",
            batch=folder / "batch",
            answer_bytes=len(answer.SerializeToString()),
        )


def a_request() -> r.SelectRequest:
    """With a vector and named features, so that the context has 48 numbers."""
    random = np.random.default_rng(0)
    return r.SelectRequest(
        policy=POLICY,
        vector=r.Vector(values=random.normal(size=LENGTH)),
        features={f"feature {n}": float(random.normal()) for n in range(NAMED)},
        preference=c.Preference(quality=0.7, cost=0.3),
        input_tokens=500,
    )


def _create_policy(catalog: catalog_pb2_grpc.CatalogStub) -> None:
    named = [c.NamedFeature(name=f"feature {n}", mean=0, deviation=1) for n in range(NAMED)]
    context = c.ContextSettings(vector=c.VectorContext(length=LENGTH), features=named)
    arms = [
        c.Arm(name=f"arm {n}", price=c.Price(input_usd_per_million=n, output_usd_per_million=4 * n))
        for n in range(1, ARMS + 1)
    ]
    settings = c.PolicySettings(context=context)
    catalog.CreatePolicy(c.CreatePolicyRequest(name=POLICY, settings=settings, arms=arms))


def _router(ending: ExitStack, url: str) -> tuple[int, int]:
    """Process and port of a router."""
    child = ChildProcess("router")
    ending.callback(child.stop, within_s=_END_S)
    child.order(json.dumps(_orders(url)).encode())
    return child.pid, child.readiness(within_s=_START_S)["port"]


def _unwritten(ending: ExitStack, url: str) -> int:
    """The port of a router that stores nothing."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.wire.unwritten", "--supervised"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    ending.callback(_end, process)
    assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018
    process.stdin.write(json.dumps(_orders(url)).encode() + b"\n")
    process.stdin.flush()
    return int(json.loads(process.stdout.readline())["port"])


def _orders(url: str) -> dict[str, object]:
    return {"port": 0, "log_level": "error", "database_url": url}


def _echo(ending: ExitStack, folder: Path, *, port: int = 0) -> int:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.wire.echo", str(folder / "answer"), str(port)],
        stdout=subprocess.PIPE,
        env=os.environ,
    )
    ending.callback(_end, process)
    assert process.stdout is not None  # noqa: S101 - as asked for above
    return int(process.stdout.readline())


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
