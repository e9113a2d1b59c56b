"""Many requests on one call: order, errors, back-pressure, the end of the service."""

import threading
import time
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2

from bandit.wire import feedback_pb2 as f
from bandit.wire import router_pb2 as r
from services.router.streams import MOST_UNDER_WAY
from services.supervisor import Stack
from tests.service.calls import Calls, error_of, router_process


def a_request(policy: str, **fields: Any) -> r.SelectStreamRequest:
    request = r.SelectRequest(policy=policy, vector={"values": [1.0, 2.0, 3.0]}, **fields)
    return r.SelectStreamRequest(request=request)


def a_report(**fields: Any) -> f.ReportStreamRequest:
    return f.ReportStreamRequest(report=f.ReportRequest(**fields))


@pytest.fixture
def policy(new_policy: Callable[..., str]) -> str:
    return new_policy()


def test_answers_come_in_the_order_of_the_requests(calls: Calls, policy: str) -> None:
    tokens = list(range(1, 601))

    items = list(
        calls.router.SelectStream(a_request(policy, input_tokens=count) for count in tokens)
    )

    assert len(items) == len(tokens)
    ids = [item.item.response.decision_id for item in items]
    again = [
        calls.select(policy, decision_id=id_, input_tokens=count)
        for id_, count in list(zip(ids, tokens, strict=True))[::100]
    ]
    assert all(each.replayed for each in again)
    assert all(item.item.response.durable for item in items)


def test_one_that_fails_fails_alone(calls: Calls, policy: str) -> None:
    requests = [a_request(policy), a_request("nobody made it"), a_request(policy)]

    items = list(calls.router.SelectStream(iter(requests)))

    assert [item.item.WhichOneof("result") for item in items] == ["response", "error", "response"]
    assert items[1].item.error.code == code_pb2.NOT_FOUND


def test_a_stream_is_answered_while_it_is_open(calls: Calls, policy: str) -> None:
    requests: SimpleQueue[r.SelectStreamRequest | None] = SimpleQueue()
    items = calls.router.SelectStream(iter(requests.get, None))

    for _ in range(3):
        requests.put(a_request(policy))
        assert next(items).item.response.arm
    requests.put(None)

    assert list(items) == []


def test_whoever_takes_no_answers_is_not_read_without_end(stack: Stack, policy: str) -> None:
    """What is read ahead is bounded; the rest waits in the transport, and then with the sender."""
    small_windows = [("grpc.http2.bdp_probe", 0), ("grpc.use_local_subchannel_pool", 1)]
    sent = 0
    over = threading.Event()

    def requests() -> Iterator[r.SelectStreamRequest]:
        nonlocal sent
        padding = {f"label {n}": "x" * 256 for n in range(32)}
        while not over.is_set():
            sent += 1
            yield a_request(policy, labels=padding)

    with grpc.insecure_channel(stack.target, options=small_windows) as channel:
        items = Calls(channel).router.SelectStream(requests())
        before = -1
        while sent > before:
            before = sent
            time.sleep(0.5)
            assert sent < 20 * MOST_UNDER_WAY
        assert sent > MOST_UNDER_WAY
        assert next(items).item.response.arm
        over.set()
        items.cancel()


def test_outcomes_are_reported_on_a_stream(calls: Calls, policy: str) -> None:
    decisions = [
        item.item.response for item in calls.router.SelectStream(a_request(policy) for _ in "ab")
    ]
    reports = [
        a_report(policy=policy, decision_id=d.decision_id, arm=d.arm, quality=0.5)
        for d in decisions
    ]
    strange = a_report(policy=policy, decision_id="no id", arm="a", quality=0.5)

    items = list(calls.feedback.ReportStream(iter([reports[0], strange, reports[1], reports[0]])))

    dispositions = [
        item.item.response.heads[0].disposition for item in items if item.item.HasField("response")
    ]
    assert items[1].item.error.code == code_pb2.INVALID_ARGUMENT
    assert dispositions == [
        f.DISPOSITION_ACCEPTED,
        f.DISPOSITION_ACCEPTED,
        f.DISPOSITION_DUPLICATE,
    ]
    assert calls.learned(policy).arms


def test_a_service_that_stops_answers_what_it_read_and_says_so(
    stack: Stack, calls: Calls, policy: str
) -> None:
    with router_process(stack.database_url) as child:
        port = child.readiness(within_s=60.0)["port"]
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            requests: SimpleQueue[r.SelectStreamRequest | None] = SimpleQueue()
            items = Calls(channel).router.SelectStream(iter(requests.get, None))
            for _ in range(10):
                requests.put(a_request(policy))
            answered = [next(items)]
            child.tell_to_stop()
            with pytest.raises(grpc.RpcError) as raised:
                answered.extend(items)
            requests.put(None)

    code, details = error_of(raised.value)
    assert len(answered) == 10
    assert code is grpc.StatusCode.UNAVAILABLE
    assert details["RetryInfo"].retry_delay.ToTimedelta().total_seconds() > 0
