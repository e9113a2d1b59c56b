"""How connections end while calls go on, and what is asked of those that are silent."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from bandit.client import RouterClient
from bandit.wire import router_pb2 as r
from services.supervisor import Stack
from tests.service.calls import Calls, running_router

AGE_S = 1
FOR_S = 3.5
CALLERS = 6
VECTOR = [1.0, 2.0, 3.0]


@pytest.fixture(scope="module")
def ageing(stack: Stack) -> Iterator[str]:
    """The target of a router whose connections live for a second."""
    with running_router(stack.database_url, max_connection_age_s=AGE_S) as port:
        yield f"127.0.0.1:{port}"


def connections(port: int) -> set[int]:
    """The callers' ports of the connections to a port of this machine that are open now."""
    found = set()
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            local, remote, state = line.split()[1:4]
            if int(remote.split(":")[1], 16) == port and state == "01":
                found.add(int(local.split(":")[1], 16))
    return found


def under_load(target: str, call: Callable[[], Any]) -> tuple[int, list[Exception], int]:
    """Calls from several threads for a while: answers, failures, and connections seen."""
    port = int(target.rpartition(":")[2])
    answered: list[int] = []
    failures: list[Exception] = []
    until = time.monotonic() + FOR_S

    def calling() -> None:
        while time.monotonic() < until:
            try:
                call()
                answered.append(1)
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=calling) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    seen: set[int] = set()
    while time.monotonic() < until:
        seen |= connections(port)
        time.sleep(0.02)
    for thread in threads:
        thread.join()
    return len(answered), failures, len(seen)


def test_the_client_notices_nothing_of_connections_that_end_of_age(
    ageing: str, policy: str
) -> None:
    with RouterClient(ageing) as client:
        answered, failures, seen = under_load(ageing, lambda: client.select(policy, vector=VECTOR))

    assert failures == []
    assert answered > 50
    assert seen >= 3


def test_nor_does_a_plain_stub(ageing: str, policy: str) -> None:
    """gRPC itself sends again what a connection of age did not take any more."""
    with grpc.insecure_channel(ageing) as channel:
        calls = Calls(channel)
        answered, failures, seen = under_load(ageing, lambda: calls.select(policy))

    assert failures == []
    assert answered > 50
    assert seen >= 3


def test_a_stream_outlives_its_connection_s_age(ageing: str, policy: str) -> None:
    request = r.SelectStreamRequest(
        request=r.SelectRequest(policy=policy, vector=r.Vector(values=VECTOR))
    )
    count = 8

    def requests() -> Iterator[r.SelectStreamRequest]:
        for _ in range(count):
            yield request
            time.sleep(2.5 * AGE_S / count)

    with grpc.insecure_channel(ageing) as channel:
        items = list(Calls(channel).router.SelectStream(requests()))

    assert len(items) == count
    assert all(item.item.response.arm for item in items)
