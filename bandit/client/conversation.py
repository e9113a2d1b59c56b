"""
How a call goes, step by step, without doing any of it.

A conversation yields what is to be done next and is sent what came of it, so that the blocking and
the asynchronous client differ in nothing but how they send and how they sleep.
"""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import Message

from bandit.client import responses
from bandit.client.errors import NotFoundError, RouterError, UnavailableError
from bandit.client.results import ReportResult
from bandit.wire import (
    catalog_pb2_grpc,
    feedback_pb2,
    feedback_pb2_grpc,
    learning_pb2_grpc,
    router_pb2_grpc,
)

T = TypeVar("T")

DEFAULT_TIMEOUT_S = 5.0

Stub = type[
    router_pb2_grpc.RouterStub
    | feedback_pb2_grpc.FeedbackStub
    | catalog_pb2_grpc.CatalogStub
    | learning_pb2_grpc.LearningStub
]


@dataclass(frozen=True, slots=True)
class Method:
    """A method of the API, by the stub that has it."""

    stub: Stub
    name: str


@dataclass(frozen=True, slots=True)
class Send:
    """Send this request; what comes of it is the response or the error."""

    method: Method
    request: Message
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait; nothing comes of it."""

    seconds: float


Conversation = Generator[Send | Pause, Any, T]
Call = Callable[[float], Conversation[T]]  # from the seconds allowed in all


def ask(
    timeout_s: float, *, method: Method, request: Message, read: Callable[[Any], T]
) -> Conversation[T]:
    """One request; again while the service says that what it names may still be on its way."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = yield Send(method, request, max(deadline - time.monotonic(), 0.001))
        if not isinstance(answer, RouterError):
            return read(answer)
        pause = _pause_before_retry(answer, deadline)
        if pause is None:
            raise answer
        yield pause


def report_all(
    timeout_s: float, *, method: Method, requests: Sequence[feedback_pb2.ReportRequest]
) -> Conversation[list[ReportResult | RouterError]]:
    """
    Many reports; again those alone whose decision may still be on its way, or waits in the router.

    A whole call that is unavailable is repeated below this, a report within one is not.
    """
    deadline = time.monotonic() + timeout_s
    results: dict[int, ReportResult | RouterError] = {}
    left = list(range(len(requests)))
    while True:
        batch = feedback_pb2.BatchReportRequest(requests=[requests[i] for i in left])
        answer = yield Send(method, batch, max(deadline - time.monotonic(), 0.001))
        if isinstance(answer, RouterError):
            if len(left) == len(requests):
                raise answer
            break
        pauses: dict[int, Pause] = {}
        for position, item in zip(left, answer.items, strict=True):
            result = results[position] = responses.report_item(item)
            pause = _pause_before_retry(result, deadline, also=UnavailableError)
            if pause is not None:
                pauses[position] = pause
        if not pauses:
            break
        left = list(pauses)
        yield max(pauses.values(), key=lambda pause: pause.seconds)
    return [results[position] for position in range(len(requests))]


def _pause_before_retry(
    result: object, deadline: float, *, also: type[RouterError] = NotFoundError
) -> Pause | None:
    """How long to wait before asking again; None: the result stands."""
    if not isinstance(result, NotFoundError | also) or result.retry_after_s is None:
        return None
    has_time = time.monotonic() + result.retry_after_s < deadline
    return Pause(result.retry_after_s) if has_time else None
