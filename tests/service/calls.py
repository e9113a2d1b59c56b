"""Calls as a client makes them, processes as an operator starts them, and what errors carry."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from google.rpc import error_details_pb2 as details
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from bandit.wire import (
    catalog_pb2_grpc,
    feedback_pb2_grpc,
    learning_pb2,
    learning_pb2_grpc,
    router_pb2,
    router_pb2_grpc,
)
from services.supervisor import ChildProcess


class Calls:
    """The stubs of one channel."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.router = router_pb2_grpc.RouterStub(channel)
        self.feedback = feedback_pb2_grpc.FeedbackStub(channel)
        self.catalog = catalog_pb2_grpc.CatalogStub(channel)
        self.learning = learning_pb2_grpc.LearningStub(channel)

    def select(self, policy: str, **fields: Any) -> router_pb2.SelectResponse:
        """A choice for some vector."""
        fields.setdefault("vector", {"values": [1.0, 2.0, 3.0]})
        return self.router.Select(router_pb2.SelectRequest(policy=policy, **fields))

    def state(self, policy: str) -> learning_pb2.LearningState:
        """What is learned of a policy."""
        return self.learning.GetState(learning_pb2.GetStateRequest(policy=policy)).state

    def learned(self, policy: str) -> learning_pb2.LearningState:
        """The same, once nothing waits to be learned or to be served."""
        state: learning_pb2.LearningState = eventually(
            lambda: self.state(policy),
            lambda state: (
                state.pending_outcomes == 0 and state.snapshot_version == state.learned_version
            ),
        )
        return state


def eventually(
    ask: Callable[[], Any], is_fine: Callable[[Any], bool], *, within_s: float = 10.0
) -> Any:
    """The first answer that is fine."""
    deadline = time.monotonic() + within_s
    while not is_fine(answer := ask()):
        assert time.monotonic() < deadline, f"still: {answer}"
        time.sleep(0.02)
    return answer


@contextmanager
def router_process(database_url: str, **settings: Any) -> Iterator[ChildProcess]:
    """A router process on a database, not waited for; ended with the block."""
    orders = {"port": 0, "log_level": "error", **settings, "database_url": database_url}
    child = ChildProcess("router")
    try:
        child.order(json.dumps(orders).encode())
        yield child
    finally:
        child.stop(within_s=10.0)


@contextmanager
def learner_process(database_url: str, **settings: Any) -> Iterator[ChildProcess]:
    """A learner process on a database, ready; ended with the block, even if it was stopped."""
    orders = {"log_level": "error", **settings, "database_url": database_url}
    child = ChildProcess("learner")
    try:
        child.order(json.dumps(orders).encode())
        child.readiness(within_s=60.0)
        yield child
    finally:
        if child.is_running():
            os.kill(child.pid, signal.SIGCONT)
        child.stop(within_s=10.0)


@contextmanager
def running_router(database_url: str, **settings: Any) -> Iterator[int]:
    """The port of a router process on a database that is ready; ended with the block."""
    with router_process(database_url, **settings) as child:
        yield child.readiness(within_s=60.0)["port"]


def unpacked(status: Status) -> dict[str, Any]:
    """The details of an error by the name of their kind."""
    found: dict[str, Any] = {}
    for packed in status.details:
        name = packed.type_url.rpartition(".")[2]
        message = getattr(details, name)()
        packed.Unpack(message)
        found[name] = message
    return found


def error_of(error: Any) -> tuple[grpc.StatusCode, dict[str, Any]]:
    """The code of a failed call and its details by kind."""
    status = rpc_status.from_call(error)
    return error.code(), {} if status is None else unpacked(status)


def is_process(pid: int) -> bool:
    """Whether a process runs (and is not merely unburied)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
