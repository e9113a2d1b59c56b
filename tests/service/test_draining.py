"""How a router takes its leave of callers who go on calling."""

import os
import signal
import threading
import time
from contextlib import suppress
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bandit.client import RouterClient
from services.supervisor import Stack
from tests.service.calls import eventually, router_process
from tests.service.test_life import SERVICES

GRACE_S = 3.0
CALLERS = 3
VECTOR = [1.0, 2.0, 3.0]
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def test_it_says_that_it_is_not_ready_then_answers_those_who_come_and_ends_within_its_grace(
    stack: Stack, policy: str
) -> None:
    """Whoever watches is told first, and has time to send new callers elsewhere."""
    statuses: dict[str, list[tuple[float, int]]] = {"": [], SERVICES[0]: []}
    answered: list[float] = []  # when the calls that were answered had begun
    stopping = threading.Event()
    with router_process(stack.database_url, grace_s=GRACE_S) as child:
        target = f"127.0.0.1:{child.readiness(within_s=60.0)['port']}"
        with (
            grpc.insecure_channel(target) as channel,
            RouterClient(target, timeout_s=1.0) as client,
        ):
            stub: Any = health_pb2_grpc.HealthStub(channel)

            def watching(service: str) -> None:
                with suppress(grpc.RpcError):
                    for told in stub.Watch(health_pb2.HealthCheckRequest(service=service)):
                        statuses[service].append((time.monotonic(), told.status))

            def calling() -> None:
                while not stopping.is_set():
                    began = time.monotonic()
                    with suppress(Exception):  # once it has ended
                        client.select(policy, vector=VECTOR)
                        answered.append(began)

            threads = [threading.Thread(target=watching, args=[each]) for each in statuses]
            threads += [threading.Thread(target=calling) for _ in range(CALLERS)]
            for thread in threads:
                thread.start()
            eventually(lambda: len(answered) > 20 and all(statuses.values()), bool)
            began = time.monotonic()

            os.kill(child.pid, signal.SIGTERM)

            eventually(child.is_running, lambda runs: not runs, within_s=3 * GRACE_S)
            took_s = time.monotonic() - began
            stopping.set()
            for thread in threads:
                thread.join()
    told_at, status = statuses[SERVICES[0]][-1]
    assert status == NOT_SERVING
    assert told_at - began < 1.0
    assert sum(at > told_at for at in answered) > 0
    assert [status for _, status in statuses[""]] == [health_pb2.HealthCheckResponse.SERVING]
    assert took_s < GRACE_S + 1.5
