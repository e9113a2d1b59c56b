"""The steps of a call: what is sent, when it is sent again, and when it is given up."""

import json
import time
from typing import Any

import grpc
import pytest

from bandit.client import calls
from bandit.client.conversation import Conversation, Pause, Send
from bandit.client.errors import NotFoundError, RouterError, UnavailableError
from bandit.client.requests import outcome
from bandit.client.service_config import service_config
from bandit.domain import errors as domain
from bandit.wire import feedback_pb2
from services.router.status import status_of

ID = "0198c5de-6f2b-7c3a-9d41-3f0f5a1b2c3d"
RESPONSE = feedback_pb2.ReportResponse()


def not_found(retry_after_s: float | None) -> RouterError:
    return NotFoundError("no", code=grpc.StatusCode.NOT_FOUND, retry_after_s=retry_after_s)


def end_of(conversation: Conversation[Any], answer: object) -> Any:
    with pytest.raises(StopIteration) as end:
        conversation.send(answer)
    return end.value.value


def test_a_decision_that_may_still_come_is_asked_for_again():
    conversation = calls.report("chat", decision_id=ID, arm="a", quality=1.0)(5.0)

    first = next(conversation)
    pause = conversation.send(not_found(0.2))
    second = conversation.send(None)

    assert isinstance(first, Send)
    assert isinstance(second, Send)
    assert pause == Pause(0.2)
    assert second.request is first.request
    assert end_of(conversation, RESPONSE).receipts == ()


@pytest.mark.parametrize(
    "error",
    [
        not_found(None),
        not_found(60.0),  # longer than there is time
        UnavailableError("away", code=grpc.StatusCode.UNAVAILABLE, retry_after_s=0.1),
    ],
)
def test_every_other_error_is_raised(error: RouterError):
    conversation = calls.report("chat", decision_id=ID, arm="a", quality=1.0)(5.0)
    next(conversation)

    with pytest.raises(type(error)):
        conversation.send(error)


def test_all_attempts_share_one_deadline():
    conversation = calls.report("chat", decision_id=ID, arm="a", quality=1.0)(0.5)

    first = next(conversation)
    conversation.send(not_found(0.01))
    time.sleep(0.05)
    second = conversation.send(None)

    assert isinstance(first, Send)
    assert isinstance(second, Send)
    assert second.timeout_s < first.timeout_s - 0.04


def test_of_a_batch_only_what_may_still_come_is_sent_again():
    outcomes = [outcome("chat", decision_id=ID, arm=arm, quality=1.0) for arm in "abcd"]
    fresh = status_of(domain.UnknownDecision(ID, is_fresh=True))
    waits = status_of(domain.Unavailable("the decision is not stored yet", retry_after_s=0.1))
    gone = status_of(domain.UnknownDecision(ID, is_fresh=False))
    ok = feedback_pb2.BatchReportItem(response=RESPONSE)
    conversation = calls.batch_report(outcomes)(5.0)
    next(conversation)

    pause = conversation.send(
        feedback_pb2.BatchReportResponse(
            items=[
                ok,
                feedback_pb2.BatchReportItem(error=fresh),
                feedback_pb2.BatchReportItem(error=gone),
                feedback_pb2.BatchReportItem(error=waits),
            ]
        )
    )
    again = conversation.send(None)
    results = end_of(conversation, feedback_pb2.BatchReportResponse(items=[ok, ok]))

    assert isinstance(pause, Pause)
    assert isinstance(again, Send)
    assert isinstance(again.request, feedback_pb2.BatchReportRequest)
    assert [request.arm for request in again.request.requests] == ["b", "d"]
    assert [isinstance(result, RouterError) for result in results] == [False, False, True, False]


def test_what_was_reported_is_kept_when_the_rest_cannot_be_sent_again():
    outcomes = [outcome("chat", decision_id=ID, arm=arm, quality=1.0) for arm in "ab"]
    fresh = status_of(domain.UnknownDecision(ID, is_fresh=True))
    conversation = calls.batch_report(outcomes)(5.0)
    next(conversation)

    conversation.send(
        feedback_pb2.BatchReportResponse(
            items=[
                feedback_pb2.BatchReportItem(response=RESPONSE),
                feedback_pb2.BatchReportItem(error=fresh),
            ]
        )
    )
    conversation.send(None)
    results = end_of(conversation, UnavailableError("away", code=grpc.StatusCode.UNAVAILABLE))

    assert [type(result).__name__ for result in results] == ["ReportResult", "NotFoundError"]


def test_only_calls_that_do_no_harm_when_repeated_are_retried():
    config = json.loads(service_config())

    (method,) = config["methodConfig"]
    names = {(name["service"].rpartition(".")[2], name.get("method")) for name in method["name"]}
    assert method["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE", "CANCELLED"]
    assert ("Router", None) in names
    assert not names & {
        ("Catalog", None),
        ("Catalog", "CreatePolicy"),
        ("Catalog", "AddArm"),
        ("Catalog", "UpdatePolicy"),
    }
