"""Requests to be refused, whom they ask, and what proves that they changed nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import grpc
import psycopg
import pytest

from bandit.wire import catalog_pb2 as c
from tests.service.calls import Calls, error_of

INVALID = grpc.StatusCode.INVALID_ARGUMENT
MISSING = grpc.StatusCode.NOT_FOUND
TOO_LARGE = grpc.StatusCode.RESOURCE_EXHAUSTED
LONG = "x" * 201


@dataclass(frozen=True)
class World:
    """A policy with everything, one that learns quality alone, and a decision of the first."""

    policy: str
    plain: str
    decision_id: str
    arm: str


@dataclass(frozen=True)
class Case:
    """A request to be refused, and how."""

    name: str
    request: Callable[[World], Any]
    code: grpc.StatusCode
    reason: str
    field: str = ""


def refused(name: str, request: Callable[[World], Any], field: str) -> Case:
    return Case(name, request, INVALID, "INVALID_ARGUMENT", field)


def a_world(calls: Calls) -> World:
    """Its policies are new."""
    policy, plain_policy = f"bad-input-{uuid4()}", f"bad-input-plain-{uuid4()}"
    price = c.Price(input_usd_per_million=1.0)
    calls.catalog.CreatePolicy(
        c.CreatePolicyRequest(
            name=policy,
            settings=c.PolicySettings(context=c.ContextSettings(vector=c.VectorContext(length=3))),
            arms=[c.Arm(name="a", price=price), c.Arm(name="b", price=price)],
        )
    )
    calls.catalog.CreatePolicy(
        c.CreatePolicyRequest(
            name=plain_policy,
            settings=c.PolicySettings(
                context=c.ContextSettings(),
                objectives=[c.OBJECTIVE_QUALITY],
                default_preference=c.Preference(quality=1),
            ),
            arms=[c.Arm(name="a")],
        )
    )
    chosen = calls.select(policy)
    return World(policy, plain_policy, chosen.decision_id, chosen.arm)


def everything(database: psycopg.Connection) -> tuple[Any, ...]:
    """What would show any change: every count and every version."""
    row = database.execute(
        "select (select count(*) from decision), (select count(*) from outcome),"
        " (select count(*) from dirty_key), (select count(*) from contribution),"
        " (select count(*) from policy_event), (select count(*) from arm),"
        " (select count(*) from price), (select sum(version) from posterior),"
        " (select sum(version + learned_version) from policy)"
    ).fetchone()
    assert row is not None
    return row


def called(calls: Calls, request: Any) -> Any:
    """Send a request to the method it belongs to."""
    method = type(request).__name__.removesuffix("Request")
    for stub in (calls.router, calls.feedback, calls.catalog, calls.learning):
        if hasattr(stub, method):
            return getattr(stub, method)(request)
    raise AssertionError(method)


def assert_refused(case: Case, world: World, calls: Calls, database: psycopg.Connection) -> None:
    """By name, and nothing is changed."""
    before = everything(database)

    with pytest.raises(grpc.RpcError) as raised:
        called(calls, case.request(world))

    code, details = error_of(raised.value)
    assert code is case.code, raised.value.details()
    assert details["ErrorInfo"].reason == case.reason
    assert details["ErrorInfo"].domain == "bandit.router"
    if case.field:
        assert [v.field for v in details["BadRequest"].field_violations] == [case.field]
    if code is TOO_LARGE:
        assert details["QuotaFailure"].violations
        assert details["RetryInfo"].retry_delay.seconds > 0
    assert everything(database) == before
