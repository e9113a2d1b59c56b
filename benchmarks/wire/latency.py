"""How long one caller alone waits, beside what the wire and the disk take of it."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import grpc
import psycopg

from bandit.wire import router_pb2_grpc
from benchmarks.wire.service import Service, a_request

CALLS = 400
_INSERT = "insert into bench_commit values (%s)"


@dataclass(frozen=True, slots=True)
class Alone:
    """Medians in milliseconds: of a decision, a bare echo and a commit of one row."""

    decision_ms: float
    echo_ms: float
    commit_ms: float

    @property
    def overhead_ms(self) -> float:
        """What is neither wire nor disk."""
        return self.decision_ms - self.echo_ms - self.commit_ms


def alone(service: Service) -> Alone:
    """One call after the other, in turns, all three."""
    request = a_request()
    with (
        grpc.insecure_channel(f"127.0.0.1:{service.router}") as ours,
        grpc.insecure_channel(f"127.0.0.1:{service.echo}") as echo,
        psycopg.connect(service.database_url, autocommit=True) as connection,
    ):
        connection.execute("create table if not exists bench_commit (number int)")
        decide = router_pb2_grpc.RouterStub(ours).Select
        answer = router_pb2_grpc.RouterStub(echo).Select
        took: dict[str, list[float]] = {"decision": [], "echo": [], "commit": []}
        for number in range(CALLS):
            took["decision"].append(_ms(lambda: decide(request)))
            took["echo"].append(_ms(lambda: answer(request)))
            took["commit"].append(_ms(lambda n=number: connection.execute(_INSERT, [n])))
    return Alone(*(statistics.median(took[name]) for name in ("decision", "echo", "commit")))


def _ms(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1e3
