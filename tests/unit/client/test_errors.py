"""What a failed call tells, decoded from the details that the service sends with it."""

from collections.abc import Callable
from uuid import UUID

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2 as details
from google.rpc.status_pb2 import Status

from bandit.client.errors import (
    InvalidArgumentError,
    LimitExceededError,
    NoEligibleArmError,
    NotFoundError,
    RouterError,
    UnavailableError,
    error_from_call,
    error_from_status,
)
from bandit.domain import errors as domain
from services.router.status import status_of


class FailedCall(grpc.RpcError):
    """A call's error as gRPC raises it."""

    def __init__(self, code: grpc.StatusCode, message: str, trailers: object = ()) -> None:
        self._parts = (code, message, trailers)

    def code(self) -> object:
        return self._parts[0]

    def details(self) -> object:
        return self._parts[1]

    def trailing_metadata(self) -> object:
        return self._parts[2]


def test_a_wrong_field_is_told_with_its_path():
    error = error_from_status(status_of(domain.InvalidInput("preference.cost", "is negative")))

    assert isinstance(error, InvalidArgumentError)
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [(v.field, v.problem) for v in error.field_violations] == [
        ("preference.cost", "is negative")
    ]


def test_the_filter_that_removed_each_arm_is_told():
    refusal = domain.NoEligibleArm({"small": "deny_arms", "large": "max_cost_usd"})

    error = error_from_status(status_of(refusal))

    assert isinstance(error, NoEligibleArmError)
    assert error.reason == "NO_ELIGIBLE_ARM"
    assert [(p.subject, p.description) for p in error.preconditions] == [
        ("small", "deny_arms"),
        ("large", "max_cost_usd"),
    ]


def test_the_limit_of_a_budget_is_told_with_the_arms_that_it_removed():
    removed = {"small": "budget_limit", "large": "deny_arms"}
    refusal = domain.BudgetExhausted(removed, lacking_usd=0.002, retry_after_s=2.5)

    error = error_from_status(status_of(refusal))

    assert isinstance(error, LimitExceededError)
    assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (error.reason, error.retry_after_s) == ("BUDGET_EXHAUSTED", 2.5)
    limit, *arms = error.quota_violations
    assert limit.subject == "budget.limit_usd"
    assert "0.002 USD" in limit.description
    assert {v.subject: v.description for v in arms} == removed


@pytest.mark.parametrize("kind", [domain.BudgetExhausted, domain.NoEligibleArm])
def test_of_many_removed_arms_as_many_are_told_as_fit_a_trailer(
    kind: Callable[..., domain.BanditError],
):
    removed = {f"{number:03}" + "x" * 197: "budget_limit" for number in range(256)}
    lacking = (1.0,) if kind is domain.BudgetExhausted else ()

    error = error_from_status(status := status_of(kind(removed, *lacking)))

    assert status.ByteSize() < 8192
    told = [v for v in (*error.preconditions, *error.quota_violations) if v.subject in removed]
    assert told
    (rest,) = [
        v.description for v in (*error.preconditions, *error.quota_violations) if not v.subject
    ]
    assert rest == f"and {len(removed) - len(told)} more"


@pytest.mark.parametrize("is_fresh", [True, False])
def test_only_a_decision_that_may_still_come_has_a_time_to_retry(is_fresh: bool):
    unknown = domain.UnknownDecision(str(UUID(int=1)), is_fresh=is_fresh)

    error = error_from_status(status_of(unknown))

    assert isinstance(error, NotFoundError)
    assert (error.retry_after_s is not None) == is_fresh


def test_the_time_to_retry_is_in_seconds():
    status = Status(code=grpc.StatusCode.UNAVAILABLE.value[0], message="busy")
    delay = Duration(seconds=1, nanos=500_000_000)
    status.details.add().Pack(details.RetryInfo(retry_delay=delay))

    error = error_from_status(status)

    assert isinstance(error, UnavailableError)
    assert error.retry_after_s == 1.5


def test_details_travel_in_the_trailers_of_a_call():
    status = status_of(domain.UnknownPolicy("chat"))
    trailers = [("other", "text"), ("grpc-status-details-bin", status.SerializeToString())]

    error = error_from_call(FailedCall(grpc.StatusCode.NOT_FOUND, "short", trailers))

    assert isinstance(error, NotFoundError)
    assert (error.reason, error.message) == ("UNKNOWN_POLICY", "policy 'chat' does not exist")


def test_a_call_without_details_keeps_its_code_and_message():
    error = error_from_call(FailedCall(grpc.StatusCode.UNAVAILABLE, "connection refused", None))

    assert isinstance(error, UnavailableError)
    assert (error.reason, error.message) == ("", "connection refused")


def test_a_code_that_nobody_named_is_a_router_error():
    error = error_from_status(Status(code=99))

    assert type(error) is RouterError
    assert error.code is grpc.StatusCode.UNKNOWN
