"""How the service begins, is watched, and ends, whatever happens to its processes."""

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from bandit.wire import catalog_pb2 as c
from bandit.wire import router_pb2 as r
from migrations.upgrade import upgrade
from services.supervisor import Stack
from tests.service.calls import Calls, eventually, is_process, router_process, running_router
from tests.service.test_deciding import same_but_replayed

PROJECT = Path(__file__).resolve().parents[2]
SERVICES = [f"bandit.router.v1.{name}" for name in ("Router", "Feedback", "Catalog", "Learning")]
SUPERVISOR = """
import sys
from services.settings import Settings
from services.supervisor import Stack
try:
    with Stack.start(Settings.load(port=0, log_level="error"), durable=False) as stack:
        print(stack.target, *stack.pids().values(), flush=True)
        stack.wait()
except KeyboardInterrupt:
    sys.exit(130)
"""


def health(channel: grpc.Channel, service: str) -> Any:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    return stub.Check(health_pb2.HealthCheckRequest(service=service)).status


@pytest.fixture
def folder() -> Iterator[Path]:
    """A temporary folder for the processes of one test, open to the user that Postgres runs as."""
    with tempfile.TemporaryDirectory(prefix="bandit-test-", dir="/tmp") as name:
        Path(name).chmod(0o1777)
        yield Path(name)


def supervisor(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(PROJECT), "TMPDIR": str(folder)},
        start_new_session=True,
    )


def relatives(folder: Path) -> list[int]:
    """The processes that have the folder for their temporary one."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environment = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in environment and is_process(int(entry.name)):
            found.append(int(entry.name))
    return found


def left_behind(folder: Path) -> list[object]:
    return [*relatives(folder), *folder.iterdir()]


def test_every_service_is_ready_and_described(stack: Stack, calls: Calls) -> None:
    assert health(calls.channel, "") == health_pb2.HealthCheckResponse.SERVING
    for service in SERVICES:
        assert health(calls.channel, service) == health_pb2.HealthCheckResponse.SERVING
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    reflection: Any = reflection_pb2_grpc.ServerReflectionStub(calls.channel)
    reflected = reflection.ServerReflectionInfo(iter([asked]))
    names = {each.name for each in next(reflected).list_services_response.service}
    assert {*SERVICES, "grpc.health.v1.Health"} <= names


def test_a_router_without_a_database_lives_but_is_not_ready() -> None:
    port = free_port()
    with (
        router_process("postgresql://nobody@127.0.0.1:1/nowhere", port=port, log_level="error"),
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        grpc.channel_ready_future(channel).result(timeout=60)

        assert health(channel, "") == health_pb2.HealthCheckResponse.SERVING
        assert health(channel, SERVICES[0]) == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(grpc.RpcError) as raised:
            Calls(channel).select("any")
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_router_makes_room_for_todays_decisions(
    new_database: Callable[..., AbstractContextManager[str]],
) -> None:
    """No learner runs, and the partitions that were made with the schema are of another year."""
    with new_database() as url:
        upgrade(url, today=date(2020, 1, 1))
        with (
            running_router(url) as port,
            grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            calls = Calls(channel)
            settings = c.PolicySettings(context=c.ContextSettings(vector=c.VectorContext(length=3)))
            calls.catalog.CreatePolicy(
                c.CreatePolicyRequest(name="chat", settings=settings, arms=[c.Arm(name="a")])
            )

            chosen = eventually(lambda: _chosen_or_code(calls), lambda chosen: chosen == "a")

    assert chosen == "a"


def _chosen_or_code(calls: Calls) -> Any:
    try:
        return calls.select("chat").arm
    except grpc.RpcError as error:
        code = error.code()
        assert code is grpc.StatusCode.UNAVAILABLE
        return code


def test_a_drain_finishes_calls_and_tells_those_who_watch(stack: Stack, policy: str) -> None:
    """A router is asked to end while calls are under way and a health watch is open."""
    statuses: list[int] = []
    with router_process(stack.database_url) as child:
        port = child.readiness(within_s=60.0)["port"]
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            health_stub: Any = health_pb2_grpc.HealthStub(channel)
            watch = health_stub.Watch(health_pb2.HealthCheckRequest(service=SERVICES[0]))

            def watching() -> None:
                with suppress(grpc.RpcError):
                    statuses.extend(each.status for each in watch)

            watcher = threading.Thread(target=watching)
            watcher.start()
            eventually(lambda: len(statuses), lambda told: told == 1)
            request = r.SelectRequest(policy=policy, vector=r.Vector(values=[1, 2, 3]))
            router = Calls(channel).router
            pending = [router.Select.future(request) for _ in range(50)]
            pending[0].result()
            started = time.monotonic()

            os.kill(child.pid, signal.SIGTERM)

            codes = [call.code() for call in pending]
            watcher.join(timeout=10)
            eventually(child.is_running, lambda runs: not runs)
            took_s = time.monotonic() - started
    assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    assert codes.count(grpc.StatusCode.OK) >= 25
    assert statuses[-1] == health_pb2.HealthCheckResponse.NOT_SERVING
    assert took_s < 4.0  # the open watch does not use up the grace of 5 s


def test_after_a_crash_the_router_is_back_with_the_stored_answers(
    stack: Stack, calls: Calls, policy: str
) -> None:
    decision_id = str(uuid4())
    first = calls.select(policy, decision_id=decision_id, explain=True)
    router = stack.pids()["router"]

    os.kill(router, signal.SIGKILL)

    eventually(lambda: stack.pids()["router"], lambda pid: pid != router)
    with grpc.insecure_channel(stack.target) as channel:
        grpc.channel_ready_future(channel).result(timeout=60)
        eventually(
            lambda: health(channel, SERVICES[0]),
            lambda status: status == health_pb2.HealthCheckResponse.SERVING,
        )
        again = Calls(channel).select(policy, decision_id=decision_id, explain=True)
    assert same_but_replayed(first, again)


def test_nothing_is_left_when_the_supervisor_is_killed(folder: Path) -> None:
    process = supervisor(folder)
    assert process.stdout is not None
    target, *pids = process.stdout.readline().split()
    assert all(is_process(int(pid)) for pid in pids)

    process.kill()
    process.wait()

    eventually(lambda: left_behind(folder), lambda left: not left, within_s=20.0)
    host, _, port = target.rpartition(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=1)


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_left_when_the_start_is_interrupted(folder: Path, seed: int) -> None:
    draw = random.Random(seed)
    process = supervisor(folder)
    time.sleep(draw.uniform(0.5, 6.0))

    process.send_signal(draw.choice([signal.SIGINT, signal.SIGTERM]))

    process.wait(timeout=30)
    eventually(lambda: left_behind(folder), lambda left: not left, within_s=10.0)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
